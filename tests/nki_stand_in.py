"""A numpy stand-in for ``nki``, ``nki.isa`` and ``nki.language``: runs emitted kernels anywhere.

It knows the part of NKI that the emitter uses, written from the vendor's documentation
(aws-neuron-sdk, NKI 0.6) and not from the emitter: calls are bound to the signatures in
tests/signatures.json by keyword, documented rules are enforced, reading what nothing has written is
an error, results are rounded to the destination's type. It says nothing about whether the real
compiler accepts a kernel, nor about time.
"""

from __future__ import annotations

import ast
import inspect
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from nki_stand_in_isa import Isa
from nki_stand_in_tensors import (
    HBM,
    PARTITIONS,
    PSUM_BYTES,
    SBUF_BYTES,
    Array,
    Ds,
    IllegalKernel,
    MemoryRegion,
    NlDtype,
    Register,
    Tensor,
    require,
)

__all__ = ["IllegalKernel", "run_emitted", "stand_in"]

DOCUMENTED = json.loads((Path(__file__).parent / "signatures.json").read_text(encoding="utf-8"))

# What a kernel body may be made of: valid for NKI's parser up to 0.6 and its tracer after.
_BODY = (ast.Assign, ast.Expr, ast.For, ast.Return, ast.Pass, ast.If, ast.FunctionDef)
_INSIDE = (
    *_BODY,
    *(ast.Call, ast.keyword, ast.Attribute, ast.Name, ast.Constant, ast.expr_context),
    *(ast.Tuple, ast.List, ast.Subscript, ast.Slice, ast.Compare, ast.BoolOp, ast.BinOp),
    *(ast.arguments, ast.arg),
    *(ast.UnaryOp, ast.USub, ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.Gt, ast.Or),
)


_OPERATIONS = ("op", "op0", "op1", "cmp_op", "comp_op0", "comp_op1", "reduce_op")


class Token:
    """``nl.add`` and the like: only a name; the functions of that name are not for kernels."""

    def __init__(self, name: str) -> None:
        self.name = name


class Kernel:
    """What the stand-in's ``nki.jit`` makes of a function: a callable over numpy arrays."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *arrays: Array, **named: Array) -> tuple[Array, ...]:
        made = self.function(
            *map(Tensor.given, arrays), **{k: Tensor.given(a) for k, a in named.items()}
        )
        results = made if isinstance(made, tuple) else (made,)
        for result in results:
            require(isinstance(result, Tensor), f"returns {result!r}")
            require(result.region is MemoryRegion.shared_hbm, f"returns {result}")
            result.read()
        return tuple(result.data for result in results)


def _simulate(kernel: Kernel) -> Callable[..., Any]:
    """``nki.simulate(kernel)``: a callable that returns one array, or a tuple of them."""

    def simulated(*arrays: Array) -> Any:
        made = kernel(*arrays)
        return made if len(made) > 1 else made[0]

    return simulated


def run_emitted(
    source: str, inputs: Sequence[Array], *, rounding: str = "truncate"
) -> tuple[Array, ...]:
    """Execute an emitted module and call its kernel; the outputs, in order.

    Args:
        source: the module's text; it defines one kernel.
        inputs: the kernel's arguments in order. Bool arrays are handed over as uint8.
        rounding: how floats are stored to integers, ``truncate`` or ``nearest`` (documentation
            and practice disagree; kernels should be right under both).

    Raises:
        IllegalKernel: the kernel breaks a documented rule.
        TypeError: a call does not fit its signature.
    """
    check_subset(source)
    namespace: dict[str, Any] = {"__name__": "emitted"}
    with stand_in(rounding), np.errstate(all="ignore"):
        exec(compile(source, "<emitted>", "exec"), namespace)
        kernels = [v for v in namespace.values() if isinstance(v, Kernel)]
        require(len(kernels) == 1, f"the module defines {len(kernels)} kernels")
        return kernels[0](*inputs)


def check_subset(source: str) -> None:
    """Raise IllegalKernel unless every kernel keeps to the Python that NKI's parser takes, and so
    do the functions of the file that it calls.

    Functions that no kernel calls run on the host, where all of Python is allowed.
    """
    tree = ast.parse(source)
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    handed = [ast.unparse(c.args[0]) for c in calls if ast.unparse(c.func) == "nki.jit"]
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    waiting = [
        name
        for name, function in functions.items()
        if name in handed or any(ast.unparse(d) == "nki.jit" for d in function.decorator_list)
    ]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        function = functions[name]
        called = [ast.unparse(n.func) for n in ast.walk(function) if isinstance(n, ast.Call)]
        waiting += [other for other in called if other in functions]
        require(not function.args.kwonlyargs and not function.args.defaults, "plain parameters")
        docstring = ast.get_docstring(function) is not None
        for statement in function.body[docstring:]:
            for node in ast.walk(statement):
                require(isinstance(node, _INSIDE), f"{type(node).__name__} in a kernel body")


@contextmanager
def stand_in(
    rounding: str = "truncate", *, collectives: ModuleType | None = None
) -> Iterator[None]:
    """Within the block ``import nki`` gives the stand-in, with collectives if they are given."""
    modules = _modules(rounding)
    if collectives is not None:
        modules["nki.collectives"] = collectives
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _modules(rounding: str) -> dict[str, ModuleType]:
    nki, isa, language = (ModuleType(n) for n in ("nki", "nki.isa", "nki.language"))
    vars(nki).update(isa=isa, language=language, jit=Kernel, simulate=_simulate)
    enums = {name: Enum(name, members) for name, members in DOCUMENTED["enums"].items()}
    vars(isa).update(enums)
    machine = Isa(rounding)
    for name, parameters in DOCUMENTED["functions"].items():
        setattr(isa, name, bound(getattr(machine, name), parameters, enums))
    vars(language).update({n: NlDtype(n) for n in DOCUMENTED["language"]["dtypes"]})
    vars(language).update({n: Token(n) for n in DOCUMENTED["language"]["tokens"]})
    vars(language).update(MemoryRegion.__members__, hbm=MemoryRegion.private_hbm)
    vars(language).update(
        ds=Ds, ndarray=Buffers().ndarray, fori_loop=_fori_loop, while_loop=_while_loop
    )
    return {"nki": nki, "nki.isa": isa, "nki.language": language}


def bound(
    function: Callable[..., Any], documented: list[list[str]], enums: dict[str, Any]
) -> Callable[..., Any]:
    """``function`` behind its documented signature; arguments are given by keyword only."""
    parameters, kinds = [], {}
    for name, *default in documented:
        value = _default(default[0], enums) if default else inspect.Parameter.empty
        kinds[name] = type(value) if isinstance(value, Enum) else None
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value))
    signature = inspect.Signature(parameters)

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            kind = kinds[name]
            require(kind is None or isinstance(value, kind), f"{name}={value!r} is no {kind}")
            is_operation = name in _OPERATIONS and value is not None
            require(not is_operation or isinstance(value, Token), f"{name}={value!r}")
        bound.arguments.pop("name", None)
        return function(**bound.arguments)

    return call


def _default(text: str, enums: dict[str, Any]) -> Any:
    kind, _, member = text.partition(".")
    if text in DOCUMENTED["language"]["tokens"]:
        return Token(text)
    return enums[kind][member] if kind in enums else ast.literal_eval(text)


def _fori_loop(lower: Any, upper: Any, body_fun: Callable[..., Any], step: int = 1) -> None:
    """The body gets a register of its own, which it must leave alone."""
    bounds = [b.value if isinstance(b, Register) else b for b in (lower, upper)]
    require(all(type(b) is int for b in bounds), f"loop from {lower} to {upper}")
    for i in range(*bounds, step):
        index = Register(i)
        require(body_fun(index) is None, "a counted loop's body returns nothing")
        require(index.value == i, "a loop's index is written")


def _while_loop(init: Register, body_fun: Callable[..., Any]) -> None:
    """The body returns the next register."""
    register = init
    while register.value:
        register = body_fun(register)
        require(isinstance(register, Register), "a loop's body returns its next register")


class Buffers:
    """``nl.ndarray``. Tiles with an address share the bytes that lie there, one array a memory."""

    def __init__(self) -> None:
        self.limits = {MemoryRegion.sbuf: SBUF_BYTES, MemoryRegion.psum: PSUM_BYTES}
        self.memories: dict[MemoryRegion, Array] = {}

    def ndarray(
        self,
        shape: tuple[int, ...],
        dtype: Any,
        buffer: Any = MemoryRegion.sbuf,
        name: str = "",
        address: Any = None,
    ) -> Tensor:
        require(isinstance(dtype, NlDtype), f"ndarray of dtype {dtype!r}")
        require(isinstance(buffer, MemoryRegion), f"ndarray in {buffer!r}")
        require(all(type(n) is int and n > 0 for n in shape), f"ndarray of shape {shape}")
        if buffer not in HBM:
            size, what = math.prod(shape[1:]) * dtype.numpy.itemsize, f"{buffer.name} {shape}"
            require(len(shape) >= 2 and shape[0] <= PARTITIONS, f"{what} on chip")
            require(size <= self.limits[buffer], f"{what} has too many bytes")
            if address is not None:
                return Tensor.new(shape, dtype, buffer, self.at(buffer, address, shape[0], size))
        require(address is None, f"{buffer.name} has no address {address}")
        return Tensor.new(shape, dtype, buffer)

    def at(self, region: MemoryRegion, address: Any, rows: int, size: int) -> Array:
        """So many bytes in so many partitions, from a (partition, byte) on."""
        first, byte = address
        limit = self.limits[region]
        require(type(first) is int and type(byte) is int, f"address {address}")
        require(0 <= first <= PARTITIONS - rows and 0 <= byte <= limit - size, f"at {address}")
        if region not in self.memories:
            self.memories[region] = np.zeros((PARTITIONS, limit), np.uint8)
        return self.memories[region][first : first + rows, byte : byte + size]

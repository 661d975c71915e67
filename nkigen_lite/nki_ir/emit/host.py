"""The part of an emitted file that runs on the host: checks, bound constants, a comparison."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from textwrap import wrap
from typing import Any

import numpy as np

from nkigen_lite.nki_ir.emit import host_templates as templates
from nkigen_lite.nki_ir.emit.text import Expr, call, shape_text, wrapped

Spec = tuple[tuple[int, ...], str]
Packing = tuple[str, tuple[int, ...], tuple[int, ...]]

EMBEDDED_MAX = 32 * 1024
"""Bytes of compressed constants that a file carries itself; larger ones stay in constants.npz."""

HOST_USES = frozenset(
    {"simulate", "isinstance", "iter", "len", "map", "next", "tuple", "ModuleNotFoundError"}
)
"""Names that ``run_<kernel>`` uses beside those of the module, which no argument can have."""

_PACKED_WIDTH = 84  # characters of packed data in a line
_NARROW = ("bfloat16", "float8_e4m3", "float8_e4m3fn", "float8_e5m2")


@dataclass(frozen=True)
class Host:
    """What the host part says.

    Attributes:
        arguments: what callers give, by name: shape, and numpy's name of the element type.
        results: what they get, likewise, in order.
        constants: arrays that are bound to kernel inputs, in the shapes and types of those.
        reference: lines of a function body that gives numpy's results for the arguments, as a
            tuple; empty if there is none.
        no_reference: why there is none.
        tolerances: by result, how far it may be from the reference: of the largest magnitude, or
            absolute for integers.
        parameters: of the reference: what it calls the arguments, in their order.
        packings: of kernel inputs that are arguments in another order: which, and what to reshape
            it to before the axes are permuted, and how.
    """

    arguments: Mapping[str, Spec]
    results: Mapping[str, Spec]
    constants: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    reference: tuple[str, ...] = ()
    no_reference: str = "no numpy function is known"
    tolerances: Mapping[str, float] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    packings: Mapping[str, Packing] = field(default_factory=dict)

    def renamed(self, names: Mapping[str, str]) -> Host:
        """The same with arguments and constants by other names; the reference keeps its own."""
        return replace(
            self,
            arguments={names.get(n, n): spec for n, spec in self.arguments.items()},
            constants={names.get(n, n): array for n, array in self.constants.items()},
            parameters=tuple(self.arguments),
            packings={
                names.get(n, n): (names.get(weight, weight), cut, order)
                for n, (weight, cut, order) in self.packings.items()
            },
        )

    def packed(self) -> dict[str, bytes] | None:
        """The constants as compressed bytes, or None if those are too many for a source file.

        Compressed twice: of large regular arrays, such as masks, what zlib makes is regular again.
        """
        found = {
            name: zlib.compress(zlib.compress(np.ascontiguousarray(array).tobytes(), 9), 9)
            for name, array in self.constants.items()
        }
        return found if sum(map(len, found.values())) <= EMBEDDED_MAX else None


def import_lines(host: Host) -> list[str]:
    """What the host part imports: the standard library first, then numpy and its narrow floats."""
    packed = host.packed() if host.constants else None
    standard = ["import sys"]
    if host.constants:
        more = ["import base64", "import zlib"] if packed is not None else []
        standard = sorted([*standard, *more])
        standard += ["from pathlib import Path"] if packed is None else []
    names = [dtype for _, dtype in (*host.arguments.values(), *host.results.values())]
    names += [array.dtype.name for array in host.constants.values()]
    narrow = ["import ml_dtypes  # noqa: F401  (gives numpy its narrow floats)"]
    return [*standard, "", *(narrow if set(names) & set(_NARROW) else []), "import numpy as np"]


def specs_text(name: str, specs: Mapping[str, Spec]) -> str:
    """``NAME = {"x": ((128, 64), "float32"), ...}``, an entry a line."""
    if not specs:
        return f"{name} = {{}}\n"
    entries = [f'    "{key}": ({shape_text(s)}, "{dtype}"),' for key, (s, dtype) in specs.items()]
    return "\n".join([f"{name} = {{", *entries, "}"]) + "\n"


def host_text(kernel: str, host: Host) -> str:
    """The host part's source, to stand below the kernel."""
    return "\n\n\n".join(part.strip("\n") for part in _parts(kernel, host)) + "\n"


def _parts(kernel: str, host: Host) -> Iterator[str]:
    yield "".join(_data(host))
    yield _run(kernel, host)
    yield templates.MISSING.replace("KERNEL", kernel)
    if host.packings:  # of which the kernel knows no weight by its name
        yield templates.CHECKS.replace("INPUTS[name][0]", "INPUTS.get(name, (shape,))[0]")
        yield templates.IN_ORDER
    else:
        yield templates.CHECKS
    if host.constants:
        yield templates.STORED_CONSTANTS if host.packed() is None else templates.CONSTANTS
        yield templates.BOUND
        yield templates.OF_KIND
    if host.reference:
        yield _reference(host)
        yield templates.AGREES
    yield templates.RANDOM
    yield templates.MAIN_BEGINNING + _execution(kernel, host)
    yield templates.MAIN_END


def _data(host: Host) -> Iterator[str]:
    yield "# What callers give and get: shapes, and element types as numpy and torch name them.\n"
    yield specs_text("ARGUMENTS", host.arguments)
    yield specs_text("RESULTS", host.results)
    if host.reference:
        yield "# How far from numpy results may be: of the largest magnitude; integers, absolute.\n"
        entries = [f'    "{name}": {allowed!r},\n' for name, allowed in host.tolerances.items()]
        yield "".join(["TOLERANCES = {\n", *entries, "}\n"])
    if host.packings:
        yield "# Weights in another order: the kernel's argument, the weight, how it is made.\n"
        entries = [
            f'    "{name}": ("{weight}", {shape_text(cut)}, {shape_text(order)}),\n'
            for name, (weight, cut, order) in host.packings.items()
        ]
        yield "".join(["REORDERED = {\n", *entries, "}\n"])
    if host.constants:
        yield from _constants(host)


def _constants(host: Host) -> Iterator[str]:
    packed = host.packed()
    if packed is None:
        yield "# Arrays that the function brought along, in constants.npz beside this file.\n"
        names = ", ".join(f'"{name}"' for name in host.constants)
        yield f"STORED = ({names}{',' if len(host.constants) == 1 else ''})\n"
        return
    yield "# Arrays that the function brought along: compressed twice, in base64.\n"
    yield "PACKED = {\n"
    for name, data in packed.items():
        yield f'    "{name}": [\n'
        for line in wrap(base64.b64encode(data).decode(), _PACKED_WIDTH):
            yield f'        "{line}",\n'
        yield "    ],\n"
    yield "}\n"


def _run(kernel: str, host: Host) -> str:
    names = [*map(Expr, host.arguments), Expr("simulate=False")]
    head = wrapped(call(f"run_{kernel}", names), 0, "def ", ":")
    given = specs = [f'        "{name}": {name},' for name in host.arguments]
    body = ["    given = {", *given, "    }"] if specs else ["    given = {}"]
    body.append("    arrays = {name: prepared(name, array) for name, array in given.items()}")
    more = templates.RUN_WEIGHTS if host.packings else ""
    more += templates.RUN_CONSTANTS if host.constants else ""
    begin = templates.RUN_BEGINNING
    if host.packings:
        begin = begin.replace('    """\n', templates.RUN_REMEMBERS + '    """\n')
    end = templates.RUN_END.replace("KERNEL", kernel)
    return "\n".join(["\n".join(head), begin + "\n".join(body), more + end])


def _reference(host: Host) -> str:
    head = wrapped(call("reference", [Expr(name) for name in host.parameters]), 0, "def ", ":")
    return "\n".join(
        [
            *head,
            '    """What numpy computes, as a tuple in the order of RESULTS."""',
            "",
            "    # fmt: off",
            *[f"    {line}".rstrip() for line in host.reference],
            "    # fmt: on",
        ]
    )


def _execution(kernel: str, host: Host) -> str:
    """The rest of the main program: run, say so, compare."""
    given = [Expr("**given"), Expr("simulate=simulate")]
    before = "made = " if host.reference else ""
    lines = wrapped(call(f"run_{kernel}", given), 1, before)
    lines += wrapped(call("print", [Expr(f'f"{kernel}: ran {{where}}"')]), 1)
    if host.reference:
        narrow = any(dtype in (*_NARROW, "float16") for _, dtype in host.arguments.values())
        compares = templates.MAIN_COMPARES_NARROW if narrow else templates.MAIN_COMPARES
        return "\n".join([*lines, compares])
    lines += wrapped(call("print", [Expr(f'"not compared with numpy: {host.no_reference}"')]), 1)
    return "\n".join([*lines, "    return 0\n"])

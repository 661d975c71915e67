"""Running a lowered kernel on numpy, tile by tile.

The graph is turned once into nested Python closures over numbered slots; loops then run those
closures, so the cost per executed op is a few numpy calls. Buffers start as NaN (floats) or zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from nkigen_lite.core.dtypes import Array, DType, round_to
from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.errors import InvalidInput
from nkigen_lite.nki_ir.rows import NKI, written_operands
from nkigen_lite.nki_ir.types import REGISTER

Step = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Rank:
    """Who runs a kernel: its number, and how it gets what a collective gives it."""

    number: int
    meet: Callable[[Op, Array, Array], Array]


def run(graph: Graph, inputs: Mapping[str, Array], *, rank: Rank | None = None) -> dict[str, Array]:
    """Run the kernel on HBM buffers and return its outputs by name.

    Input arrays are used in place: output buffers (graph inputs too) are written in place. Without
    ``rank`` the kernel runs on the only one; :func:`~nkigen_lite.nki_ir.ranks.run_ranks` runs more.

    Raises:
        InvalidInput: a buffer is missing or has the wrong shape or dtype.
        ValueError: the graph has no outputs.
    """
    if not graph.outputs:
        raise ValueError(f"Graph has no outputs: @{graph.name}; call set_outputs first")
    env = interpret(graph, inputs, rank=rank)
    return {name: env[id(value)] for name, value in graph.outputs.items()}


class _Env(dict[int, Any]):
    """The contents of values, keyed by ``id``, and the rank that they belong to."""

    rank: Rank | None = None


def interpret(
    graph: Graph, inputs: Mapping[str, Array], *, rank: Rank | None = None
) -> dict[int, Any]:
    """Run the kernel; the last content of every value, keyed by ``id``."""
    env = _Env()
    env.rank = rank
    for value in graph.inputs:
        env[id(value)] = _buffer(value, inputs)
    # Tiles are small: a BLAS that spreads each product over threads spends its time waking them.
    with np.errstate(all="ignore"), threadpool_limits(limits=1, user_api="blas"):
        for step in _compile(graph, env):
            step()
    return env


def _buffer(value: Value, inputs: Mapping[str, Array]) -> Array:
    if value.name not in inputs:
        raise InvalidInput(f"Missing input: {value.name}")
    array = inputs[value.name]
    kind = value.type
    if array.shape != kind.shape or array.dtype != kind.dtype.np:
        raise InvalidInput(
            f"Shape mismatch for {value.name}: got {array.shape} {array.dtype} but the kernel "
            f"declares {kind.shape} {kind.dtype.np}"
        )
    return array


def _compile(graph: Graph, env: _Env) -> list[Step]:
    return [_maker(op)(op, env) for op in graph.ops]


def _maker(op: Op) -> Callable[[Op, _Env], Step]:
    if NKI[op.opcode].exchange is not None:
        return _collective
    return _MAKERS.get(op.opcode, _engine_op)


def _loop(op: Op, env: _Env) -> Step:
    body = op.attrs["body"]
    index = id(body.inputs[0])
    steps = _compile(body, env)
    values = range(0, op.attrs["extent"], op.attrs["step"])

    def run_loop() -> None:
        for i in values:
            env[index] = i
            for step in steps:
                step()

    return run_loop


def _dynamic_loop(op: Op, env: _Env) -> Step:
    bound, step = id(op.inputs[0]), op.attrs["step"]
    index, steps = id(op.attrs["body"].inputs[0]), _compile(op.attrs["body"], env)

    def run_loop() -> None:
        for i in range(0, int(env[bound][0]), step):
            env[index] = np.full(REGISTER.shape, i, REGISTER.dtype.np)
            for run_step in steps:
                run_step()

    return run_loop


def _while_loop(op: Op, env: _Env) -> Step:
    condition, most = id(op.inputs[0]), op.attrs["most_trips"]
    steps = _compile(op.attrs["body"], env)

    def run_loop() -> None:
        trips = 0
        while env[condition][0]:
            trips += 1
            if trips > most:
                raise InvalidInput(f"while_loop: more than {most} trips but that is most_trips")
            for step in steps:
                step()

    return run_loop


def _if_else(op: Op, env: _Env) -> Step:
    condition = op.inputs[0]
    branches = {name: _compile(op.attrs[name], env) for name in ("then", "otherwise")}
    is_register = condition.type == REGISTER

    def run_branch() -> None:
        held = int(np.asarray(env[id(condition)]).item())
        if is_register and held not in (0, 1):
            raise InvalidInput(f"if_else: %{condition.name} holds {held} but must hold 0 or 1")
        for step in branches["then" if held else "otherwise"]:
            step()

    return run_branch


def _register(op: Op, env: _Env) -> Step:
    result, value = id(op.result), op.attrs["value"] or 0

    def alloc() -> None:
        env[result] = np.full(REGISTER.shape, value, REGISTER.dtype.np)

    return alloc


def _collective(op: Op, env: _Env) -> Step:
    rank = env.rank
    if rank is None:
        return _engine_op(op, env)
    dst, src = (id(v) for v in op.inputs)
    dtype: DType = op.inputs[0].type.dtype

    def exchange() -> None:
        env[dst][...] = round_to(np.asarray(rank.meet(op, env[dst], env[src])), dtype)

    return exchange


def _rank_id(op: Op, env: _Env) -> Step:
    result, number = id(op.result), env.rank.number if env.rank else 0

    def held() -> None:
        env[result] = np.full(REGISTER.shape, number, REGISTER.dtype.np)

    return held


def _alloc(op: Op, env: _Env) -> Step:
    result, kind = id(op.result), op.result.type
    fill = np.nan if kind.dtype.is_float else 0

    def alloc() -> None:
        env[result] = np.full(kind.shape, fill, dtype=kind.dtype.np)
        env[_earlier(op.result)] = []

    return alloc


def _earlier(buffer: Value) -> int:
    """Where the copies of a buffer that were in use before are kept, the last one first."""
    return ~id(buffer)


def _rotate(op: Op, env: _Env) -> Step:
    buffer = op.inputs[0]
    assert buffer.producer is not None
    copies = buffer.producer.attrs["num_buffers"]
    fresh = _alloc(buffer.producer, env)

    def rotate() -> None:
        before = [env[id(buffer)], *env[_earlier(buffer)]]
        fresh()
        env[_earlier(buffer)] = before[: copies - 1]

    return rotate


def _previous(op: Op, env: _Env) -> Step:
    buffer, result, by = op.inputs[0], id(op.result), op.attrs["by"]

    def previous() -> None:
        env[result] = env[_earlier(buffer)][by - 1]

    return previous


def _dealloc(op: Op, env: _Env) -> Step:
    buffer = id(op.inputs[0])

    def dealloc() -> None:
        env.pop(buffer, None)

    return dealloc


def _view(op: Op, env: _Env) -> Step:
    evaluate = NKI[op.opcode].evaluate
    assert evaluate is not None
    operands, result, attrs = [id(v) for v in op.inputs], id(op.result), op.attrs

    def make_view() -> None:
        env[result] = evaluate(*[env[o] for o in operands], **attrs)

    return make_view


def _engine_op(op: Op, env: _Env) -> Step:
    operands, execute = [id(v) for v in op.inputs], execution(op)

    def run_op() -> None:
        execute([env[o] for o in operands])

    return run_op


def execution(op: Op) -> Callable[[Sequence[Any]], None]:
    """What an engine does for an op, on the arrays and loop indices that are its operands."""
    evaluate = NKI[op.opcode].evaluate
    assert evaluate is not None, f"{op.opcode} has no numpy meaning"
    attrs = op.attrs
    dtype: DType = op.inputs[0].type.dtype

    def execute(arrays: Sequence[Any]) -> None:
        arrays[0][...] = round_to(np.asarray(evaluate(*arrays, **attrs)), dtype)

    written = written_operands(op)
    if written == (0,):
        return execute
    dtypes = [op.inputs[at].type.dtype for at in written]

    def execute_several(arrays: Sequence[Any]) -> None:
        results = evaluate(*arrays, **attrs)
        for at, result, kind in zip(written, results, dtypes, strict=True):
            arrays[at][...] = round_to(np.asarray(result), kind)

    return execute_several


_MAKERS: dict[str, Callable[[Op, _Env], Step]] = {
    "fori_loop": _loop,
    "dynamic_loop": _dynamic_loop,
    "while_loop": _while_loop,
    "if_else": _if_else,
    "register_alloc": _register,
    "rank_id": _rank_id,
    "alloc": _alloc,
    "dealloc": _dealloc,
    "rotate": _rotate,
    "previous": _previous,
    "slice": _view,
    "reshape": _view,
    "permute": _view,
    "broadcast": _view,
}

"""The price of a compute instruction: one table row per operation and engine.

interval = (streaming cycles + overhead cycles) / clock, at least the minimum issue interval;
latency = streaming cycles / clock + a fixed time. An operation that the hardware splits into
several instructions pays the overhead for each. While the PE array is cold, its clock counts
``cold_rate`` times, which hides the overhead: interval = streaming cycles / cold clock. Whatever
the numbers of a profile, cold is never faster than warm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from . import engine_rates as rates
from .errors import PriceError, did_you_mean
from .instructions import Instruction, Price
from .target import Target


@dataclass(frozen=True, slots=True)
class _Fixed:
    """What an instruction costs besides streaming its data."""

    overhead_cycles: float
    latency_ns: float


def _tensor(target: Target, instr: Instruction) -> _Fixed:
    return _Fixed(target.tensor.overhead_cycles, target.tensor.latency_ns)


def _vector(target: Target, instr: Instruction) -> _Fixed:
    v = target.vector
    if instr.pointer:
        return _Fixed(v.pointer_overhead_cycles, v.pointer_latency_ns)
    return _Fixed(v.overhead_cycles, v.copy_latency_ns)


def _vector_reduce(target: Target, instr: Instruction) -> _Fixed:
    return _Fixed(target.vector.overhead_cycles, target.vector.reduce_latency_ns)


def _vector_reciprocal(target: Target, instr: Instruction) -> _Fixed:
    return _Fixed(target.vector.overhead_cycles, target.vector.reciprocal_latency_ns)


def _scalar_copy(target: Target, instr: Instruction) -> _Fixed:
    return _Fixed(target.scalar.copy_overhead_cycles, target.scalar.copy_latency_ns)


def _activation(target: Target, instr: Instruction) -> _Fixed:
    s = target.scalar
    if "psum" in instr.memories[1:2]:
        return _Fixed(s.activation_psum_overhead_cycles, s.activation_psum_latency_ns)
    return _Fixed(s.activation_sbuf_overhead_cycles, s.activation_sbuf_latency_ns)


def _gpsimd(target: Target, instr: Instruction) -> _Fixed:
    return _Fixed(target.gpsimd.start_cycles, target.gpsimd.latency_ns)


def _scalar_has_tensor_ops(target: Target) -> bool:
    return target.scalar.runs_tensor_ops


def _vector_has_range_select(target: Target) -> bool:
    return target.vector.has_range_select


def _gpsimd_has_topk(target: Target) -> bool:
    return target.gpsimd.has_topk


def _everywhere(target: Target) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class _Row:
    """How one engine's form of an operation is priced.

    ``stream`` gives the cycles that its data take to stream through, ``fixed`` what it costs
    besides, ``instructions`` how many hardware instructions it is, ``on`` whether a target has it.
    """

    op: str
    engine: str
    stream: rates.Stream
    fixed: Callable[[Target, Instruction], _Fixed]
    instructions: Callable[[Target, Instruction], int] = rates.one_instruction
    on: Callable[[Target], bool] = _everywhere


_ROWS: Final = (
    _Row("matmul", "tensor", rates.matmul, _tensor, instructions=rates.matmul_passes),
    _Row("nc_transpose", "tensor", rates.tensor_transpose, _tensor),
    _Row("nc_transpose", "vector", rates.vector_default, _vector),
    _Row("activation", "scalar", rates.scalar_default, _activation),
    _Row("activation_reduce", "scalar", rates.scalar_activation_reduce, _activation),
    _Row("activation_accumulate", "scalar", rates.scalar_activation_reduce, _activation),
    _Row("tensor_copy", "vector", rates.vector_copy, _vector),
    _Row("tensor_copy", "scalar", rates.scalar_default, _scalar_copy, on=_scalar_has_tensor_ops),
    _Row("tensor_copy", "gpsimd", rates.gpsimd_default, _gpsimd),
    _Row("tensor_tensor_arith", "vector", rates.vector_tensor_tensor, _vector),
    _Row("tensor_tensor_arith", "gpsimd", rates.gpsimd_tensor_tensor, _gpsimd),
    _Row("tensor_tensor_bitvec", "vector", rates.vector_tensor_tensor, _vector),
    _Row("tensor_scalar_arith", "vector", rates.vector_copy, _vector),
    _Row(
        "tensor_scalar_arith",
        "scalar",
        rates.scalar_default,
        _scalar_copy,
        on=_scalar_has_tensor_ops,
    ),
    _Row("tensor_scalar_arith", "gpsimd", rates.gpsimd_tensor_scalar, _gpsimd),
    _Row("tensor_scalar_bitvec", "vector", rates.vector_copy, _vector),
    _Row("tensor_scalar_reduce", "vector", rates.vector_tensor_scalar_reduce, _vector),
    _Row("scalar_tensor_tensor_arith", "vector", rates.vector_scalar_tensor_tensor, _vector),
    _Row("tensor_reduce_arith", "vector", rates.vector_reduce, _vector_reduce),
    _Row("cross_lane_reduce_arith", "gpsimd", rates.gpsimd_cross_lane, _gpsimd),
    _Row("copy_predicated", "vector", rates.vector_predicated, _vector),
    _Row("select", "vector", rates.vector_predicated, _vector),
    _Row("select_reduce", "vector", rates.vector_select_reduce, _vector),
    _Row("reciprocal", "vector", rates.vector_reciprocal, _vector_reciprocal),
    _Row("memset", "vector", rates.vector_memset, _vector),
    _Row("memset", "gpsimd", rates.gpsimd_memset, _gpsimd),
    _Row("rng", "vector", rates.vector_rng, _vector),
    _Row("dropout", "vector", rates.vector_default, _vector),
    _Row("iota", "gpsimd", rates.gpsimd_default, _gpsimd),
    _Row("affine_select", "gpsimd", rates.gpsimd_default, _gpsimd),
    _Row("range_select", "vector", rates.vector_default, _vector, on=_vector_has_range_select),
    _Row("bn_stats", "vector", rates.vector_default, _vector_reduce),
    _Row("bn_aggr", "vector", rates.vector_bn_aggr, _vector_reduce),
    _Row("tensor_tensor_scan", "vector", rates.vector_scan, _vector),
    _Row("tensor_scalar_cumulative", "vector", rates.vector_scan, _vector),
    _Row("max8", "vector", rates.vector_default, _vector_reduce),
    _Row("find_index8", "vector", rates.vector_default, _vector_reduce),
    _Row("match_replace8", "vector", rates.vector_default, _vector),
    _Row("local_gather", "gpsimd", rates.gpsimd_local_gather, _gpsimd),
    _Row(
        "gather",
        "gpsimd",
        rates.gpsimd_gather,
        _gpsimd,
        instructions=rates.gather_instructions,
    ),
    # No formula is published of these two: one pass over what is read.
    _Row("sequence_bounds", "gpsimd", rates.gpsimd_default, _gpsimd),
    _Row("nonzero_with_count", "gpsimd", rates.gpsimd_default, _gpsimd),
    _Row("topk", "gpsimd", rates.gpsimd_topk, _gpsimd, on=_gpsimd_has_topk),
    _Row("stream_shuffle", "vector", rates.vector_default, _vector),
)


def _by_op() -> dict[str, dict[str, _Row]]:
    table: dict[str, dict[str, _Row]] = {}
    for row in _ROWS:
        table.setdefault(row.op, {})[row.engine] = row
    return table


_TABLE: Final[Mapping[str, Mapping[str, _Row]]] = _by_op()

_ISSUE: Final[Mapping[str, Callable[[Target], tuple[float, float]]]] = {
    "tensor": lambda t: (t.clock.tensor_ghz, t.tensor.min_interval_cycles),
    "vector": lambda t: (t.clock.vector_ghz, t.vector.min_interval_cycles),
    "scalar": lambda t: (t.clock.scalar_ghz, t.scalar.min_interval_cycles),
    "gpsimd": lambda t: (t.clock.gpsimd_ghz, t.gpsimd.min_interval_cycles),
}
"""Per engine: clock in GHz and minimum issue interval in cycles."""


def engines_for(op: str, target: Target | None = None) -> tuple[str, ...]:
    """The engines that run an operation, on any generation or on that of ``target``.

    An engine may run only some forms of it: the Scalar engine's tensor_scalar multiplies and adds,
    GpSimd's is rsqrt, and GpSimd reaches no PSUM.

    Raises PriceError for an operation that has no price.
    """
    if op not in _TABLE:
        raise PriceError(
            f"op is {op!r} but must be one of {', '.join(_TABLE)}{did_you_mean(op, _TABLE)}"
        )
    return tuple(e for e, row in _TABLE[op].items() if target is None or row.on(target))


def _row(target: Target, instr: Instruction) -> _Row:
    engines = engines_for(instr.op, target)
    if instr.engine not in engines:
        raise PriceError(
            f"{instr.op}: engine is {instr.engine!r} but {target.name} runs it on"
            f" {' or '.join(engines) or 'no engine'}"
        )
    if instr.engine == "gpsimd" and "psum" in instr.memories:
        raise PriceError(
            f"{instr.op}: an operand is in PSUM but the gpsimd engine reaches SBUF only"
        )
    if instr.rows > target.memory.partitions:
        raise PriceError(
            f"{instr.op}: rows is {instr.rows} but {target.name} has"
            f" {target.memory.partitions} partitions"
        )
    return _TABLE[instr.op][instr.engine]


def _cold_ns(target: Target, cycles: float) -> float:
    return cycles / (target.clock.tensor_ghz * target.tensor.cold_rate)


def _price(parts: int, count: int, part_ns: float, last_ns: float) -> Price:
    """``parts`` hardware instructions, ``count`` times over; the last one ends ``last_ns`` after
    it starts."""
    interval_ns = parts * part_ns * count
    return Price(interval_ns, interval_ns - part_ns + max(last_ns, part_ns))


def instruction_price(target: Target, instr: Instruction, cold: bool = False) -> Price:
    """Predicted interval and latency of ``instr``, its tables and weights loaded.

    ``cold`` prices it while the power governor holds the PE array back; it changes nothing for
    the other engines. Add ``target.scalar.table_load_ns`` when
    :func:`~cost_models.instructions.activation_table` says that another table set is needed, and
    see :func:`weight_load_price` for the stationary operand of a matmul.

    Raises PriceError for an unknown operation, an engine that does not run it on this target,
    operands that the engine cannot take, or too many rows; the message lists what would do.
    """
    row = _row(target, instr)
    ghz, min_cycles = _ISSUE[row.engine](target)
    if row.engine == "tensor" and instr.columns:
        min_cycles = min(min_cycles, instr.columns)
    fixed = row.fixed(target, instr)
    parts = row.instructions(target, instr)
    stream_cycles = row.stream(target, instr) / parts
    part_ns = max(min_cycles, stream_cycles + fixed.overhead_cycles) / ghz
    last_ns = stream_cycles / ghz + fixed.latency_ns
    if cold and row.engine == "tensor":
        tensor = target.tensor
        ratio = tensor.cold_latency_ratio if parts == 1 else tensor.cold_latency_ratio_f32
        part_ns = max(part_ns, _cold_ns(target, max(min_cycles, stream_cycles)))
        cold_ns = tensor.cold_latency_ns + ratio * _cold_ns(target, stream_cycles)
        last_ns = max(last_ns, cold_ns)
    return _price(parts, instr.count, part_ns, last_ns)


def weight_load_price(target: Target, dtype: str, columns: int, cold: bool = False) -> Price:
    """Predicted times of loading a stationary operand [K, columns] into the PE array.

    All passes of an f32 operand together; K does not matter. The array keeps the weights of the
    next matmul while it works on those of the last, so that a chain of matmuls hides all but the
    first load (aws-neuron-sdk nki/deep-dives/nki_perf_guide.rst Opt7).

    Raises PriceError for a dtype that the array does not multiply, or columns below 1.
    """
    if columns < 1:
        raise PriceError(f"weight load: columns is {columns} but must be at least 1")
    tensor, ghz = target.tensor, target.clock.tensor_ghz
    parts = rates.weight_load_passes(target, dtype)
    stream_cycles = rates.weight_load(target, dtype, columns) / parts
    part_ns = (stream_cycles + tensor.overhead_cycles) / ghz
    last_ns = stream_cycles / ghz + tensor.weight_load_latency_ns
    if cold:
        part_ns = max(part_ns, _cold_ns(target, stream_cycles))
        cold_ns = _cold_ns(target, stream_cycles) + tensor.weight_load_cold_latency_ns
        last_ns = max(last_ns, cold_ns)
    return _price(parts, 1, part_ns, last_ns)

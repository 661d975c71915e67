"""How many engine cycles the data of an instruction take to stream through an engine.

Each function answers for one family of instructions; the rates are fields of the profile, where
their sources stand. N is the number of elements per partition.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from .errors import PriceError
from .instructions import DTYPE_BYTES, FLOATS_8BIT, FLOATS_16BIT, Instruction
from .target import Target

Stream = Callable[[Target, Instruction], float]


def _fast_dtypes(target: Target) -> frozenset[str]:
    """The dtypes of the Vector engine's 16-bit modes."""
    return FLOATS_16BIT | FLOATS_8BIT if target.vector.fp8_in_16bit_modes else FLOATS_16BIT


def _fast(target: Target, instr: Instruction, operands: int) -> bool:
    """Whether the leading operands all have dtypes of the Vector engine's 16-bit modes."""
    return _fast_dtypes(target).issuperset(instr.dtypes[:operands])


def _psum_sources(instr: Instruction) -> int:
    return instr.memories[1:3].count("psum")


# --- tensor engine


def _matmul_row_cycles(target: Target, dtype: str) -> float:
    tensor = target.tensor
    rates: Mapping[str, float] = {
        "bf16": tensor.cycles_per_row_bf16,
        "f16": tensor.cycles_per_row_f16,
        "tf32": tensor.cycles_per_row_tf32,
        "f32": tensor.cycles_per_row_f32,
        **dict.fromkeys(FLOATS_8BIT, tensor.cycles_per_row_fp8),
    }
    if dtype not in rates:
        raise PriceError(
            f"matmul: dtype is {dtype!r} but must be one of {', '.join(sorted(rates))}"
        )
    return rates[dtype]


def matmul_cycles_per_row(target: Target, dtypes: tuple[str, ...]) -> float:
    """Cycles per moving row for source dtypes; the slower source decides.

    Raises PriceError for a dtype that the PE array does not multiply.
    """
    return max(_matmul_row_cycles(target, dtype) for dtype in dtypes)


def _rows(target: Target, instr: Instruction) -> float:
    """max(min(64, stationary columns), N): what the array spends at least on one operand."""
    return max(min(target.tensor.min_interval_cycles, instr.columns), instr.elems)


def matmul(target: Target, instr: Instruction) -> float:
    """max(min(64, columns), N) rows x cycles per row, all passes together.

    Source: aws-neuron-sdk @49ee15c5 general/nki/api/nki/isa/__init__.py nc_matmul.
    """
    return _rows(target, instr) * matmul_cycles_per_row(target, instr.dtypes[1:] or instr.dtypes)


def matmul_passes(target: Target, instr: Instruction) -> int:
    """Hardware instructions of one matmul."""
    return target.tensor.passes_f32 if "f32" in instr.dtypes[1:] else 1


def weight_load_passes(target: Target, dtype: str) -> int:
    """Hardware instructions that load one stationary operand.

    Raises PriceError for a dtype that the PE array does not multiply.
    """
    _matmul_row_cycles(target, dtype)
    return target.tensor.passes_f32 if dtype == "f32" else 1


def weight_load(target: Target, dtype: str, columns: int) -> float:
    """Columns x cycles per column, all passes together."""
    tensor = target.tensor
    wide = dtype == "f32"
    return columns * (
        tensor.weight_load_f32_cycles_per_column if wide else tensor.weight_load_cycles_per_column
    )


def tensor_transpose(target: Target, instr: Instruction) -> float:
    """max(min(64, columns), N) rows x cycles per row; 4-byte types move at their own rate."""
    tensor = target.tensor
    wide = DTYPE_BYTES[instr.dtypes[-1]] == 4
    per_row = tensor.transpose_4byte_cycles_per_row if wide else tensor.transpose_cycles_per_row
    return _rows(target, instr) * per_row


# --- vector engine


def vector_default(target: Target, instr: Instruction) -> float:
    """N at the plain rate."""
    return instr.elems / target.vector.elems_per_cycle


def vector_copy(target: Target, instr: Instruction) -> float:
    """Copy and tensor-scalar forms, with the fast modes of the engine."""
    vector = target.vector
    slow_sides = instr.memories[:2].count("psum") + (not instr.contiguous)
    rate = vector.elems_per_cycle
    if _fast(target, instr, 2) and slow_sides < 2:
        rate = (
            vector.copy_16bit_psum_or_strided_elems_per_cycle
            if slow_sides
            else vector.copy_16bit_elems_per_cycle
        )
    elif not slow_sides:
        rate = vector.copy_other_elems_per_cycle
    return instr.elems / rate


def vector_tensor_tensor(target: Target, instr: Instruction) -> float:
    """Two full-size sources: fast when one is in PSUM, or with 16-bit floats all in SBUF."""
    vector = target.vector
    if _psum_sources(instr) == 1:
        rate = vector.tensor_tensor_psum_elems_per_cycle
    elif "psum" in instr.memories[:3] or not _fast(target, instr, 3):
        rate = vector.tensor_tensor_sbuf_elems_per_cycle
    elif instr.contiguous:
        rate = vector.tensor_tensor_16bit_elems_per_cycle
    else:
        rate = vector.tensor_tensor_16bit_strided_elems_per_cycle
    return instr.elems / rate


def vector_scalar_tensor_tensor(target: Target, instr: Instruction) -> float:
    """Two full-size sources and two operations."""
    vector = target.vector
    if _psum_sources(instr) == 1:
        return instr.elems / vector.scalar_tensor_tensor_psum_elems_per_cycle
    return instr.elems / vector.scalar_tensor_tensor_sbuf_elems_per_cycle


def vector_predicated(target: Target, instr: Instruction) -> float:
    """A predicate and a source: fast when exactly one of the two is in PSUM."""
    vector = target.vector
    if _psum_sources(instr) == 1:
        return instr.elems / vector.predicated_psum_elems_per_cycle
    return instr.elems / vector.predicated_sbuf_elems_per_cycle


def vector_select_reduce(target: Target, instr: Instruction) -> float:
    """A predicated copy that also accumulates; no formula is published, so the sum of both."""
    return vector_predicated(target, instr) + target.vector.reduce_extra_cycles


def vector_reduce(target: Target, instr: Instruction) -> float:
    """Reduction along the free dimension; what is read sets the rate, whatever the result is."""
    vector = target.vector
    fast = instr.dtypes[-1] in _fast_dtypes(target)
    return instr.elems / (vector.reduce_16bit_elems_per_cycle if fast else vector.elems_per_cycle)


def vector_tensor_scalar_reduce(target: Target, instr: Instruction) -> float:
    """A tensor_scalar that also reduces its results; no fast mode is documented."""
    return vector_default(target, instr) + target.vector.reduce_extra_cycles


def _zeros(instr: Instruction) -> bool:
    """Whether this writes zeros of a 16-bit float type."""
    return instr.function == "zero" and FLOATS_16BIT.issuperset(instr.dtypes[:1])


def vector_memset(target: Target, instr: Instruction) -> float:
    """One value everywhere; zeros of 16-bit floats are written faster."""
    vector = target.vector
    fast = _zeros(instr)
    rate = vector.memset_zero_16bit_elems_per_cycle if fast else vector.elems_per_cycle
    return instr.elems / rate


def vector_rng(target: Target, instr: Instruction) -> float:
    """Random bits."""
    return instr.elems / target.vector.rng_elems_per_cycle


def vector_scan(target: Target, instr: Instruction) -> float:
    """Running operation along the free dimension.

    Published of tensor_tensor_scan; tensor_scalar_cumulative, of which nothing is published, waits
    for its last result as that does, and is taken alike.
    """
    return instr.elems * target.vector.scan_cycles_per_elem


def vector_reciprocal(target: Target, instr: Instruction) -> float:
    """1/x on the Vector engine."""
    return instr.elems * target.vector.reciprocal_cycles_per_elem


def vector_bn_aggr(target: Target, instr: Instruction) -> float:
    """Combines statistics; N counts their values, three per group."""
    return instr.elems * target.vector.bn_aggr_cycles_per_elem


# --- scalar engine


def scalar_default(target: Target, instr: Instruction) -> float:
    """N at the rate of the widest of destination and data."""
    scalar = target.scalar
    narrow = max(DTYPE_BYTES[dtype] for dtype in instr.dtypes[:2]) <= 2
    return instr.elems / (scalar.narrow_elems_per_cycle if narrow else scalar.elems_per_cycle)


def scalar_activation_reduce(target: Target, instr: Instruction) -> float:
    """An activation that also adds up its results."""
    return scalar_default(target, instr) + target.scalar.reduce_extra_cycles


# --- GpSimd engine (SBUF only)


def gpsimd_default(target: Target, instr: Instruction) -> float:
    """N at the plain rate."""
    return instr.elems / target.gpsimd.elems_per_cycle


def gpsimd_memset(target: Target, instr: Instruction) -> float:
    """One value everywhere; zeros of 16-bit floats are written faster."""
    gpsimd = target.gpsimd
    fast = _zeros(instr)
    rate = gpsimd.memset_zero_16bit_elems_per_cycle if fast else gpsimd.elems_per_cycle
    return instr.elems / rate


def gpsimd_tensor_tensor(target: Target, instr: Instruction) -> float:
    """Two full-size sources; 16-bit floats in contiguous SBUF stream faster."""
    gpsimd = target.gpsimd
    fast = FLOATS_16BIT.issuperset(instr.dtypes[:3]) and instr.contiguous
    rate = (
        gpsimd.tensor_tensor_16bit_elems_per_cycle if fast else gpsimd.tensor_tensor_elems_per_cycle
    )
    return instr.elems / rate


def gpsimd_tensor_scalar(target: Target, instr: Instruction) -> float:
    """The one form that the engine has: rsqrt."""
    return instr.elems * target.gpsimd.tensor_scalar_cycles_per_elem


def gpsimd_cross_lane(target: Target, instr: Instruction) -> float:
    """Reduction across partitions; no price is published."""
    return instr.elems * target.gpsimd.cross_lane_cycles_per_elem


def gpsimd_local_gather(target: Target, instr: Instruction) -> float:
    """N gathered elements per partition, one element per index."""
    return instr.elems * target.gpsimd.local_gather_cycles_per_elem


def gpsimd_gather(target: Target, instr: Instruction) -> float:
    """N gathered elements per partition."""
    return instr.elems * target.gpsimd.gather_cycles_per_elem


def gpsimd_topk(target: Target, instr: Instruction) -> float:
    """4 n + K: N elements of a group of 16 partitions, of which ``columns`` are selected.

    Source: aws-neuron-sdk nki/api/nki/isa/__init__.py topk.
    """
    return instr.elems * target.gpsimd.topk_cycles_per_elem + instr.columns


def gather_instructions(target: Target, instr: Instruction) -> int:
    """Hardware instructions of one gather."""
    return math.ceil(instr.elems / target.gpsimd.gather_elems_per_instruction)


def one_instruction(target: Target, instr: Instruction) -> int:
    """Most operations are one hardware instruction."""
    return 1

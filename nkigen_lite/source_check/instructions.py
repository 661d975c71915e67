"""The instructions of ``nki.isa`` that the checker knows: one row each.

Source of all rules: aws-neuron-sdk, nki.isa reference of 0.6, function by function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nkigen_lite.source_check.facts import dtypes
from nkigen_lite.source_check.movement import (
    check_dma,
    check_dma_transpose,
    check_iota,
    check_memset,
    check_shuffle,
    check_transpose,
)
from nkigen_lite.source_check.operands import (
    Check,
    dtype_in,
    free_between,
    free_is,
    one_of,
    one_psum,
    operation,
    per_partition,
    same_dtype,
    same_elements,
    same_shape,
)
from nkigen_lite.source_check.products import (
    check_accumulated_sum,
    check_activation,
    check_affine_select,
    check_bias,
    check_bounds,
    check_local_gather,
    check_matmul,
    check_partition_reduce,
    check_range_select,
    check_scalar_engine,
    check_select_reduce,
    check_tensor_reduce,
    check_tensor_tensor,
    check_triples,
)
from nkigen_lite.source_check.steps import check_bits, comparisons, steps

SBUF, PSUM = "sbuf", "psum"
CHIP = (SBUF, PSUM)
ANYWHERE = (SBUF, PSUM, "hbm", "private_hbm", "shared_hbm")
DMA = (SBUF, "hbm", "private_hbm", "shared_hbm")
ALU = ("arithmetic", "bitwise")
CUMULATIVE = tuple(n for n in dtypes() if n not in ("int32", "uint32"))
PREDICATES = ("uint8", "uint16", "uint32")


@dataclass(frozen=True, slots=True)
class Instruction:
    """What one instruction touches, and the rules it obeys.

    Attributes:
        reads, writes: arguments that may be tensors. What is written may be read as well.
        updates: written arguments whose elements must have been written before.
        engines: who may run it; the first does if the call does not say.
        places: per argument, the memories it may be in; SBUF and PSUM for the others.
        apart: arguments whose partitions need not be those of the rest.
        generation: the first NeuronCore version that has it.
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ("dst",)
    updates: tuple[str, ...] = ()
    engines: tuple[str, ...] = ("vector",)
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    apart: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    generation: int = 2

    @property
    def is_dma(self) -> bool:
        return self.engines[:1] == ("dma",)


def _only(*names: str, place: str = SBUF) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(names, (place,))


def _activation(sums: Check) -> Instruction:
    """A function of a scaled and shifted tile; ``sums`` is what holds of its accumulated sum."""
    return Instruction(
        ("data", "bias", "scale"),
        ("dst", "reduce_res"),
        engines=("scalar",),
        checks=(
            operation("op", legal=("activations",)),
            same_elements("dst", "data"),
            per_partition("scale"),
            per_partition("bias", dtype=None),
            check_bias,
            sums,
        ),
    )


INSTRUCTIONS: dict[str, Instruction] = {
    # --- movement -----------------------------------------------------------------------------
    "dma_copy": Instruction(
        ("src",),
        engines=("dma", "sync", "scalar"),
        places={"dst": DMA, "src": DMA},
        apart=("dst", "src"),
        checks=(check_dma,),
    ),
    "dma_transpose": Instruction(
        ("src",),
        engines=("dma",),
        places={"dst": (SBUF,), "src": DMA},
        apart=("dst", "src"),
        checks=(same_dtype("dst", "src"), check_dma_transpose),
    ),
    "tensor_copy": Instruction(
        ("src",),
        engines=("vector", "scalar", "gpsimd"),
        checks=(same_elements("dst", "src"), check_scalar_engine),
    ),
    "tensor_copy_predicated": Instruction(
        ("predicate", "src"),
        updates=("dst",),
        checks=(
            same_elements("dst", "predicate"),
            dtype_in("predicate", PREDICATES),
            same_dtype("dst", "src"),
            one_psum("src", "predicate"),
        ),
    ),
    "nc_transpose": Instruction(
        ("data",), engines=("tensor", "vector"), apart=("dst", "data"), checks=(check_transpose,)
    ),
    "nc_stream_shuffle": Instruction(
        ("src",), apart=("dst", "src"), checks=(same_dtype("dst", "src"), check_shuffle)
    ),
    "memset": Instruction(engines=("vector", "gpsimd"), checks=(check_memset,)),
    "iota": Instruction(engines=("gpsimd",), places=_only("dst"), checks=(check_iota,)),
    "nc_n_gather": Instruction(
        ("data", "indices"),
        engines=("gpsimd",),
        places=_only("dst", "data", "indices"),
        checks=(same_elements("dst", "indices"), dtype_in("indices", ("uint32",))),
    ),
    "local_gather": Instruction(
        ("src_buffer", "index"),
        engines=("gpsimd",),
        places=_only("dst", "src_buffer", "index"),
        checks=(
            dtype_in("index", ("uint16",)),
            same_dtype("dst", "src_buffer"),
            check_local_gather,
        ),
    ),
    "nonzero_with_count": Instruction(
        ("src",), engines=("gpsimd",), places=_only("dst", "src"), apart=("dst", "src")
    ),
    # --- matrix products ----------------------------------------------------------------------
    "nc_matmul": Instruction(
        ("stationary", "moving"),
        engines=("tensor",),
        places={**_only("stationary", "moving"), "dst": (PSUM,)},
        apart=("dst",),
        checks=(check_matmul,),
    ),
    # --- elementwise --------------------------------------------------------------------------
    "tensor_tensor": Instruction(
        ("data1", "data2"),
        engines=("vector", "gpsimd"),
        checks=(
            operation("op", legal=ALU),
            same_elements("dst", "data1", "data2"),
            one_psum("data1", "data2"),
            check_tensor_tensor,
            check_bits,
        ),
    ),
    "tensor_scalar": Instruction(
        ("data", "operand0", "operand1"),
        engines=("vector", "scalar", "gpsimd"),
        checks=(
            operation("op0", "op1", legal=ALU),
            same_elements("dst", "data"),
            steps("operand0", "operand1"),
            check_scalar_engine,
            check_bits,
        ),
    ),
    "scalar_tensor_tensor": Instruction(
        ("data", "operand0", "operand1"),
        checks=(
            operation("op0", "op1", legal=("arithmetic",)),
            same_elements("dst", "data", "operand1"),
            steps("operand0"),
            one_psum("data", "operand1"),
        ),
    ),
    "activation": _activation(check_activation),
    "activation_reduce": _activation(check_accumulated_sum),
    "reciprocal": Instruction(("data",), checks=(same_elements("dst", "data"),)),
    "exponential": Instruction(
        ("src", "max_value"),
        ("dst", "reduce_res"),
        checks=(same_elements("dst", "src"), per_partition("max_value", "reduce_res")),
        generation=4,
    ),
    # --- reductions and scans -----------------------------------------------------------------
    "tensor_reduce": Instruction(
        ("data",), checks=(operation("op", legal=ALU), check_tensor_reduce, check_bits)
    ),
    "tensor_partition_reduce": Instruction(
        ("data",),
        engines=("gpsimd",),
        places=_only("dst", "data"),
        apart=("dst", "data"),
        checks=(check_partition_reduce,),
    ),
    "tensor_scalar_reduce": Instruction(
        ("data", "operand0"),
        ("dst", "reduce_res"),
        checks=(
            operation("op0", legal=("arithmetic",)),
            one_of("reduce_op", "add", "multiply", "maximum", "minimum"),
            same_elements("dst", "data"),
            steps("operand0"),
            per_partition("reduce_res", dtype=None),
        ),
    ),
    "tensor_scalar_cumulative": Instruction(
        ("src", "imm0", "imm1"),
        checks=(
            operation("op0", "op1", legal=("arithmetic",)),
            same_elements("dst", "src"),
            steps("imm0"),
            per_partition("imm1"),
            dtype_in("src", CUMULATIVE),
            dtype_in("dst", CUMULATIVE),
        ),
    ),
    "tensor_tensor_scan": Instruction(
        ("data0", "data1", "initial"),
        checks=(
            operation("op0", "op1", legal=("arithmetic",)),
            same_elements("dst", "data0", "data1"),
            per_partition("initial"),
            one_psum("data0", "data1"),
        ),
    ),
    "bn_stats": Instruction(("data",), checks=(free_between("data", 1, 512), free_is("dst", 6))),
    "bn_aggr": Instruction(("data",), checks=(check_triples, free_is("dst", 2))),
    "max8": Instruction(("src",), checks=(free_between("src", 8, 16384), free_is("dst", 8))),
    "nc_find_index8": Instruction(
        ("data", "vals"),
        checks=(
            free_between("data", 8, 16384),
            free_is("vals", 8),
            free_is("dst", 8),
            dtype_in("dst", ("uint16", "uint32")),
        ),
    ),
    "nc_match_replace8": Instruction(
        ("data", "vals"),
        ("dst", "dst_idx"),
        checks=(
            free_between("data", 8, 16384),
            free_is("vals", 8),
            same_elements("dst", "data"),
            dtype_in("dst_idx", ("uint16", "uint32")),
        ),
    ),
    # --- selection ----------------------------------------------------------------------------
    "affine_select": Instruction(
        ("on_true_tile",),
        engines=("gpsimd",),
        places=_only("dst", "on_true_tile"),
        checks=(
            same_elements("dst", "on_true_tile"),
            comparisons("cmp_op"),
            check_affine_select,
        ),
    ),
    "range_select": Instruction(
        ("on_true_tile", "bound0", "bound1"),
        ("dst", "reduce_res"),
        checks=(
            same_elements("dst", "on_true_tile"),
            comparisons("comp_op0", "comp_op1"),
            per_partition("bound0", "bound1"),
            check_range_select,
        ),
        generation=3,
    ),
    "select_reduce": Instruction(
        ("predicate", "on_true", "on_false"),
        ("dst", "reduce_res"),
        checks=(
            same_shape("dst", "on_true"),
            same_elements("dst", "predicate"),
            dtype_in("predicate", ("int8", "uint8", "int16", "uint16")),
            per_partition("on_false"),
            check_select_reduce,
        ),
    ),
    "sequence_bounds": Instruction(
        ("segment_ids",), engines=("gpsimd",), apart=("dst", "segment_ids"), checks=(check_bounds,)
    ),
}

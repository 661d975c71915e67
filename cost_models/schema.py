"""The fields of a hardware profile: their groups, types, units and lower limits.

One dataclass per group of a profile. The annotation of a field says everything that validation
needs: its Python type, its unit, and whether zero is allowed. 1 GB/s is 1 byte/ns, and
cycles / GHz is ns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, Final, get_args, get_type_hints


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of a profile with where it comes from.

    ``status`` is one of :data:`STATUSES`: documented (a vendor document states it), measured (read
    from a published profile, trace or benchmark), inferred (computed from such numbers; the note
    says how), calibrated (fitted so that predicted kernel times meet published ones; the note
    names the rows) or assumed (no source states it).
    """

    value: float | int | bool
    unit: str
    source: str
    status: str
    note: str = ""


STATUSES: Final = ("documented", "measured", "inferred", "calibrated", "assumed")


@dataclass(frozen=True, slots=True)
class Rule:
    """What a field's value must satisfy besides its type."""

    unit: str
    positive: bool = False


Bytes = Annotated[int, Rule("bytes", positive=True)]
Count = Annotated[int, Rule("count", positive=True)]
Elems = Annotated[int, Rule("elems", positive=True)]
Flag = Annotated[bool, Rule("flag")]
Ns = Annotated[float, Rule("ns")]
GHz = Annotated[float, Rule("GHz", positive=True)]
GBps = Annotated[float, Rule("GB/s", positive=True)]
BytesPerNs = Annotated[float, Rule("bytes/ns", positive=True)]
Cycles = Annotated[float, Rule("cycles")]
CyclesPerRow = Annotated[float, Rule("cycles/row", positive=True)]
CyclesPerColumn = Annotated[float, Rule("cycles/column", positive=True)]
CyclesPerElem = Annotated[float, Rule("cycles/elem", positive=True)]
ElemsPerCycle = Annotated[float, Rule("elems/cycle", positive=True)]
Ratio = Annotated[float, Rule("ratio", positive=True)]


@dataclass(frozen=True, slots=True)
class Chip:
    """What the cores of a chip share, and of which NeuronCore version they are.

    ``link_gbps`` is the sum of the chip's links to other chips. ``core_version`` decides which
    instructions there are.
    """

    core_version: Count
    cores: Count
    hbm_bytes: Bytes
    link_gbps: GBps


@dataclass(frozen=True, slots=True)
class Memory:
    """Sizes of the on-chip memories of one core and the bandwidth of the device memory."""

    partitions: Count
    sbuf_bytes_per_partition: Bytes
    sbuf_usable_bytes_per_partition: Bytes
    psum_bytes_per_partition: Bytes
    psum_banks: Count
    psum_bank_bytes: Bytes
    hbm_chip_gbps: GBps
    hbm_stack_gbps: GBps


@dataclass(frozen=True, slots=True)
class Clock:
    """Clock of each compute engine."""

    tensor_ghz: GHz
    vector_ghz: GHz
    scalar_ghz: GHz
    gpsimd_ghz: GHz


@dataclass(frozen=True, slots=True)
class TensorEngine:
    """The PE array. A row is one column of the moving operand: one value per partition.

    ``passes_f32`` is the number of hardware instructions one f32 matmul becomes;
    ``cycles_per_row_f32`` and ``weight_load_f32_cycles_per_column`` count all of them.
    ``cold_rate`` is the fraction of the full rate while the power governor holds the array back:
    until it has worked for ``warm_after_ns``, and again once it has rested for
    ``cold_after_idle_ns``; shorter rests set back what work has gained in that proportion. A cold
    instruction takes ``cold_latency_ns`` and ``cold_latency_ratio`` times its streaming time to
    its completion mark ("f32": the last pass of an f32 matmul).
    """

    pe_rows: Count
    pe_cols: Count
    stationary_free_max: Elems
    cycles_per_row_bf16: CyclesPerRow
    cycles_per_row_f16: CyclesPerRow
    cycles_per_row_tf32: CyclesPerRow
    cycles_per_row_fp8: CyclesPerRow
    cycles_per_row_f32: CyclesPerRow
    passes_f32: Count
    transpose_cycles_per_row: CyclesPerRow
    transpose_4byte_cycles_per_row: CyclesPerRow
    overhead_cycles: Cycles
    min_interval_cycles: Cycles
    latency_ns: Ns
    weight_load_cycles_per_column: CyclesPerColumn
    weight_load_f32_cycles_per_column: CyclesPerColumn
    weight_load_latency_ns: Ns
    weight_load_cold_latency_ns: Ns
    cold_rate: Ratio
    cold_latency_ns: Ns
    cold_latency_ratio: Ratio
    cold_latency_ratio_f32: Ratio
    warm_after_ns: Ns
    cold_after_idle_ns: Ns


@dataclass(frozen=True, slots=True)
class VectorEngine:
    """Rates per partition; "16bit" means that all operands are bf16 or f16.

    "copy" rates hold for tensor_copy and tensor_scalar. "other" is any mix of dtypes with all
    operands contiguous in SBUF. "psum" of a two-source instruction means exactly one source there.
    ``has_range_select`` says whether the engine has that instruction.
    """

    elems_per_cycle: ElemsPerCycle
    copy_16bit_elems_per_cycle: ElemsPerCycle
    copy_16bit_psum_or_strided_elems_per_cycle: ElemsPerCycle
    copy_other_elems_per_cycle: ElemsPerCycle
    tensor_tensor_16bit_elems_per_cycle: ElemsPerCycle
    tensor_tensor_16bit_strided_elems_per_cycle: ElemsPerCycle
    tensor_tensor_psum_elems_per_cycle: ElemsPerCycle
    tensor_tensor_sbuf_elems_per_cycle: ElemsPerCycle
    scalar_tensor_tensor_psum_elems_per_cycle: ElemsPerCycle
    scalar_tensor_tensor_sbuf_elems_per_cycle: ElemsPerCycle
    predicated_psum_elems_per_cycle: ElemsPerCycle
    predicated_sbuf_elems_per_cycle: ElemsPerCycle
    reduce_16bit_elems_per_cycle: ElemsPerCycle
    memset_zero_16bit_elems_per_cycle: ElemsPerCycle
    rng_elems_per_cycle: ElemsPerCycle
    scan_cycles_per_elem: CyclesPerElem
    reciprocal_cycles_per_elem: CyclesPerElem
    bn_aggr_cycles_per_elem: CyclesPerElem
    has_range_select: Flag
    fp8_in_16bit_modes: Flag
    overhead_cycles: Cycles
    pointer_overhead_cycles: Cycles
    reduce_extra_cycles: Cycles
    min_interval_cycles: Cycles
    copy_latency_ns: Ns
    pointer_latency_ns: Ns
    reduce_latency_ns: Ns
    reciprocal_latency_ns: Ns


@dataclass(frozen=True, slots=True)
class ScalarEngine:
    """``narrow`` means that all operands have at most 16 bits.

    ``runs_tensor_ops`` says whether the engine has tensor_copy and tensor_scalar instructions.
    ``table_load_ns`` is paid when a function's table set is not the one that is loaded.
    """

    elems_per_cycle: ElemsPerCycle
    narrow_elems_per_cycle: ElemsPerCycle
    runs_tensor_ops: Flag
    copy_overhead_cycles: Cycles
    activation_sbuf_overhead_cycles: Cycles
    activation_psum_overhead_cycles: Cycles
    reduce_extra_cycles: Cycles
    min_interval_cycles: Cycles
    copy_latency_ns: Ns
    activation_sbuf_latency_ns: Ns
    activation_psum_latency_ns: Ns
    table_load_ns: Ns


@dataclass(frozen=True, slots=True)
class GpSimdEngine:
    """The eight general processors; every instruction pays ``start_cycles`` first.

    ``latency_ns`` is all that passes besides streaming, the start included. ``has_topk`` says
    whether the engine has that instruction.
    """

    elems_per_cycle: ElemsPerCycle
    tensor_tensor_16bit_elems_per_cycle: ElemsPerCycle
    tensor_tensor_elems_per_cycle: ElemsPerCycle
    memset_zero_16bit_elems_per_cycle: ElemsPerCycle
    tensor_scalar_cycles_per_elem: CyclesPerElem
    cross_lane_cycles_per_elem: CyclesPerElem
    local_gather_cycles_per_elem: CyclesPerElem
    gather_cycles_per_elem: CyclesPerElem
    has_topk: Flag
    topk_cycles_per_elem: CyclesPerElem
    gather_elems_per_instruction: Elems
    start_cycles: Cycles
    min_interval_cycles: Cycles
    latency_ns: Ns


@dataclass(frozen=True, slots=True)
class Dma:
    """The DMA queues of one core. A queue takes ``descriptor_ns`` plus its bytes per descriptor.

    "hardware" (triggered by Sync or Scalar) and "software" (GpSimd) say who generates the
    descriptors while the kernel runs. Where ``has_hardware_dge`` is false, those of a static
    transfer are "prepared" before it runs. ``issue_software_ns`` passes before the first software
    transfer starts, ``issue_software_next_ns`` between later ones; both hold for one descriptor
    per partition. Each further one adds ``software_descriptor_ns``, each index of an indirect
    transfer ``software_index_ns``. The caps are what all queues of a core reach together; factors
    scale the time of a descriptor (cast) or the rates (transpose).
    """

    queues: Count
    descriptor_ns: Ns
    bytes_per_ns: BytesPerNs
    has_hardware_dge: Flag
    issue_hardware_ns: Ns
    issue_prepared_ns: Ns
    issue_software_ns: Ns
    issue_software_next_ns: Ns
    software_descriptor_ns: Ns
    software_index_ns: Ns
    first_byte_load_ns: Ns
    first_byte_store_ns: Ns
    first_byte_software_load_ns: Ns
    first_byte_software_store_ns: Ns
    completion_ns: Ns
    load_cap_gbps: GBps
    store_cap_gbps: GBps
    transpose_load_factor: Ratio
    transpose_copy_factor: Ratio
    transpose_load_gbps: GBps
    transpose_copy_gbps: GBps
    cast_factor: Ratio


@dataclass(frozen=True, slots=True)
class Sync:
    """Time from a producer's completion mark to the start of a waiting, idle consumer."""

    semaphore_ns: Ns
    semaphore_tensor_ns: Ns


@dataclass(frozen=True, slots=True)
class Launch:
    """Fixed costs around a kernel: on the device before its first DMA, and on the host."""

    preamble_ns: Ns
    host_overhead_ns: Ns


SECTIONS: Final[MappingProxyType[str, type[Any]]] = MappingProxyType(
    {
        "chip": Chip,
        "memory": Memory,
        "clock": Clock,
        "tensor": TensorEngine,
        "vector": VectorEngine,
        "scalar": ScalarEngine,
        "gpsimd": GpSimdEngine,
        "dma": Dma,
        "sync": Sync,
        "launch": Launch,
    }
)


@cache
def fields() -> MappingProxyType[str, tuple[type[Any], Rule]]:
    """Every field of a profile as ``group.field`` -> (Python type, rule), in reading order."""
    found: dict[str, tuple[type[Any], Rule]] = {}
    for section, record in SECTIONS.items():
        for name, hint in get_type_hints(record, include_extras=True).items():
            kind, rule = get_args(hint)
            found[f"{section}.{name}"] = (kind, rule)
    return MappingProxyType(found)

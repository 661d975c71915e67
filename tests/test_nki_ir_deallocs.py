"""insert_deallocs ends each on-chip buffer's life right after its last use."""

from __future__ import annotations

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.nki_ir import Builder, MemorySpace, ds, insert_deallocs
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.nki_ir.verify import problems

LIMITS = Limits(partitions=128, sbuf_bytes=4096, psum_banks=8, psum_bank_bytes=2048)


def tile(b: Builder, name: str, memory: MemorySpace = MemorySpace.SBUF) -> Value:
    return b.alloc((4, 4), DType.F32, memory, name=name)


def opcodes(graph: Graph) -> list[str]:
    return [
        f"{op.opcode} {op.inputs[0].name if op.inputs else op.results[0].name}" for op in graph.ops
    ]


def test_dealloc_follows_the_last_use() -> None:
    b = Builder("k")
    first, second = tile(b, "first"), tile(b, "second")
    b.memset(first, value=0.0)
    b.tensor_copy(second, first)
    b.memset(second, value=1.0)
    assert insert_deallocs(b.graph) == 2
    assert opcodes(b.graph)[2:] == [
        "memset first",
        "tensor_copy second",
        "dealloc first",
        "memset second",
        "dealloc second",
    ]


def test_use_of_a_view_is_a_use() -> None:
    b = Builder("k")
    t = tile(b, "t")
    part = b.slice(b.reshape(t, (4, 2, 2)), [ds(0, 4), ds(0, 1), ds(0, 2)])
    b.memset(tile(b, "other"), value=0.0)
    b.memset(part, value=0.0)
    insert_deallocs(b.graph)
    assert opcodes(b.graph)[-1] == "dealloc t"


def test_unused_buffer_is_freed_at_once() -> None:
    b = Builder("k")
    tile(b, "t")
    assert insert_deallocs(b.graph) == 1
    assert opcodes(b.graph) == ["alloc t", "dealloc t"]


def test_buffer_used_in_a_loop_is_freed_after_the_loop() -> None:
    b = Builder("k")
    t = tile(b, "t")
    b.fori_loop("i", 2, 1, lambda b, i: b.memset(t, value=0.0))
    b.memset(tile(b, "other"), value=0.0)
    assert insert_deallocs(b.graph) == 2
    assert [op.opcode for op in b.graph.ops] == [
        *("alloc", "fori_loop", "dealloc", "alloc", "memset", "dealloc")
    ]


def test_buffer_of_a_loop_body_is_freed_inside_it() -> None:
    b = Builder("k")
    loop = b.fori_loop("i", 2, 1, lambda b, i: b.memset(tile(b, "t"), value=0.0))
    assert insert_deallocs(b.graph) == 1
    assert opcodes(loop.attrs["body"]) == ["alloc t", "memset t", "dealloc t"]


def test_outputs_and_hbm_buffers_stay() -> None:
    b = Builder("k")
    kept, hbm = tile(b, "kept"), tile(b, "hbm", MemorySpace.HBM)
    b.memset(kept, value=0.0)
    b.dma_copy(hbm, kept)
    b.set_outputs({"view": b.reshape(kept, (4, 2, 2))})
    assert insert_deallocs(b.graph) == 0


def test_second_run_adds_nothing() -> None:
    b = Builder("k")
    b.fori_loop("i", 2, 1, lambda b, i: b.memset(tile(b, "t"), value=0.0))
    tile(b, "psum", MemorySpace.PSUM)
    assert insert_deallocs(b.graph) == 2
    assert insert_deallocs(b.graph) == 0


def test_result_passes_the_verifier_where_all_at_once_would_not_fit() -> None:
    b = Builder("k")
    for _ in range(3):
        b.memset(b.alloc((4, 600), DType.F32), value=0.0)
    assert problems(b.graph, LIMITS) != []
    insert_deallocs(b.graph)
    assert problems(b.graph, LIMITS) == []


def test_inserted_deallocs_carry_the_line_of_the_buffer() -> None:
    b = Builder("k")
    tile(b, "t")
    insert_deallocs(b.graph)
    assert b.graph.ops[1].loc == b.graph.ops[0].loc

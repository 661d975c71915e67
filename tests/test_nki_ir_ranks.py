"""Collectives: several ranks run one kernel, and the emitted one gives each the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from emit_agreement import assert_legal
from nki_stand_in_ranks import run_emitted_ranks

from cost_models import PriceError, load_target
from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.core.parser import parse
from nkigen_lite.core.structure import structurally_equal
from nkigen_lite.errors import InvalidInput, InvalidOp
from nkigen_lite.nki_ir import Builder, MemorySpace, emit_nki, run
from nkigen_lite.nki_ir.ranks import run_ranks
from nkigen_lite.nki_ir.rows import NKI
from nkigen_lite.nki_ir.simulate import simulate_kernel

F32, BF16, I32 = DType.F32, DType.BF16, DType.I32
HBM, SBUF, PSUM = MemorySpace.HBM, MemorySpace.SBUF, MemorySpace.PSUM
Array = np.ndarray[Any, np.dtype[Any]]
PAIRS = ((0, 1), (2, 3))
FOUR = ((0, 1, 2, 3),)


def kernel(
    opcode: str, given: tuple[int, ...], made: tuple[int, ...], memory: MemorySpace, **attrs: Any
) -> Graph:
    """y = what the collective makes of a copy of x; where it writes nothing, 7."""
    b = Builder("k")
    x, y = b.add_input("x", given), b.add_input("y_out", made)
    src, dst = b.alloc(given, F32, memory), b.alloc(made, F32, memory)
    sevens = b.memset(b.alloc(made, F32), value=7.0)
    b.dma_copy(src, x)
    if memory is HBM:
        b.dma_copy(dst, sevens)
    else:
        b.tensor_copy(dst, sevens)
    getattr(b, opcode)(dst, src, **attrs)
    b.dma_copy(y, dst)
    b.set_outputs({"y": y})
    return b.graph


def results(graph: Graph, count: int = 4) -> tuple[list[Array], list[Array]]:
    """What ranks are given and what they get, emitted or read back from text as well."""
    shape = graph.inputs[0].type.shape
    rng = np.random.default_rng(0)
    given = [rng.integers(-9, 9, shape).astype(np.float32) for _ in range(count)]
    text = graph.dump()
    parsed = parse(text, NKI)
    assert structurally_equal(graph, parsed)
    assert parsed.dump() == text
    made_shape = graph.outputs["y"].type.shape
    made = run_ranks(
        parsed, [{"x": x.copy(), "y_out": np.zeros(made_shape, np.float32)} for x in given]
    )
    source = emit_nki(graph)
    assert_legal(source)
    emitted = run_emitted_ranks(source, [[x] for x in given])
    for mine, (other,) in zip(made, emitted, strict=True):
        np.testing.assert_array_equal(mine["y"], other)
    return given, [each["y"] for each in made]


@pytest.mark.parametrize("memory", [HBM, SBUF])
@pytest.mark.parametrize(
    ("op", "fold"), [("add", np.sum), ("maximum", np.max), ("minimum", np.min)]
)
def test_all_reduce_gives_every_rank_the_sum_of_its_group(
    op: str, fold: Callable[..., Array], memory: MemorySpace
) -> None:
    graph = kernel("all_reduce", (8, 6), (8, 6), memory, replica_groups=PAIRS, op=op)
    given, made = results(graph)
    for rank, group in ((0, (0, 1)), (1, (0, 1)), (2, (2, 3)), (3, (2, 3))):
        wanted = fold([given[other] for other in group], axis=0)
        np.testing.assert_array_equal(made[rank], wanted)


@pytest.mark.parametrize(("memory", "dim"), [(HBM, 0), (SBUF, 0), (SBUF, 1)])
def test_all_gather_lays_the_sources_side_by_side(memory: MemorySpace, dim: int) -> None:
    shape = (32, 6) if dim == 0 else (8, 24)
    graph = kernel("all_gather", (8, 6), shape, memory, replica_groups=FOUR, dim=dim)
    given, made = results(graph)
    for mine in made:
        np.testing.assert_array_equal(mine, np.concatenate(given, axis=dim))


def test_reduce_scatter_gives_every_rank_its_part_of_the_sum() -> None:
    graph = kernel("reduce_scatter", (8, 6), (2, 6), HBM, replica_groups=FOUR)
    given, made = results(graph)
    np.testing.assert_array_equal(np.concatenate(made), np.sum(given, axis=0))


def test_all_to_all_transposes_parts_and_ranks() -> None:
    graph = kernel("all_to_all", (8, 6), (8, 6), HBM, replica_groups=((3, 1), (0, 2)))
    given, made = results(graph)
    np.testing.assert_array_equal(made[3], np.concatenate([given[3][:4], given[1][:4]]))
    np.testing.assert_array_equal(made[1], np.concatenate([given[3][4:], given[1][4:]]))


def test_collective_permute_moves_along_the_pairs_and_leaves_the_others() -> None:
    graph = kernel("collective_permute", (8, 6), (8, 6), HBM, pairs=((0, 1), (1, 2), (2, 0)))
    given, made = results(graph)
    for source, target in ((0, 1), (1, 2), (2, 0)):
        np.testing.assert_array_equal(made[target], given[source])
    assert set(made[3].ravel()) == {7.0}


def test_sums_are_rounded_to_the_destination_once() -> None:
    b = Builder("k")
    x, y = b.add_input("x", (1, 1), BF16), b.add_input("y_out", (1, 1), BF16)
    b.all_reduce(y, x, replica_groups=((0, 1, 2),))
    b.set_outputs({"y": y})
    values = [256.0, 1.0, 1.0]  # 257 is no bf16, 258 is
    made = run_ranks(
        b.graph,
        [{"x": np.full((1, 1), v, BF16.np), "y_out": np.zeros((1, 1), BF16.np)} for v in values],
    )
    assert {float(each["y"].item()) for each in made} == {258.0}


def ring() -> Graph:
    """Every rank adds what it gets from the one before it, three times over."""
    b = Builder("ring")
    x, y = b.add_input("x", (4, 4)), b.add_input("y_out", (4, 4))
    total, tile = b.alloc((4, 4), F32), b.alloc((4, 4), F32)
    b.dma_copy(total, x)
    sent, got = b.alloc((4, 4), F32, HBM), b.alloc((4, 4), F32, HBM)
    b.dma_copy(sent, x)

    def body(b: Builder, i: Value) -> None:
        b.collective_permute(got, sent, pairs=((0, 1), (1, 2), (2, 3), (3, 0)))
        b.dma_copy(tile, got)
        b.tensor_tensor_arith(total, total, tile, op="add")
        b.dma_copy(sent, tile)

    b.fori_loop("i", 3, 1, body)
    b.dma_copy(y, total)
    b.set_outputs({"y": y})
    return b.graph


def test_a_ring_in_a_loop_sums_over_all_ranks() -> None:
    given, made = results(ring())
    for mine in made:
        np.testing.assert_array_equal(mine, np.sum(given, axis=0))


def by_rank(then: Callable[[Builder, Value, Value], object]) -> Graph:
    """Rank 1 of two does something more than rank 0."""
    b = Builder("k")
    x, y = b.add_input("x", (4, 4)), b.add_input("y_out", (4, 4))
    b.dma_copy(y, x)
    b.if_else(b.rank_id(), lambda b: then(b, x, y))
    b.set_outputs({"y": y})
    return b.graph


def test_a_rank_knows_its_number() -> None:
    def fill(b: Builder, x: Value, y: Value) -> None:
        b.dma_copy(y, b.memset(b.alloc((4, 4), F32), value=5.0))

    given, made = results(by_rank(fill), 2)
    np.testing.assert_array_equal(made[0], given[0])
    assert set(made[1].ravel()) == {5.0}


def test_a_rank_that_waits_for_one_that_has_ended_is_told() -> None:
    graph = by_rank(lambda b, x, y: b.all_reduce(y, x, replica_groups=((0, 1),)))
    with pytest.raises(
        InvalidInput, match=r"ranks wait in all_reduce but \[0\] have ended without"
    ):
        run_ranks(graph, [{"x": np.zeros((4, 4), "f"), "y_out": np.zeros((4, 4), "f")}] * 2)


def test_ranks_at_different_collectives_are_told() -> None:
    b = Builder("k")
    x, y = b.add_input("x", (4, 4)), b.add_input("y_out", (4, 4))
    groups = ((0, 1),)
    b.if_else(
        b.rank_id(),
        lambda b: b.all_to_all(y, x, replica_groups=groups),
        lambda b: b.all_reduce(y, x, replica_groups=groups),
    )
    b.set_outputs({"y": y})
    inputs = [{"x": np.zeros((4, 4), "f"), "y_out": np.zeros((4, 4), "f")} for _ in range(2)]
    with pytest.raises(InvalidInput, match="ranks are at all_reduce, all_to_all but must meet"):
        run_ranks(b.graph, inputs)


def test_an_error_of_one_rank_is_the_error_of_all() -> None:
    graph = kernel("all_reduce", (4, 4), (4, 4), HBM, replica_groups=((0, 1),))
    good = {"x": np.zeros((4, 4), "f"), "y_out": np.zeros((4, 4), "f")}
    with pytest.raises(InvalidInput, match="Missing input: x"):
        run_ranks(graph, [{k: v.copy() for k, v in good.items()}, {"y_out": good["y_out"]}])


def test_groups_must_hold_the_ranks_that_run() -> None:
    graph = kernel("all_reduce", (4, 4), (4, 4), HBM, replica_groups=PAIRS)
    inputs = {"x": np.zeros((4, 4), "f"), "y_out": np.zeros((4, 4), "f")}
    with pytest.raises(InvalidInput, match=r"1 ranks run but replica_groups are \(\(0, 1\)"):
        run(graph, inputs)


def test_one_rank_alone_reduces_over_itself() -> None:
    graph = kernel("all_reduce", (4, 4), (4, 4), HBM, replica_groups=((0,),))
    x = np.arange(16, dtype=np.float32).reshape(4, 4)
    made = run(graph, {"x": x, "y_out": np.zeros((4, 4), np.float32)})["y"]
    np.testing.assert_array_equal(made, x)


def test_collectives_have_no_predicted_time() -> None:
    graph = kernel("all_reduce", (4, 4), (4, 4), HBM, replica_groups=PAIRS)
    with pytest.raises(PriceError, match="collectives have no published price"):
        simulate_kernel(graph, load_target("trn2"))


REFUSED: dict[str, tuple[tuple[Any, ...], dict[str, Any], str]] = {
    "groups of two sizes": (
        ("all_reduce", (4, 4), (4, 4), HBM),
        {"replica_groups": ((0, 1), (2,))},
        "must be of one size and share no rank",
    ),
    "a rank in two groups": (
        ("all_reduce", (4, 4), (4, 4), HBM),
        {"replica_groups": ((0, 1), (1, 2))},
        "must be of one size and share no rank",
    ),
    "a reduction by product": (
        ("all_reduce", (4, 4), (4, 4), HBM),
        {"replica_groups": PAIRS, "op": "multiply"},
        "op is 'multiply' but must be one of add, maximum, minimum",
    ),
    "a gather into too little": (
        ("all_gather", (4, 4), (4, 4), HBM),
        {"replica_groups": PAIRS},
        r"must be of shape \(8, 4\)",
    ),
    "a gather along columns of hbm": (
        ("all_gather", (4, 4), (4, 8), HBM),
        {"replica_groups": PAIRS, "dim": 1},
        "dim is 1 .* but at most 0",
    ),
    "a scatter of odd parts": (
        ("reduce_scatter", (5, 4), (2, 4), HBM),
        {"replica_groups": PAIRS},
        "does not fall into 2 parts",
    ),
    "an exchange in sbuf": (
        ("all_to_all", (4, 4), (4, 4), SBUF),
        {"replica_groups": PAIRS},
        "in sbuf but must be in hbm",
    ),
    "two senders": (
        ("collective_permute", (4, 4), (4, 4), HBM),
        {"pairs": ((0, 1), (2, 1))},
        "must name a rank once on each side",
    ),
    "a reduction in psum": (
        ("all_reduce", (4, 4), (4, 4), PSUM),
        {"replica_groups": PAIRS},
        "in psum but must be in hbm or sbuf",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_collective_refuses(name: str) -> None:
    (opcode, given, made, memory), attrs, sentence = REFUSED[name]
    b = Builder("k")
    src, dst = b.alloc(given, F32, memory), b.alloc(made, F32, memory)
    with pytest.raises(InvalidOp, match=sentence):
        getattr(b, opcode)(dst, src, **attrs)


def test_collective_keeps_the_dtype() -> None:
    b = Builder("k")
    src, dst = b.alloc((4, 4), F32, HBM), b.alloc((4, 4), BF16, HBM)
    with pytest.raises(InvalidOp, match="dtype and memory must be equal"):
        b.all_reduce(dst, src, replica_groups=PAIRS)

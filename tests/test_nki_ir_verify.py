"""The verifier of whole kernels: bounds, lives, capacity, places, banks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir import Builder, MemorySpace, ds, ts
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.nki_ir.types import affine
from nkigen_lite.nki_ir.verify import check, legal_starts, problems

F32, BF16 = DType.F32, DType.BF16
PSUM = MemorySpace.PSUM
LIMITS = Limits(partitions=128, sbuf_bytes=4096, psum_banks=8, psum_bank_bytes=2048)


def tile(
    b: Builder, *shape: int, dtype: DType = F32, memory: MemorySpace = MemorySpace.SBUF
) -> Value:
    return b.alloc(shape, dtype, memory, name="t")


def found(write: Callable[[Builder], object], limits: Limits = LIMITS) -> list[str]:
    b = Builder("k")
    write(b)
    return problems(b.graph, limits)


def slices_of_ten(extent: int, step: int, *, factor: int = 1, const: int = 0) -> list[str]:
    """What is wrong with reading 4 of 10 elements at factor * i + const in each iteration."""

    def write(b: Builder) -> None:
        x = b.add_input("x", (10,))
        b.fori_loop("i", extent, step, lambda b, i: b.slice(x, [ds(affine(i) * factor + const, 4)]))

    return found(write)


@pytest.mark.parametrize(
    ("extent", "step", "factor", "const"),
    [(7, 1, 1, 0), (8, 2, 1, 0), (3, 1, 3, 0), (7, 1, -1, 6), (4, 1, 0, 6)],
)
def test_slice_inside_in_every_iteration_is_fine(
    extent: int, step: int, factor: int, const: int
) -> None:
    assert slices_of_ten(extent, step, factor=factor, const=const) == []


def test_slice_out_of_bounds_in_the_last_iteration_is_found() -> None:
    (sentence,) = slices_of_ten(8, 1)
    assert sentence == (
        "slice: dimension 0 reaches elements 0 to 10 of tile<10xf32@hbm>, which has 10"
    )


def test_slice_that_begins_before_the_tensor_is_found() -> None:
    (sentence,) = slices_of_ten(7, 1, factor=-1, const=5)
    assert "reaches elements -1 to 8" in sentence


def test_step_decides_which_iteration_is_the_last() -> None:
    assert slices_of_ten(9, 3) == []
    assert slices_of_ten(10, 3) != []


def test_index_that_drops_a_dimension_is_bounded_too() -> None:
    def write(b: Builder) -> None:
        x = b.add_input("x", (4, 2))
        b.fori_loop("i", 5, 1, lambda b, i: b.slice(x, [ds(i, None), ds(0, 2)]))

    assert "reaches elements 0 to 4" in found(write)[0]


def test_use_after_dealloc_is_found() -> None:
    def write(b: Builder) -> None:
        t = tile(b, 4, 4)
        b.memset(t, value=0.0)
        b.dealloc(t)
        b.memset(t, value=1.0)

    assert found(write) == ["memset: %t is used after its dealloc"]


def test_use_of_a_view_after_dealloc_is_found() -> None:
    def write(b: Builder) -> None:
        t = tile(b, 4, 4)
        part = b.slice(t, [ds(0, 4), ds(0, 2)])
        b.dealloc(t)
        b.memset(part, value=1.0)

    assert found(write) == ["memset: %t is used after its dealloc"]


def test_sbuf_over_capacity_is_found() -> None:
    def write(b: Builder) -> None:
        tile(b, 128, 512)
        tile(b, 1, 513)

    (sentence,) = found(write)
    assert "4100 bytes per partition are live in sbuf" in sentence
    assert sentence.endswith("but there are 4096")


def test_dealloc_makes_room() -> None:
    def write(b: Builder) -> None:
        for _ in range(3):
            b.dealloc(tile(b, 128, 1024))

    assert found(write) == []


def test_loop_body_makes_room_again_at_its_end() -> None:
    def write(b: Builder) -> None:
        for _ in range(3):
            b.fori_loop("i", 2, 1, lambda b, i: tile(b, 128, 1024))

    assert found(write) == []


def test_rotating_buffers_all_count() -> None:
    def write(b: Builder) -> None:
        b.alloc((128, 400), F32, num_buffers=3)

    assert "4800 bytes per partition" in found(write)[0]


def test_ninth_psum_bank_is_found() -> None:
    def write(b: Builder) -> None:
        for _ in range(8):
            tile(b, 128, 1, memory=PSUM)
        tile(b, 128, 512, memory=PSUM)

    (sentence,) = found(write)
    assert "9 psum banks are live" in sentence
    assert sentence.endswith("but there are 8")


def test_tile_of_too_many_partitions_is_found() -> None:
    (sentence,) = found(lambda b: tile(b, 129, 4))
    assert "has 129 partitions but there are 128" in sentence


def start_at(first: int | Value, count: int) -> Callable[[Builder], None]:
    def write(b: Builder) -> None:
        b.memset(b.slice(tile(b, 128, 4), [ds(first, count), ds(0, 4)]), value=0.0)

    return write


@pytest.mark.parametrize(("first", "count"), [(0, 128), (0, 65), (64, 64), (96, 32), (32, 1)])
def test_legal_partition_starts(first: int, count: int) -> None:
    assert found(start_at(first, count)) == []


@pytest.mark.parametrize(("first", "count"), [(1, 127), (32, 64), (32, 33), (16, 1), (112, 16)])
def test_illegal_partition_start_is_found(first: int, count: int) -> None:
    (sentence,) = found(start_at(first, count))
    legal = list(legal_starts(count, 128))
    assert sentence == (
        f"memset: {count} partitions of %t start at {first} but must start at one of {legal}"
    )


@pytest.mark.parametrize(("factor", "fine"), [(32, True), (64, False), (16, False)])
def test_partition_start_may_move_in_legal_steps(factor: int, fine: bool) -> None:
    def write(b: Builder) -> None:
        t = tile(b, 128, 4)

        def body(b: Builder, i: Value) -> None:
            b.memset(b.slice(t, [ds(affine(i) * factor, 16), ds(0, 4)]), value=0.0)

        b.fori_loop("i", 3, 1, body)

    assert (found(write) == []) is fine


def test_dma_may_start_at_any_partition() -> None:
    def write(b: Builder) -> None:
        part = b.slice(tile(b, 128, 4), [ds(5, 7), ds(0, 4)])
        b.dma_copy(part, b.add_input("x", (7, 4)))

    assert found(write) == []


def test_fifth_free_dimension_is_found() -> None:
    def write(b: Builder) -> None:
        t = tile(b, 2, 2, 3, 3, 3, 3, dtype=DType.U8)
        window = [ds(0, 2), ds(0, 2), *[ds(0, 2)] * 4]
        b.memset(b.slice(t, window), value=0)

    (sentence,) = found(write)
    assert sentence == "memset: the access of %t has 5 free dimensions but at most 4"


def test_free_dimensions_that_lie_side_by_side_count_once() -> None:
    assert found(lambda b: b.memset(tile(b, 2, 2, 3, 2, 2, 2, 2), value=0.0)) == []


@pytest.mark.parametrize(
    ("shape", "window", "dim"),
    [((2, 65536), 65536, "65536 elements 1 apart"), ((2, 2, 32768), 9, "2 elements 32768 apart")],
)
@pytest.mark.parametrize("opcode", ["memset", "dma_copy"])
def test_what_no_access_pattern_holds_is_found(
    opcode: str, shape: tuple[int, ...], window: int, dim: str
) -> None:
    def write(b: Builder) -> None:
        whole = tile(b, *shape, dtype=DType.U8)
        part = b.slice(whole, [*(ds(0, n) for n in shape[:-1]), ds(0, window)])
        if opcode == "memset":
            b.memset(part, value=0)
        else:
            b.dma_copy(part, b.add_input("x", part.type.shape, DType.U8))

    limits = Limits(partitions=128, sbuf_bytes=2**20, psum_banks=8, psum_bank_bytes=2048)
    first, *_ = found(write, limits)
    assert f"{opcode}: the access of %t has a dimension of {dim} but at most" in first


def test_too_many_elements_in_one_instruction_are_found() -> None:
    def write(b: Builder) -> None:
        t = b.broadcast(tile(b, 2, 1, 4), (2, 20000, 4))
        b.tensor_copy(tile(b, 2, 20000, 4, dtype=DType.U8), t)

    limits = Limits(partitions=128, sbuf_bytes=2**20, psum_banks=8, psum_bank_bytes=2048)
    assert "80000 elements per partition of %t but at most 65535" in found(write, limits)[0]


@pytest.mark.parametrize("opcode", ["tensor_copy", "dma_copy"])
def test_write_through_a_broadcast_is_found(opcode: str) -> None:
    def write(b: Builder) -> None:
        t = b.broadcast(tile(b, 4, 1), (4, 8))
        source = b.add_input("x", (4, 8)) if opcode == "dma_copy" else b.alloc((4, 8), F32)
        b.emit(opcode, [t, source])

    assert found(write) == [f"{opcode}: the destination is a broadcast view of %t"]


def product(b: Builder, acc: Value) -> None:
    rows, columns = acc.type.shape[0], acc.type.free_size
    b.matmul(acc, tile(b, 8, rows), tile(b, 8, columns))


@pytest.mark.parametrize(("first", "fine"), [(0, True), (512, True), (500, False)])
def test_matmul_destination_stays_inside_one_bank(first: int, fine: bool) -> None:
    def write(b: Builder) -> None:
        acc = tile(b, 16, 1024, memory=PSUM)
        product(b, b.slice(acc, [ds(0, 16), ds(first, 64)]))

    expected = [] if fine else ["matmul: destination %t is not inside one psum bank"]
    assert found(write) == expected


@pytest.mark.parametrize(("factor", "fine"), [(512, True), (256, False)])
def test_matmul_destination_may_move_from_bank_to_bank(factor: int, fine: bool) -> None:
    def write(b: Builder) -> None:
        acc = tile(b, 16, 2048, memory=PSUM)

        def body(b: Builder, i: Value) -> None:
            product(b, b.slice(acc, [ds(0, 16), ds(affine(i) * factor, 64)]))

        b.fori_loop("i", 4, 1, body)

    assert (found(write) == []) is fine


def test_reshape_of_scattered_elements_is_found() -> None:
    def write(b: Builder) -> None:
        part = b.slice(b.add_input("x", (8, 8)), [ds(0, 8), ds(0, 4)])
        b.reshape(part, (32,))

    (sentence,) = found(write)
    assert sentence.endswith("is not one contiguous run")


def test_structural_problems_come_first() -> None:
    b = Builder("k")
    t = tile(b, 4, 4)
    b.memset(t, value=0.0)
    b.graph.ops.reverse()
    assert problems(b.graph, LIMITS) == ["memset: %t used before definition"]


def test_check_shows_the_place_and_the_neighbourhood() -> None:
    b = Builder("k")
    t = tile(b, 4, 4)
    b.dealloc(t)
    b.memset(t, value=0.0)
    with pytest.raises(InvalidOp) as caught:
        check(b.graph, LIMITS)
    text = str(caught.value)
    assert text.startswith("memset: %t is used after its dealloc\n  at ")
    assert "test_nki_ir_verify.py:" in text
    assert ">> memset(%t)" in text


def test_check_of_a_legal_kernel_is_silent() -> None:
    b = Builder("k")
    b.fori_loop("i", 2, 1, lambda b, i: b.memset(tile(b, 4, 4), value=0.0))
    check(b.graph, LIMITS)


def test_slice_of_slices_is_bounded_at_each_step() -> None:
    def write(b: Builder) -> None:
        x = b.add_input("x", (16, 4))
        part = b.slice(x, [ds(8, 8), ds(0, 4)])
        b.fori_loop("i", 5, 1, lambda b, i: b.slice(part, [ts(i, 2), ds(0, 4)]))

    assert "reaches elements 0 to 9 of tile<8x4xf32@hbm>" in found(write)[0]


def summing(between: Callable[[Builder, Value], object]) -> list[str]:
    """What is wrong with sums over two tiles, between which something else is done."""

    def write(b: Builder) -> None:
        x, made, sums = tile(b, 4, 8), tile(b, 4, 8), tile(b, 4, 1)
        b.activation_reduce(made, sums, x, op="exp")
        between(b, sums)
        b.activation_accumulate(made, sums, x, op="exp")
        b.activation_accumulate(made, sums, x, op="exp")

    return found(write)


def other_sums(b: Builder, sums: Value) -> None:
    b.activation_reduce(tile(b, 4, 8), tile(b, 4, 1), tile(b, 4, 8), op="exp")


BETWEEN: dict[str, tuple[Callable[[Builder, Value], object], bool]] = {
    "nothing": (lambda b, sums: None, True),
    "a plain activation": (lambda b, sums: b.activation(tile(b, 4, 1), sums, op="exp"), True),
    "sums of others": (other_sums, False),
    "sums that are overwritten": (lambda b, sums: b.memset(sums, value=0.0), False),
    "a loop": (lambda b, sums: b.fori_loop("i", 2, 1, lambda b, i: None), False),
}


@pytest.mark.parametrize("what", BETWEEN)
def test_sums_go_on_only_from_those_in_the_registers(what: str) -> None:
    between, fine = BETWEEN[what]
    sentences = summing(between)
    assert len(sentences) == (0 if fine else 1)
    assert all("go on but are not what the summing activation" in s for s in sentences)

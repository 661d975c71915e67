"""Cells of buffers: accesses that share an element share a cell, and cells end with the buffer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cost_models.simulate import Buffer, Index, Use
from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir import Builder, DType, MemorySpace
from nkigen_lite.nki_ir import cells as cells_module
from nkigen_lite.nki_ir.access import Access, whole
from nkigen_lite.nki_ir.cells import (
    MOST_CELLS,
    MOST_PER_ACCESS,
    Grid,
    Line,
    Loops,
    grid,
    shared_cells,
)
from nkigen_lite.nki_ir.types import Affine, TileType

F32, HBM, SBUF = DType.F32, MemorySpace.HBM, MemorySpace.SBUF


@dataclass
class Case:
    """Accesses of one buffer inside a nest of loops."""

    root: Value
    loops: dict[Value, Loops]
    accesses: list[Access]

    @property
    def trips(self) -> list[dict[Value, int]]:
        """Every combination of the loops' trips."""
        ranges = [range(loop.trips) for loop in self.loops.values()]
        return [dict(zip(self.loops, at, strict=True)) for at in product(*ranges)]

    def elements(self, access: Access, trips: dict[Value, int]) -> set[tuple[int, int]]:
        """(partition, element) of all that an access reaches; partition 0 in HBM."""

        def walk(offset: Affine, dims: Iterable[tuple[int, int]]) -> set[int]:
            values = {v: trips[v] * self.loops[v].step for v in trips}
            first = offset.const + sum(f * values[v] for v, f in offset.terms)
            places = product(*(range(extent) for extent, _ in dims))
            return {first + sum(k * s for k, (_, s) in zip(at, dims, strict=True)) for at in places}

        if access.root.type.memory is HBM:
            return {(0, elem) for elem in walk(access.offset, access.dims)}
        rows = walk(access.partition, access.dims[:1])
        return set(product(rows, walk(access.offset, access.dims[1:])))

    def in_bounds(self, access: Access) -> bool:
        """Whether it stays within the buffer in every trip."""
        kind = self.root.type
        on_chip = kind.memory is SBUF
        size = kind.free_size if on_chip else kind.num_elements
        return all(
            0 <= row < (kind.partition_size if on_chip else 1) and 0 <= elem < size
            for trips in self.trips
            for row, elem in self.elements(access, trips)
        )


def cells(use: Use, loops: dict[Value, Loops], trips: dict[Value, int]) -> set[int]:
    """The cells of a use in given trips."""
    of_index = {loops[v].index: trip for v, trip in trips.items()}
    at = use.start + sum(factor * of_index[index] for index, factor in use.terms)
    return {at + offset for offset in use.offsets}


def hold(case: Case) -> Grid:
    """The cells of a case's buffer, found to be its own, and in common where elements are."""
    made = grid("x", case.root, 1, case.accesses, case.loops)
    found = [
        (cells(made.use(access, case.loops), case.loops, trips), case.elements(access, trips))
        for access in case.accesses
        for trips in case.trips
    ]
    for mine, _ in found:
        assert min(mine) >= 0
        assert max(mine) < made.buffer.cells
    for k, (mine, elements) in enumerate(found):
        for others, theirs in found[k + 1 :]:
            assert mine & others or not elements & theirs
    return made


def buffer(shape: tuple[int, ...], memory: MemorySpace = SBUF) -> Value:
    return Builder("k").alloc(shape, F32, memory)


def nest(*loops: tuple[int, int]) -> dict[Value, Loops]:
    """Loops of (step, trips) by their indices."""
    b = Builder("k")
    found: dict[Value, Loops] = {}

    def inside(rest: tuple[tuple[int, int], ...]) -> None:
        if rest:
            step, trips = rest[0]

            def body(_: Builder, index: Value) -> None:
                found[index] = Loops(Index(index.name), step, trips)
                inside(rest[1:])

            b.fori_loop(f"i{len(found)}", step * trips, step, body)

    inside(loops)
    return found


@st.composite
def spans_within(
    draw: st.DrawFn, size: int, loops: dict[Value, Loops], most_dims: int
) -> tuple[Affine, tuple[tuple[int, int], ...]]:
    """An offset and (extent, stride) pairs that stay within ``size`` elements."""
    room = size - 1
    dims = []
    for _ in range(draw(st.integers(0, most_dims))):
        stride = draw(st.integers(0, 6))
        extent = draw(st.integers(1, min(5, room // stride + 1) if stride else 3))
        room -= (extent - 1) * stride
        dims.append((extent, stride))
    const, terms = 0, []
    for value, loop in loops.items():
        last = loop.last * loop.step
        most = min(9, room // last) if last else 9
        factor = draw(st.integers(-most, most))
        room -= abs(factor) * last
        # An offset that falls with an index starts as far up as it falls.
        const += max(0, -factor * last)
        terms.append((value, factor))
    const += draw(st.integers(0, room))
    return Affine(const, tuple((v, f) for v, f in terms if f)), tuple(dims)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    loops = nest(*draw(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), max_size=2)))
    rows, columns = draw(st.integers(1, 9)), draw(st.integers(1, 40))
    on_chip = draw(st.booleans())
    root = buffer((rows, columns), SBUF if on_chip else HBM)
    accesses = []
    for _ in range(draw(st.integers(1, 3))):
        offset, dims = draw(spans_within(columns if on_chip else rows * columns, loops, 2))
        partition, row = Affine(), tuple[tuple[int, int], ...]()
        if on_chip:
            partition, row = draw(spans_within(rows, loops, 1))
            row = row or ((1, 1),)
        accesses.append(Access(root, partition, offset, (*row, *dims)))
    return Case(root, loops, accesses)


@given(cases(), st.sampled_from([(MOST_CELLS, MOST_PER_ACCESS), (16, 4), (5, 3), (2, 2)]))
@settings(deadline=None, max_examples=500)
def test_accesses_that_share_an_element_share_a_cell(case: Case, most: tuple[int, int]) -> None:
    assert all(case.in_bounds(access) for access in case.accesses)
    # Few cells are what many are to a large buffer: the finest offsets are left out.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells_module, "MOST_CELLS", most[0])
        patch.setattr(cells_module, "MOST_PER_ACCESS", most[1])
        hold(case)


@given(st.lists(st.tuples(st.integers(0, 39), st.integers(1, 40)), min_size=2, max_size=5))
@settings(deadline=None, max_examples=100)
def test_runs_that_share_no_element_share_no_cell(runs: list[tuple[int, int]]) -> None:
    root = buffer((128, 40))
    accesses = [
        Access(root, Affine(), Affine(start), ((128, 1), (min(length, 40 - start), 1)))
        for start, length in runs
    ]
    case = Case(root, {}, accesses)
    made = hold(case)
    found = [(cells(made.use(a, {}), {}, {}), case.elements(a, {})) for a in accesses]
    for mine, elements in found:
        assert all(elements & theirs or not mine & others for others, theirs in found)


def test_a_slice_that_moves_with_a_loop_is_told_apart_from_the_others() -> None:
    root, loops = buffer((128, 4096)), nest((512, 8))
    (i,) = loops
    moving = Access(root, Affine(), Affine(0, ((i, 1),)), ((128, 1), (512, 1)))
    made = hold(Case(root, loops, [moving]))
    assert made.buffer.cells == 8
    assert made.use(moving, loops).terms == ((loops[i].index, 1),)


def test_an_offset_that_falls_with_an_index_is_followed_exactly() -> None:
    root, loops = buffer((128, 4096)), nest((1, 8))
    (i,) = loops
    falling = Access(root, Affine(), Affine(7 * 512, ((i, -512),)), ((128, 1), (512, 1)))
    use = hold(Case(root, loops, [falling])).use(falling, loops)
    assert (use.start, use.terms, use.offsets) == (7, ((loops[i].index, -1),), (0,))


def test_partitions_and_free_elements_have_cells_of_their_own() -> None:
    root = buffer((128, 100))
    quarters = [
        Access(root, Affine(64 * k), Affine(50 * n), ((64, 1), (50, 1)))
        for k in range(2)
        for n in range(2)
    ]
    made = hold(Case(root, {}, quarters))
    assert made.buffer.cells == 4
    assert [made.use(a, {}).start for a in quarters] == [0, 1, 2, 3]


def test_a_buffer_that_is_only_used_whole_is_one_cell() -> None:
    root = buffer((128, 4096))
    assert hold(Case(root, {}, [whole(root)])).buffer.cells == 1


def test_a_last_tile_that_is_smaller_ends_with_the_buffer() -> None:
    root, loops = buffer((128, 1000)), nest((384, 2))
    (i,) = loops
    tiles = [
        Access(root, Affine(), Affine(0, ((i, 1),)), ((128, 1), (384, 1))),
        Access(root, Affine(), Affine(768), ((128, 1), (232, 1))),
    ]
    made = hold(Case(root, loops, tiles))
    assert made.buffer.cells == 3


@pytest.mark.parametrize("memory", [SBUF, HBM])
def test_there_are_only_so_many_cells(memory: MemorySpace) -> None:
    root, loops = buffer((1, 100_000), memory), nest((1, 5))
    (i,) = loops
    rows = ((1, 1),) if memory is SBUF else ()
    fine = [
        Access(root, Affine(), Affine(3, ((i, 7),)), (*rows, (90, 11))),
        Access(root, Affine(), Affine(50_000), (*rows, (20, 1))),
    ]
    made = hold(Case(root, loops, fine))
    # An access that covers all that its finest offsets reach may add a few at the end.
    assert made.buffer.cells <= MOST_CELLS + MOST_PER_ACCESS
    assert all(len(made.use(a, loops).offsets) <= MOST_PER_ACCESS for a in fine)


@given(
    st.tuples(*[st.integers(1, 12)] * 2),
    st.tuples(*[st.integers(1, 12)] * 2),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from((DType.F32, DType.BF16, DType.U8)),
    st.integers(-40, 40),
)
def test_cells_of_two_buffers_are_paired_where_they_share_a_byte(
    shape: tuple[int, int],
    other_shape: tuple[int, int],
    cell: int,
    other_cell: int,
    dtype: DType,
    apart: int,
) -> None:
    made = []
    for extents, wide, kind in ((shape, cell, dtype), (other_shape, other_cell, F32)):
        lines = Line(1, extents[0]), Line(wide, -(-extents[1] // wide))
        name = Buffer("x", "sbuf", lines[0].cells * lines[1].cells)
        made.append((Grid(name, *lines), TileType(extents, kind, SBUF)))

    def in_bytes(which: int, begin: int) -> dict[tuple[int, int], int]:
        """The cell of each byte that the elements of a buffer take."""
        of, kind = made[which]
        return {
            (row, begin + elem * kind.dtype.itemsize + byte): row * of.free.cells
            + elem // of.free.cell
            for row in range(kind.shape[0])
            for elem in range(kind.shape[1])
            for byte in range(kind.dtype.itemsize)
        }

    mine, other = in_bytes(0, 0), in_bytes(1, apart)
    wanted = {(mine[at], other[at]) for at in mine.keys() & other.keys()}
    found = set(shared_cells(*made[0], *made[1], apart))
    assert wanted <= found
    if not shape[1] % cell and not other_shape[1] % other_cell:
        assert wanted == found

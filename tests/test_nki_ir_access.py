"""Accesses: chains of views compose into the window that numpy's own views reach."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from view_chains import view_chain

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir import Builder, MemorySpace, ds, interpret, ts
from nkigen_lite.nki_ir.access import Access, Accesses, merge_dims
from nkigen_lite.nki_ir.types import ON_CHIP, Affine

Array = np.ndarray[Any, np.dtype[Any]]


def elements(access: Access, buffer: Array, indices: dict[int, int] | None = None) -> Array:
    """What an access reads, element by element, from the buffer's own storage."""
    known = indices or {}

    def at(expression: Affine) -> int:
        return expression.const + sum(f * known[id(v)] for v, f in expression.terms)

    shape = tuple(extent for extent, _ in access.dims)
    made = np.empty(shape, buffer.dtype)
    on_chip = access.root.type.memory in ON_CHIP
    flat = buffer.reshape(buffer.shape[0], -1) if on_chip else buffer.reshape(1, -1)
    for place in itertools.product(*map(range, shape)):
        steps = [i * stride for i, (_, stride) in zip(place, access.dims, strict=True)]
        row = at(access.partition) + (steps[0] if on_chip else 0)
        made[place] = flat[row, at(access.offset) + sum(steps[1:] if on_chip else steps)]
    return made


@st.composite
def chains(draw: st.DrawFn, *, writable: bool = False) -> tuple[Builder, Value, Value]:
    """A buffer and a random view of it; a writable one in SBUF."""
    on_chip = writable or draw(st.booleans())
    rank = draw(st.integers(2 if on_chip else 1, 4))
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=rank, max_size=rank)))
    b = Builder("k")
    root = b.alloc(shape, DType.I32, MemorySpace.SBUF if on_chip else MemorySpace.HBM)
    return b, root, view_chain(draw, b, root, writable=writable)


def _numpy_slice(array: Array, attrs: Any) -> Array:
    keys = [
        w.const if w.size is None else slice(w.const, w.const + w.size * w.stride, w.stride)
        for w in attrs["slices"].dims
    ]
    return np.asarray(array[tuple(keys)])


def _numpy_broadcast(array: Array, attrs: Any) -> Array:
    new = [d for d in range(len(attrs["shape"])) if d not in attrs["dims"]]
    return np.broadcast_to(np.expand_dims(array, new), attrs["shape"])


_NUMPY = {
    "slice": _numpy_slice,
    "broadcast": _numpy_broadcast,
    "permute": lambda array, attrs: array.transpose(attrs["perm"]),
    "reshape": lambda array, attrs: array.reshape(attrs["shape"]),
}


@given(chains())
@settings(max_examples=150)
def test_access_of_a_chain_of_views_reaches_what_numpy_reaches(
    chain: tuple[Builder, Value, Value],
) -> None:
    b, root, value = chain
    count = root.type.num_elements
    numbers = np.arange(count, dtype=np.int32).reshape(root.type.shape)
    reached = numbers
    for op in b.graph.ops[1:]:
        reached = _NUMPY[op.opcode](reached, op.attrs)
    access = Accesses().of(value)
    assert access.root is root
    np.testing.assert_array_equal(elements(access, numbers), reached)


@given(chains(writable=True))
@settings(max_examples=100)
def test_interpreter_writes_through_the_elements_of_the_access(
    chain: tuple[Builder, Value, Value],
) -> None:
    b, root, value = chain
    access = Accesses().of(value)
    b.memset(root, value=0)
    b.memset(value, value=1)
    buffer = interpret(b.graph, {})[id(root)]
    assert buffer.sum() == value.type.num_elements
    assert elements(access, buffer).all()


def test_dynamic_offsets_add_up_through_slices() -> None:
    b = Builder("k")
    t = b.alloc((128, 8, 16), DType.I32)
    made: list[Value] = []

    def body(b: Builder, i: Value) -> None:
        outer = b.slice(t, [ds(0, 128), ts(i, 2), ds(3, 12)])
        inner = b.slice(outer, [ds(32, 64), ds(1, None), ds(i, 4, 2)])
        made.extend([i, inner])

    b.fori_loop("i", 4, 1, body)
    index, inner = made
    access = Accesses().of(inner)
    assert access.dims == ((64, 1), (4, 2))
    assert access.partition == Affine(32)
    assert access.offset == Affine(16 + 3, ((index, 2 * 16 + 1),))
    numbers = np.arange(128 * 128, dtype=np.int32).reshape(128, 8, 16)
    for i in range(4):
        wanted = numbers[32:96, 2 * i + 1, 3 + i : 3 + i + 7 : 2]
        np.testing.assert_array_equal(elements(access, numbers, {id(index): i}), wanted)


def test_reshape_of_a_permuted_unit_dimension_keeps_the_stride() -> None:
    b = Builder("k")
    x = b.add_input("x", (1, 8))
    value = b.reshape(b.permute(x, (1, 0)), (8,))
    assert Accesses().of(value).dims == ((8, 1),)


@pytest.mark.parametrize(
    ("dims", "merged"),
    [
        ([(2, 12), (3, 4), (4, 1)], [(24, 1)]),
        ([(2, 24), (3, 4), (4, 1)], [(2, 24), (12, 1)]),
        ([(5, 0), (1, 7), (4, 1)], [(5, 0), (4, 1)]),
        ([(1, 9), (1, 1)], []),
        ([(4, 6), (3, 2)], [(12, 2)]),
    ],
)
def test_neighbouring_dimensions_merge_where_one_stride_serves(
    dims: list[tuple[int, int]], merged: list[tuple[int, int]]
) -> None:
    assert merge_dims(dims) == merged


@pytest.mark.parametrize(("columns", "run"), [(8, 32), (5, 5), (1, 1)])
def test_contiguous_run_is_what_lies_side_by_side(columns: int, run: int) -> None:
    b = Builder("k")
    x = b.add_input("x", (4, 8))
    part = b.slice(x, [ds(0, 4), ds(2 if columns < 8 else 0, columns)])
    assert Accesses().of(part).contiguous_run() == run


def test_root_of_a_buffer_is_itself() -> None:
    b = Builder("k")
    x = b.add_input("x", (4, 8))
    assert Accesses().root(x) is x
    assert Accesses().root(b.reshape(x, (8, 4))) is x

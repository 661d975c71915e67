"""Random chains of views, for tests of whatever reads or writes through them."""

from __future__ import annotations

from hypothesis import strategies as st

from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir import Builder, ds
from nkigen_lite.nki_ir.access import Accesses, is_reshapable
from nkigen_lite.nki_ir.types import ON_CHIP


def view_chain(draw: st.DrawFn, b: Builder, value: Value, *, writable: bool = False) -> Value:
    """``value`` through up to five views; a writable chain repeats no element."""
    on_chip, accesses = value.type.memory in ON_CHIP, Accesses()
    kinds = [_slice, _permute, _reshape] + [_broadcast] * (not writable)
    for _ in range(draw(st.integers(1, 5))):
        view = draw(st.sampled_from(kinds))
        value = view(draw, b, value, on_chip, accesses)
    return value


def _slice(draw: st.DrawFn, b: Builder, value: Value, on_chip: bool, _: Accesses) -> Value:
    windows = []
    for dim, extent in enumerate(value.type.shape):
        fixed = on_chip and dim == 0
        if not fixed and draw(st.integers(0, 3)) == 0:
            windows.append(ds(draw(st.integers(0, extent - 1)), None))
            continue
        stride = 1 if fixed else draw(st.integers(1, 3))
        size = draw(st.integers(1, (extent - 1) // stride + 1))
        windows.append(ds(draw(st.integers(0, extent - 1 - (size - 1) * stride)), size, stride))
    return b.slice(value, windows)


def _permute(draw: st.DrawFn, b: Builder, value: Value, on_chip: bool, _: Accesses) -> Value:
    first = [0] if on_chip else []
    return b.permute(value, [*first, *draw(st.permutations(range(len(first), value.type.rank)))])


def _broadcast(draw: st.DrawFn, b: Builder, value: Value, on_chip: bool, _: Accesses) -> Value:
    shape = list(value.type.shape)
    for dim in range(on_chip, len(shape)):
        if shape[dim] == 1:
            shape[dim] = draw(st.integers(1, 3))
    dims = list(range(len(shape)))
    if draw(st.booleans()) and len(shape) < 5:
        place = draw(st.integers(int(on_chip), len(shape)))
        shape.insert(place, draw(st.integers(1, 3)))
        dims = [d + (d >= place) for d in dims]
    return b.broadcast(value, shape, dims)


def _reshape(draw: st.DrawFn, b: Builder, value: Value, on_chip: bool, known: Accesses) -> Value:
    if not is_reshapable(known.of(value)):
        return value
    kept = list(value.type.shape[:1]) if on_chip else []
    count = value.type.free_size if on_chip else value.type.num_elements
    shape = []
    for _ in range(draw(st.integers(1, 3))):
        factor = draw(st.sampled_from([n for n in range(1, count + 1) if count % n == 0]))
        shape.append(factor)
        count //= factor
    return b.reshape(value, [*kept, *shape, count])

"""The independent check of packings: sound ones pass, and each kind of damage is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver import Buffer, Packing, PackingError, PackingProblem, check_packing, pack
from solver.packing.synthetic import cut_rectangle

PROBLEM = PackingProblem(
    (
        Buffer("a", 0, 4, 32),
        Buffer("b", 2, 6, 32, 16),
        Buffer("c", 5, 8, 64, fixed=32),
        Buffer("d", 6, 9, 32),
    ),
    96,
)
SOUND = pack(PROBLEM)


def moved(**addresses: int) -> Packing:
    return replace(SOUND, addresses={**SOUND.addresses, **addresses})


def test_a_sound_packing_passes() -> None:
    check_packing(PROBLEM, SOUND)
    assert SOUND.fits


@pytest.mark.parametrize(
    ("damaged", "sentence"),
    [
        (
            lambda: moved(b=SOUND.addresses["a"] + 16),
            r"buffer 'a' \(32 bytes, events 0 to 4\) at address \d+ and "
            r"buffer 'b' \(32 bytes, events 2 to 6\) at address \d+: overlap",
        ),
        (lambda: moved(d=64), r"'c' .*events 5 to 8\) at address 32 and .*'d' .*at address 64"),
        (lambda: moved(d=32), "'c' .*at address 32 and .*'d' .*at address 32: overlap"),
        (lambda: moved(b=SOUND.addresses["b"] + 8), "'b' .*must be a multiple of 16"),
        (lambda: moved(c=0), "'c' .*its address is 0, but fixed at 32"),
        (lambda: moved(d=-32), "'d' .*its address is -32, must be at least 0"),
        (lambda: moved(e=0), "address of 'e': the problem has no such buffer"),
        (lambda: moved(d=96), "height: is 96, but the addresses come to 128"),
        (lambda: replace(SOUND, addresses={"a": 0}), "'b' .*has no address"),
        (lambda: replace(SOUND, height=64), "height: is 64, but the addresses come to 96"),
        (lambda: replace(SOUND, bound=97), "bound: is 97, but the addresses come to 96"),
        (lambda: replace(SOUND, capacity=97), "capacity: is 97, but the problem's is 96"),
        (
            lambda: replace(SOUND, peak=SOUND.peak and replace(SOUND.peak, buffers=("a", "d"))),
            "peak: buffer '[ad]' is not live at events",
        ),
    ],
)
def test_each_kind_of_damage_is_named(damaged: Callable[[], Packing], sentence: str) -> None:
    with pytest.raises(PackingError, match=sentence):
        check_packing(PROBLEM, damaged())


@given(seed=st.integers(0, 50), which=st.integers(0, 39), by=st.sampled_from([-1024, 1024]))
@settings(deadline=None, max_examples=40)
def test_where_no_byte_is_free_any_move_is_rejected(seed: int, which: int, by: int) -> None:
    problem, addresses = cut_rectangle(seed, 40)
    sound = replace(
        pack(problem, 0.001), addresses=addresses, height=problem.capacity, bound=problem.capacity
    )
    check_packing(problem, sound)
    name = problem.buffers[which].name
    with pytest.raises(PackingError):
        check_packing(problem, replace(sound, addresses={**addresses, name: addresses[name] + by}))


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_the_sweep_agrees_with_looking_at_every_pair(data: st.DataObject) -> None:
    starts = st.integers(0, 8)
    buffers = tuple(
        Buffer(f"b{i}", start, start + data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5)))
        for i, start in enumerate(data.draw(st.lists(starts, min_size=2, max_size=6)))
    )
    addresses = {b.name: data.draw(st.integers(0, 12)) for b in buffers}
    problem = PackingProblem(buffers, 64)
    packing = replace(
        pack(problem, 0.001),
        addresses=addresses,
        height=max(addresses[b.name] + b.size for b in buffers),
        bound=0,
    )
    clash = any(
        one.start < other.end
        and other.start < one.end
        and addresses[one.name] < addresses[other.name] + other.size
        and addresses[other.name] < addresses[one.name] + one.size
        for i, one in enumerate(buffers)
        for other in buffers[:i]
    )
    if clash:
        with pytest.raises(PackingError, match="overlap"):
            check_packing(problem, packing)
    else:
        check_packing(problem, packing)

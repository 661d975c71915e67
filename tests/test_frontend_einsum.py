"""Random contractions: numpy.einsum and numpy.tensordot of traced arrays."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nkigen_lite.frontend import trace


@st.composite
def contractions(draw: st.DrawFn) -> tuple[str, list[np.ndarray]]:
    """Subscripts over a to e for one to four operands, and integers of extents that fit."""
    extents = {label: draw(st.integers(1, 3)) for label in "abcde"}
    terms = draw(
        st.lists(
            st.lists(st.sampled_from("abcde"), unique=True, max_size=3), min_size=1, max_size=4
        )
    )
    used = sorted({label for term in terms for label in term})
    text = ",".join(map("".join, terms))
    if draw(st.booleans()):
        kept = draw(st.lists(st.sampled_from(used), unique=True)) if used else []
        text += "->" + "".join(kept)
    rng = np.random.default_rng(0)
    # An extent of 1 spreads over the longer one that another operand has.
    shapes = [[1 if draw(st.integers(0, 9)) == 0 else extents[i] for i in term] for term in terms]
    return text, [np.asarray(rng.integers(-4, 5, shape), np.float32) for shape in shapes]


@given(contractions())
@settings(max_examples=150)
def test_any_contraction_is_numpys(drawn: tuple[str, list[np.ndarray]]) -> None:
    subscripts, arrays = drawn
    expected = np.einsum(subscripts, *arrays)
    got = trace(lambda *arrays: np.einsum(subscripts, *arrays), arrays).run(*arrays)
    assert got.shape == expected.shape
    np.testing.assert_array_equal(got, expected)


@given(st.data())
@settings(max_examples=60)
def test_any_tensordot_is_numpys(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4)))
    paired = data.draw(st.lists(st.integers(0, len(shape) - 1), unique=True))
    of_a = data.draw(st.permutations(paired))
    of_b = list(range(len(paired)))
    rng = np.random.default_rng(1)
    a = rng.integers(-4, 5, shape).astype(np.float32)
    b = rng.integers(-4, 5, (*(shape[i] for i in of_a), 2)).astype(np.float32)
    got = trace(lambda a, b: np.tensordot(a, b, (of_a, of_b)), [a, b]).run(a, b)
    np.testing.assert_array_equal(got, np.tensordot(a, b, (of_a, of_b)))

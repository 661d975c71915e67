"""``numpy.einsum``: any number of operands, contracted in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from string import ascii_letters
from typing import Any

import numpy as np

from nkigen_lite.frontend import moves
from nkigen_lite.frontend.array import TracedArray
from nkigen_lite.frontend.products import contract, numbers, sum_out
from nkigen_lite.frontend.recorder import Recorder
from nkigen_lite.frontend.table import traces

Term = tuple[TracedArray, list[str]]


@traces(np.einsum)
def _einsum(r: Recorder, subscripts: Any, *operands: Any, optimize: Any = None) -> TracedArray:
    """Letters, ``...`` and an optional ``->``; ``optimize`` makes no difference.

    Pairs are contracted from the left, or for three and more operands in numpy's greedy order.
    """
    if not isinstance(subscripts, str):
        raise r.error("subscripts must be text such as 'ij,jk->ik'")
    arrays = numbers(r, *operands)
    terms, out = _parse(r, subscripts, [x.ndim for x in arrays])
    named = _spread(r, list(zip(arrays, terms, strict=True)))
    for step in _order(named, out):
        picked = [named.pop(i) for i in sorted(step, reverse=True)][::-1]
        while len(picked) > 1:
            a, b, *rest = picked
            kept = set(out).union(*(labels for _, labels in (*named, *rest)))
            picked = [_pair(a, b, out, kept), *rest]
        named += picked
    x, left = sum_out(*named[0], set(out))
    return moves.permute(x, [left.index(i) for i in out])


def _parse(r: Recorder, subscripts: str, ranks: Sequence[int]) -> tuple[list[list[str]], list[str]]:
    """Labels per operand and of the result; an ellipsis becomes the labels "0", "1", …"""
    text = subscripts.replace(" ", "")
    inputs, arrow, result = text.partition("->")
    parts = inputs.split(",")
    if len(parts) != len(ranks):
        raise r.error(f"{subscripts!r} names {len(parts)} operands but {len(ranks)} are given")
    widest = max((n - len(p.replace("...", "")) for p, n in zip(parts, ranks, strict=True)
                  if "..." in p), default=0)  # fmt: skip
    dots = [str(i) for i in range(widest)]
    terms = [
        _labels(r, subscripts, part, dots, rank) for part, rank in zip(parts, ranks, strict=True)
    ]
    if arrow:
        out = _labels(r, subscripts, result, dots, None)
    else:
        letters = sorted(i for i in chain(*terms) if i.isalpha())
        out = [*dots, *(i for i in letters if letters.count(i) == 1)]
    unknown = [i for i in out if i not in set(chain(*terms))]
    if unknown:
        raise r.error(f"{subscripts!r}: the result has {unknown[0]!r}, which no operand has")
    return terms, out


def _labels(
    r: Recorder, subscripts: str, part: str, dots: Sequence[str], rank: int | None
) -> list[str]:
    before, ellipsis, after = part.partition("...")
    letters = [*before, *after]
    if not all(i.isalpha() and i.isascii() for i in letters):
        raise r.error(f"{subscripts!r}: {part!r} must consist of letters and at most one '...'")
    repeated = [i for i in letters if letters.count(i) > 1]
    if repeated:
        raise r.error(
            f"{subscripts!r}: {repeated[0]!r} occurs twice in {part!r}; a diagonal has no "
            "tensor_ir meaning, multiply by np.eye(n) and sum instead"
        )
    hidden = len(dots) if rank is None else rank - len(letters)
    if rank is not None and (hidden < 0 or (hidden and not ellipsis)):
        raise r.error(f"{subscripts!r}: {part!r} names {len(letters)} dimensions of {rank}")
    return [*before, *(dots[len(dots) - hidden :] if ellipsis else ()), *after]


def _spread(r: Recorder, named: Sequence[Term]) -> list[Term]:
    """The operands without dimensions of extent 1 where another operand is longer."""
    longest: dict[str, int] = {}
    for x, labels in named:
        for label, n in zip(labels, x.shape, strict=True):
            longest[label] = max(n, longest.get(label, 1))
    made: list[Term] = []
    for x, labels in named:
        kept = [(i, n) for i, n in zip(labels, x.shape, strict=True) if n == longest[i] or n != 1]
        for label, n in kept:
            if n != longest[label]:
                raise r.error(f"dimension {label!r} has the extents {n} and {longest[label]}")
        made.append((moves.reshape(x, [n for _, n in kept]), [i for i, _ in kept]))
    return made


def _order(named: Sequence[Term], out: Sequence[str]) -> list[tuple[int, ...]]:
    """Which operands to contract in each step; a step's result goes to the end of the list."""
    if len(named) < 3:
        return [(0, 1)] if len(named) == 2 else []
    labels = dict.fromkeys(chain(*(labels for _, labels in named)))
    letters = dict(zip(labels, ascii_letters, strict=False))
    text = ",".join("".join(letters[i] for i in term) for _, term in named)
    shapes = [np.broadcast_to(np.float32(0), x.shape) for x, _ in named]
    result = "".join(letters[i] for i in out)
    path: list[Any] = np.einsum_path(f"{text}->{result}", *shapes, optimize="greedy")[0]
    return [tuple(step) for step in path[1:]]


def _pair(a: Term, b: Term, out: Sequence[str], kept: set[str]) -> Term:
    left = [i for i in dict.fromkeys([*out, *a[1], *b[1]]) if i in kept and i in (*a[1], *b[1])]
    return contract(*a, *b, left), left

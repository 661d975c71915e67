"""Whether two results agree, by the tolerance that the element types of a program earn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import DType, epsilon
from nkigen_lite.core.ir import Graph

F32_TOLERANCE = 1e-4
_ROUNDINGS = 4  # of the coarsest float type


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a result is from its reference.

    Attributes:
        name: of the output.
        max_abs: the largest absolute difference; max_rel: the same over the largest magnitude of
            the reference (over 1 if that is all zero). Both are NaN where they cannot be compared.
        allowed: what ``max_rel`` may be (for integers and bools: what ``max_abs`` may be).
        ok: whether it is no more than that, and infinities and NaN stand at the same places.
        note: why the two cannot be compared, or "".
    """

    name: str
    max_abs: float
    max_rel: float
    allowed: float
    ok: bool
    note: str = ""


def dtypes_of(graph: Graph) -> set[DType]:
    """The element types of all values of a tensor_ir graph."""
    results = (value for op in graph.ops for value in op.results)
    return {value.type.dtype for value in (*graph.inputs, *results)}


def tolerance(dtypes: Iterable[DType], of: DType) -> float:
    """What may be between two results of type ``of`` of a program over ``dtypes``.

    For floats, of the largest magnitude: 1e-4, or four times the machine epsilon of the coarsest
    float type in the program if that is more (bf16: 3.1e-2), since numpy rounds elementwise
    results where the kernel may not. For integers and bools, absolute: nothing; but integers that
    are computed from floats may truncate to the other side of a whole number.
    """
    coarsest = max((epsilon(d) for d in dtypes), default=0.0)
    if of.is_float:
        return max(F32_TOLERANCE, _ROUNDINGS * max(coarsest, epsilon(of)))
    return 1.0 if of.is_integer and coarsest else 0.0


def compare(name: str, got: Any, reference: Any, allowed: float, *, exact: bool) -> Agreement:
    """Compare arrays; ``exact`` compares absolutely (integers and bools)."""
    mine, theirs = (np.asarray(a).astype(np.float64) for a in (got, reference))
    if mine.shape != theirs.shape:
        note = f"shape {mine.shape} but numpy gives {theirs.shape}"
        return Agreement(name, float("nan"), float("nan"), allowed, False, note)
    finite = np.isfinite(mine) & np.isfinite(theirs)
    odd = ~finite
    if not np.array_equal(mine[odd], theirs[odd], equal_nan=True):
        wrong = int((~((mine == theirs) | (np.isnan(mine) & np.isnan(theirs))) & odd).sum())
        note = f"{wrong} elements are infinite or NaN on one side"
        return Agreement(name, float("nan"), float("nan"), allowed, False, note)
    max_abs = float(np.abs(mine[finite] - theirs[finite]).max(initial=0.0))
    scale = float(np.abs(theirs[finite]).max(initial=0.0))
    max_rel = max_abs / (scale or 1.0)
    within = (max_abs if exact else max_rel) <= allowed
    return Agreement(name, max_abs, max_rel, allowed, within)

"""Why there is no plan: the fewest limits and constraints that cannot hold together."""

from __future__ import annotations

from collections.abc import Sequence

from .engine import Engine
from .linear import LinearModel


def blocking(model: LinearModel, must_run: Sequence[str], engine: Engine) -> tuple[str, ...]:
    """The tags of an infeasible `model` that are in conflict, none of which can be left out.

    First among limits and constraints, with every op to run; if they are not to blame, among the
    ops, which then cannot run together by any candidates.
    """
    tags = dict.fromkeys(tag for row in model.rows for tag in row.tags)
    limits = [tag for tag in tags if tag not in set(must_run)]
    for assumed, hard in ((limits, must_run), (must_run, ())):
        core = engine.conflict(model, assumed, hard)
        if core:
            return _shrunk(model, core, hard, engine)
    return ()


def _shrunk(
    model: LinearModel, core: list[str], hard: Sequence[str], engine: Engine
) -> tuple[str, ...]:
    """`core` without every tag that the conflict does not need, by leaving out each in turn."""
    for tag in list(core):
        if tag in core:
            rest = engine.conflict(model, [other for other in core if other != tag], hard)
            core = core if rest is None else rest
    return tuple(core)

"""Why there is no plan: the fewest limits and pins that cannot hold together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .linear import LinearModel

Oracle = Callable[[Sequence[str], Sequence[str]], list[str] | None]
"""Of the tags in the first list, those that already conflict with each other and with the second
list; `None` where they do not, or nobody knows."""


def blocking(model: LinearModel, must_run: Sequence[str], conflicting: Oracle) -> tuple[str, ...]:
    """The tags of an infeasible `model`, none of which can be left out of the conflict.

    First among limits and pins, with every op to run; if they are not to blame, among the ops,
    which then cannot be run together by any candidates.
    """
    tags = dict.fromkeys(tag for row in model.rows for tag in row.tags)
    limits = [tag for tag in tags if tag not in set(must_run)]
    core = conflicting(limits, must_run)
    if core:
        return _shrunk(core, lambda asked: conflicting(asked, must_run))
    core = conflicting(list(must_run), ())
    return _shrunk(core or [], lambda asked: conflicting(asked, ()))


def _shrunk(
    core: list[str], conflicting: Callable[[Sequence[str]], list[str] | None]
) -> tuple[str, ...]:
    """`core` without every tag that the conflict does not need, by leaving each out in turn."""
    for tag in core:
        if tag in core:
            rest = conflicting([other for other in core if other != tag])
            core = core if rest is None else rest
    return tuple(core)

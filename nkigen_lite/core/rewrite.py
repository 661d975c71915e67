"""Rewriting by small rules. A rule looks at one op and either returns what replaces it or None.

A rule's docstring holds its picture, which tests execute:

    one sentence of why

    %2: <4xf32> = div(%0, %1)
    -->
    %2: <4xf32> = reciprocal(%1)
    %3: <4xf32> = mul(%0, %2)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from nkigen_lite.core.builder import BaseBuilder
from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.errors import InvalidStage

B = TypeVar("B", bound=BaseBuilder)
_ROUNDS = 1000  # more applications per op than any terminating rule set needs


@dataclass(frozen=True)
class Rule(Generic[B]):
    """A named rewrite of the ops with the given opcodes.

    ``apply(b, op)`` builds the replacement before ``op`` with builder ``b`` and returns it; None
    means that the rule does not match, in which case it must not have built anything.
    """

    name: str
    opcodes: tuple[str, ...]
    apply: Callable[[B, Op], Value | None]

    @property
    def doc(self) -> str:
        return self.apply.__doc__ or ""


def rewrite(graph: Graph, rules: Iterable[Rule[B]], builder: type[B]) -> int:
    """Apply ``rules`` until none matches; how often one did. Dead ops are removed.

    Replacements inherit the source line of the op they replace, and its result's name if they
    are new.

    Raises:
        InvalidStage: the rules do not come to an end.
    """
    by_opcode: dict[str, list[Rule[B]]] = {}
    for rule in rules:
        for opcode in rule.opcodes:
            by_opcode.setdefault(opcode, []).append(rule)
    count, limit = 0, _ROUNDS * (len(graph.ops) + 1)
    changed = True
    while changed:
        changed = False
        for op in list(graph.ops):
            if _is_dead(graph, op):
                continue
            if _apply_first(graph, op, by_opcode.get(op.opcode, ()), builder):
                count, changed = count + 1, True
                if count > limit:
                    raise InvalidStage(f"rewrite: rules do not terminate on graph @{graph.name}")
        graph.dce()
    return count


def _is_dead(graph: Graph, op: Op) -> bool:
    used = any(r.has_uses for r in op.results)
    return not used and not any(v in op.results for v in graph.outputs.values())


def _apply_first(graph: Graph, op: Op, rules: Sequence[Rule[B]], builder: type[B]) -> bool:
    for rule in rules:
        new = rule.apply(builder.at_op(graph, op), op)
        if new is not None:
            if new.type != op.result.type:
                raise InvalidStage(
                    f"rewrite: rule {rule.name!r} turns {op.result.type} into {new.type}"
                )
            if not new.has_uses and all(v is not new for v in graph.outputs.values()):
                new.name = op.result.name  # just built: nobody knows it under another name
            graph.replace_value(op.result, new)
            return True
    return False

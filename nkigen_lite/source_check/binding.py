"""Binding calls of ``nki.isa`` to their published signatures."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from nkigen_lite.source_check.facts import Member, Token, enums, published
from nkigen_lite.source_check.findings import Illegal, require


@dataclass(frozen=True, slots=True)
class Signature:
    """A function of ``nki.isa``: parameters in order, and the defaults of those that have one."""

    name: str
    parameters: tuple[str, ...]
    defaults: Mapping[str, Any]

    @property
    def kinds(self) -> dict[str, str]:
        """The enum of each parameter whose default is a member of one."""
        return {k: v.kind for k, v in self.defaults.items() if isinstance(v, Member)}

    def bind(self, call: ast.Call) -> None:
        """Raise Illegal unless the call's keywords fit.

        Positional arguments are refused: the order of parameters changed between releases.
        """
        require(not call.args, f"nisa.{self.name}: arguments are positional but must be keywords")
        given = [k.arg for k in call.keywords]
        for keyword in given:
            require(keyword is not None, f"nisa.{self.name}: ** arguments are not allowed")
            assert keyword is not None
            require(
                keyword in self.parameters,
                f"nisa.{self.name}: keyword {keyword!r} is not one of {', '.join(self.parameters)}",
            )
        for parameter in self.parameters:
            require(
                parameter in given or parameter in self.defaults,
                f"nisa.{self.name}: argument {parameter!r} is missing",
            )


@cache
def signature(name: str, module: str = "nisa") -> Signature:
    """The signature of ``nisa.<name>``, or of ``ncc.<name>``, which is of ``nki.collectives``.

    Raises:
        Illegal: there is no such function.
    """
    known = published()["functions" if module == "nisa" else "collectives"]
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        package = "nki.isa" if module == "nisa" else "nki.collectives"
        raise Illegal(f"{module}.{name} is not a function of {package}{hint}")
    rows = known[name]
    defaults = {row[0]: _default(row[1]) for row in rows if len(row) > 1}
    return Signature(name, tuple(row[0] for row in rows), defaults)


def _default(text: str) -> Any:
    kind, _, member = text.partition(".")
    if kind in enums() and member:
        return enums()[kind][member]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return Token(text)  # an operation: nl.equal

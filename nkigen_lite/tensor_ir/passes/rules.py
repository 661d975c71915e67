"""Rewrite rules as decorated functions. The docstring of a rule holds its picture:

    why the rule is there, in one sentence

    %s: <2x1xf32>
    %r: <2x1xf32> = sqrt(%s)
    %y: <2x4xf32> = div(%x, %r)
    -->
    %r: <2x1xf32> = rsqrt(%s)
    %y: <2x4xf32> = mul(%x, %r)

Above the arrow stand ops in the textual form, whose last result the rule replaces; below it what
the rule leaves there. A bare ``%x`` as the last line means that value itself, and ``...`` leaves
the ops out where they would hide the formula. Values that no op makes are inputs: a line without
``=`` gives the type of one, the others have the type of the result that the rule replaces.
Attributes at their default may be left out. Every picture is executed by the tests.
"""

from __future__ import annotations

from collections.abc import Callable

from nkigen_lite.core.ir import Op, Value
from nkigen_lite.core.rewrite import Rule
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.rows import TENSOR

TensorRule = Rule[Builder]
Apply = Callable[[Builder, Op], Value | None]


def collect(rules: list[TensorRule]) -> Callable[..., Callable[[Apply], TensorRule]]:
    """A decorator ``@rule("opcode", ...)`` that makes a function a rule and adds it to ``rules``.

    Rules are tried in the order of the list.
    """

    def rule(*opcodes: str) -> Callable[[Apply], TensorRule]:
        assert all(opcode in TENSOR for opcode in opcodes), f"{opcodes}: not ops of tensor_ir"

        def make(apply: Apply) -> TensorRule:
            made = Rule(apply.__name__, opcodes, apply)
            rules.append(made)
            return made

        return make

    return rule

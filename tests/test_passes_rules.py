"""Every rewrite rule does what the picture in its docstring says."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

import numpy as np
import pytest
from graph_strategy import sample_inputs

from nkigen_lite.core.dtypes import epsilon
from nkigen_lite.core.ir import Graph, clone
from nkigen_lite.core.parser import parse
from nkigen_lite.core.rewrite import rewrite
from nkigen_lite.core.structure import structurally_equal
from nkigen_lite.tensor_ir import Builder, run
from nkigen_lite.tensor_ir.passes import canonicalize, decompose
from nkigen_lite.tensor_ir.passes.rules import TensorRule
from nkigen_lite.tensor_ir.rows import TENSOR

RULES = [
    *((canonicalize, rule) for rule in canonicalize.RULES),
    *((decompose, rule) for rule in decompose.RULES),
]
_NAME = re.compile(r"%([A-Za-z_]\w*)")


@dataclass(frozen=True, slots=True)
class Picture:
    """The graphs above and below a docstring's arrow; ``after`` is None where it is left out."""

    before: Graph
    after: Graph | None


def read_picture(docstring: str) -> Picture:
    above, arrow, below = inspect.cleandoc(docstring).partition("\n-->\n")
    assert arrow, "the docstring has no picture"
    before = re.split(r"\n\s*\n", above)[-1].splitlines()
    after = below.split("\n\n")[0].splitlines()
    inputs = _inputs(before)
    elided = [line.strip() for line in after] == ["..."]
    return Picture(_graph(before, inputs), None if elided else _graph(after, inputs))


def _inputs(lines: list[str]) -> dict[str, str]:
    """Types of the values that no line makes, by name, in order of appearance."""
    ops = [line for line in lines if "=" in line.partition("{")[0]]
    default = re.match(r"%\w+: (<\S+>)", ops[-1])
    assert default, ops[-1]
    made = {_NAME.match(line)[1] for line in ops}  # type: ignore[index]
    given = dict(re.findall(r"^%(\w+): (<\S+>)$", "\n".join(lines), re.MULTILINE))
    free = [name for line in lines for name in _NAME.findall(line) if name not in made]
    return {name: given.get(name, default[1]) for name in dict.fromkeys(free)}


def _graph(lines: list[str], inputs: dict[str, str]) -> Graph:
    ops = [line for line in lines if " = " in line]
    bare = re.fullmatch(r"%(\w+)", lines[-1].strip())
    last = bare[1] if bare else _NAME.match(ops[-1])[1]  # type: ignore[index]
    head = ", ".join(f"%{name}: {kind}" for name, kind in inputs.items())
    graph = parse(f"graph @main({head}) {{\n" + "\n".join(ops) + f"\nreturn y=%{last}\n}}", TENSOR)
    for op in graph.ops:
        op.attrs = TENSOR[op.opcode].complete([v.type for v in op.inputs], op.attrs)
    return graph


def _body(graph: Graph) -> str:
    return graph.dump()


@pytest.mark.parametrize(("stage", "rule"), RULES, ids=[rule.name for _, rule in RULES])
def test_rule_does_what_its_docstring_says(stage: object, rule: TensorRule) -> None:
    picture = read_picture(rule.doc)
    graph = clone(picture.before)
    inputs = sample_inputs(graph, seed=1)
    meaning = run(graph, inputs)["y"]

    assert rewrite(graph, [rule], Builder) == 1

    assert graph.verify() == []
    if picture.after is not None:
        assert structurally_equal(graph, picture.after), f"{graph}\nbut\n{picture.after}"
    close = {"rtol": 4 * epsilon(graph.outputs["y"].type.dtype), "atol": 1e-6}
    found = run(graph, inputs)["y"]
    np.testing.assert_allclose(found.astype(np.float64), meaning.astype(np.float64), **close)


@pytest.mark.parametrize(("stage", "rule"), RULES, ids=[rule.name for _, rule in RULES])
def test_the_whole_stage_keeps_the_meaning_of_every_picture(
    stage: object, rule: TensorRule
) -> None:
    graph = read_picture(rule.doc).before
    inputs = sample_inputs(graph, seed=2)
    meaning = run(graph, inputs)["y"]

    getattr(stage, "canonicalize" if stage is canonicalize else "decompose")(graph)

    assert graph.verify() == []
    close = {"rtol": 4 * epsilon(graph.outputs["y"].type.dtype), "atol": 1e-6}
    found = run(graph, inputs)["y"]
    np.testing.assert_allclose(found.astype(np.float64), meaning.astype(np.float64), **close)

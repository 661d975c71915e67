"""Values of a traced program are called what the user's program calls them."""

from __future__ import annotations

import ast
import re

import numpy as np
import pytest
from hash_seeds import outputs_by_hash_seed

import nkigen_lite
from nkigen_lite.frontend.variables import variable_names


def names_of(function: object, *specs: str) -> dict[str, str]:
    """Names of the values of a function's trace, by their names in the graph."""
    graph = nkigen_lite.trace(function, list(specs)).graph  # type: ignore[arg-type]
    return variable_names(graph, graph)


def softmax(x):
    shifted = x - np.max(x, axis=-1, keepdims=True)
    e = np.exp(shifted)
    return e / np.sum(e, axis=-1, keepdims=True)


def test_assigned_values_have_their_variables_names() -> None:
    names = names_of(softmax, "8x16")
    assert {"shifted", "e"} <= set(names.values())


def test_values_inside_an_expression_are_called_after_their_op() -> None:
    names = names_of(softmax, "8x16")
    assert {"maxima", "sums"} <= set(names.values())


def helper(x):
    doubled = x + x
    return doubled * doubled


def test_caller_names_what_a_function_returns_before_the_function_does() -> None:
    def calls(x):
        mine = helper(x)
        return helper(mine) + 1

    names = names_of(calls, "8x16")
    assert {"doubled", "mine", "doubled_1", "helper"} <= set(names.values())


def test_one_name_for_one_value() -> None:
    def again(x):
        y = x + 1
        y = y * 2
        y = np.exp(y)
        return y - 1

    names = list(names_of(again, "8x16").values())
    assert sorted(n for n in names if n.startswith("y")) == ["y", "y_1", "y_2"]
    assert len(set(names)) == len(names)


def test_inputs_keep_their_names_for_themselves() -> None:
    def assigns(x):
        x = x + 1
        return x * 2

    assert "x_1" in names_of(assigns, "8x16").values()


def test_name_goes_through_changes_of_shape() -> None:
    def moves(x, w):
        heads = (x @ w).reshape(4, 2, 8).transpose(1, 0, 2)
        return np.exp(heads)

    graph = nkigen_lite.trace(moves, ["4x16", "16x16"]).graph
    product = next(op for op in graph.ops if op.opcode == "matmul")
    assert variable_names(graph, graph)[product.result.name] == "heads"


def test_function_without_a_file_is_named_by_its_ops() -> None:
    namespace: dict[str, object] = {"np": np}
    exec("def f(x):\n    y = np.exp(x)\n    return y + 1\n", namespace)
    assert "exp_of" in names_of(namespace["f"], "8x16").values()


def test_tiles_of_a_compiled_kernel_have_readable_names() -> None:
    text = nkigen_lite.compile(softmax, "200x300", time_limit=2.0).emit()
    made = re.findall(r"^ +(\w+) = nl\.ndarray", text, flags=re.MULTILINE)
    assert made
    assert [name for name in made if re.match(r"[vt]\d", name)] == []


def test_docstring_lists_every_segment_and_the_body_marks_each() -> None:
    kernel = nkigen_lite.compile(softmax, "200x300", time_limit=2.0)
    doc = ast.get_docstring(ast.parse(kernel.emit()))
    assert doc is not None
    listed = [line.strip() for line in doc.splitlines() if re.match(r" +\d+\. ", line)]
    assert len(listed) == len(kernel.plan.segments)
    comments = re.findall(r"^ +# (\d+)\. ", kernel.emit(), flags=re.MULTILINE)
    assert comments == [str(n) for n in range(1, len(listed) + 1)]


@pytest.mark.slow
def test_hash_seeds_do_not_change_the_text() -> None:
    program = (
        "import nkigen_lite; from examples.attention import attention; "
        "print(nkigen_lite.compile(attention, *['1x2x64x32:bf16'] * 3, time_limit=5).emit())"
    )
    (text,) = outputs_by_hash_seed(program)
    assert "def attention(q, k, v" in text

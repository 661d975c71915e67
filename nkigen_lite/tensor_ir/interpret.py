"""Running a tensor_ir graph on numpy. Every result is rounded to its declared type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nkigen_lite.core.dtypes import Array
from nkigen_lite.core.interpret import interpret_values, run
from nkigen_lite.core.ir import Graph
from nkigen_lite.core.printer import unique_names

__all__ = ["interpret", "run"]


def interpret(graph: Graph, inputs: Mapping[str, Any]) -> dict[str, Array]:
    """Every value of the graph by the name under which it prints.

    Raises:
        InvalidInput: an input is missing or has the wrong shape.
    """
    names = unique_names(graph)
    return {names[value]: array for value, array in interpret_values(graph, inputs).items()}

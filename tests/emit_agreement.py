"""Comparing what an emitted kernel does on the stand-in with what nki_ir's interpreter says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from nki_stand_in import run_emitted

from nkigen_lite.core.dtypes import DType, epsilon
from nkigen_lite.core.ir import Graph
from nkigen_lite.nki_ir import run
from nkigen_lite.nki_ir.emit_nki import emit_nki
from nkigen_lite.source_check import check_source

Array = np.ndarray[Any, np.dtype[Any]]

# What the checker cannot decide: how often run time runs something, and what it has no row for.
UNDECIDED = ("is decided at run time", "nisa.dma_compute: only its signature")


def made_inside(graph: Graph) -> list[str]:
    """Names of the inputs that are output buffers, which an emitted kernel makes itself."""
    return [f"{name}_out" for name, v in graph.outputs.items() if v.name == f"{name}_out"]


def sample_inputs(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """Small values for every input that is not an output buffer."""
    rng = np.random.default_rng(seed)
    drawn = {}
    for value in graph.inputs:
        if value.name not in made_inside(graph):
            drawn[value.name] = sample(rng, value.type.shape, value.type.dtype)
    return drawn


def sample(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
    """Values that the type holds exactly enough: normal floats, integers below 100."""
    if dtype is DType.BOOL:
        return rng.random(shape) < 0.5
    if dtype.is_float:
        return np.asarray(rng.standard_normal(shape), np.float32).astype(dtype.np)
    return rng.integers(0, 100, shape).astype(dtype.np)


def assert_legal(source: str, target: str = "trn2") -> None:
    """The independent checker finds nothing wrong with the emitted text."""
    verdict = check_source(source, target=target)
    assert [problem.text("emitted") for problem in verdict.problems] == []
    assert [s for s in verdict.undecided if not any(w in s for w in UNDECIDED)] == []


def assert_agrees(graph: Graph, inputs: Mapping[str, Array] | None = None) -> str:
    """The emitted kernel returns what ``run`` returns; its text.

    Values may differ by a rounding, since sums may be taken in another order.
    """
    source = emit_nki(graph)
    assert_legal(source)
    given = dict(sample_inputs(graph) if inputs is None else inputs)
    buffers = {
        v.name: np.zeros(v.type.shape, v.type.dtype.np)
        for v in graph.inputs
        if v.name in made_inside(graph)
    }
    copies = {name: array.copy() for name, array in given.items()}
    wanted = run(graph, {**copies, **buffers})
    arguments = [given[v.name] for v in graph.inputs if v.name in given]
    made = run_emitted(source, arguments)
    for got, (name, want) in zip(made, wanted.items(), strict=True):
        dtype = graph.outputs[name].type.dtype
        assert got.shape == want.shape
        assert got.dtype == (np.uint8 if dtype is DType.BOOL else dtype.np)
        tolerance = 4 * epsilon(dtype)
        np.testing.assert_allclose(
            got.astype(np.float64), want.astype(np.float64), rtol=tolerance, atol=tolerance
        )
    return source

"""Example programs, compiled and emitted: the NKI text computes what the lowered kernel does."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from emit_agreement import assert_agrees, sample_inputs

import nkigen_lite

EXAMPLES = {
    "softmax": ("200x300:f32",),
    "rmsnorm": ("130x96:bf16", "96:bf16"),
    "layernorm": ("130x96:f32", "96:f32", "96:f32"),
    "matmul": ("150x200:bf16", "200x600:bf16"),
    "gelu_linear": ("64x96:f32", "96x160:f32", "160:f32"),
    "mlp_swiglu": ("77x96:bf16", "96x160:bf16", "96x160:bf16", "160x96:bf16"),
    "rope": ("2x77x64:bf16",),
    "attention": ("1x2x150x32:bf16",) * 3,
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_emitted_example_computes_what_its_lowered_kernel_computes(name: str) -> None:
    function = getattr(importlib.import_module(f"examples.{name}"), name)
    compiled = nkigen_lite.compile(function, *EXAMPLES[name], time_limit=2.0)
    graph = compiled.nki
    inputs = sample_inputs(graph)
    for value in graph.inputs:
        if value.name in compiled.constants:
            bound = np.asarray(compiled.constants[value.name])
            inputs[value.name] = bound.astype(value.type.dtype.np).reshape(value.type.shape)
    text = assert_agrees(graph, inputs)
    assert max(map(len, text.splitlines())) <= 100

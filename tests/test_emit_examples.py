"""Example programs, compiled and emitted: the NKI text computes what the lowered kernel does."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from emit_agreement import assert_agrees, assert_legal, sample_inputs

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
    assert_agrees(graph, inputs)
    assert_reads_well(compiled.emit())


def assert_reads_well(text: str, target: str = "trn2") -> None:
    """The whole file is legal, in lines of 100 characters, and as the formatter would write it."""
    assert_legal(text, target)
    assert max(map(len, text.splitlines())) <= 100
    if importlib.util.find_spec("ruff"):
        command = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length=100", "-"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
        assert done.stdout == text


@pytest.mark.slow
@pytest.mark.parametrize("target", ["trn2"])
def test_transformer_layer_is_one_file_of_less_than_2000_lines(target: str) -> None:
    make_weights = nkigen_lite.load_function("examples/qwen3_layer.py:make_weights")
    layer = nkigen_lite.load_function("examples/qwen3_layer.py:qwen3_layer")
    weights = make_weights(0, np.dtype(ml_dtypes.bfloat16))
    text = nkigen_lite.compile(layer, *weights.values(), target=target, time_limit=5.0).emit()
    assert_reads_well(text, target)
    assert len(text.splitlines()) < 2000
    assert "def reference(" in text

"""Whole tensors, no hardware: the IR that programs are written in."""

from nkigen_lite.tensor_ir.ir import (
    Builder,
    DType,
    Graph,
    Op,
    TensorType,
    Value,
    ValueCounter,
    interpret,
    run,
)

__all__ = [
    "Builder",
    "DType",
    "Graph",
    "Op",
    "TensorType",
    "Value",
    "ValueCounter",
    "interpret",
    "run",
]

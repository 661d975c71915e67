"""Means: engines add up."""

from __future__ import annotations

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.passes.rules import TensorRule, collect

RULES: list[TensorRule] = []
rule = collect(RULES)


@rule("reduce")
def mean_as_sum(b: Builder, op: Op) -> Value | None:
    """A mean is a sum times 1 / N; narrow floats are widened first, so the sum stays in range.

    %x: <2x4xf32>
    %y: <2x1xf32> = reduce(%x) {axis=(1,), kind="mean", keepdims=true}
    -->
    %s: <2x1xf32> = reduce(%x) {axis=(1,), kind="sum", keepdims=true}
    %c: <f32> = constant() {value=0.25, shape=()}
    %y: <2x1xf32> = mul(%s, %c)
    """
    x, dtype = op.inputs[0], op.result.type.dtype
    if op.attrs["kind"] != "mean" or dtype is not DType.F32:
        return None
    count = x.type.num_elements // op.result.type.num_elements
    total = b.reduce(x, **{**op.attrs, "kind": "sum"})
    return b.mul(total, b.full((), 1.0 / count, dtype))

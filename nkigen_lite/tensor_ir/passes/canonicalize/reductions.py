"""Reductions: merged, or dropped where there is one element to reduce."""

from __future__ import annotations

from nkigen_lite.core.ir import Op, Value
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.passes.match import made_by, read_once, reshaped
from nkigen_lite.tensor_ir.passes.rules import TensorRule, collect

RULES: list[TensorRule] = []
rule = collect(RULES)


@rule("reduce")
def reduce_units(b: Builder, op: Op) -> Value | None:
    """One element is its own sum, maximum, minimum and mean.

    %x: <2x1xf32>
    %y: <2xf32> = reduce(%x) {axis=(1,), kind="max"}
    -->
    %y: <2xf32> = reshape(%x) {shape=(2,)}
    """
    x = op.inputs[0]
    if any(x.type.shape[axis] != 1 for axis in op.attrs["axis"]):
        return None
    return reshaped(b, x, op.result.type.shape)


@rule("reduce")
def reduce_fewer_axes(b: Builder, op: Op) -> Value | None:
    """A kept dimension of extent 1 needs no reducing.

    %x: <1x4xf32>
    %y: <1x1xf32> = reduce(%x) {axis=(0, 1), kind="sum", keepdims=true}
    -->
    %y: <1x1xf32> = reduce(%x) {axis=(1,), kind="sum", keepdims=true}
    """
    x, axes = op.inputs[0], op.attrs["axis"]
    longer = tuple(axis for axis in axes if x.type.shape[axis] != 1)
    if not op.attrs["keepdims"] or longer in ((), axes):
        return None
    return b.reduce(x, **{**op.attrs, "axis": longer})


@rule("reduce")
def reduce_twice(b: Builder, op: Op) -> Value | None:
    """Reductions of one kind are one reduction over all their dimensions.

    %x: <2x3x4xf32>
    %r: <2x3xf32> = reduce(%x) {axis=(2,), kind="max"}
    %y: <3xf32> = reduce(%r) {axis=(0,), kind="max"}
    -->
    %y: <3xf32> = reduce(%x) {axis=(0, 2), kind="max"}
    """
    inner = made_by(op.inputs[0], "reduce")
    if inner is None or inner.attrs["kind"] != op.attrs["kind"] or not read_once(b, inner.result):
        return None
    x = inner.inputs[0]
    kept = [i for i in range(x.type.rank) if i not in inner.attrs["axis"]]
    place = list(range(x.type.rank)) if inner.attrs["keepdims"] else kept
    axes = {*inner.attrs["axis"], *(place[axis] for axis in op.attrs["axis"])}
    merged = b.reduce(x, tuple(sorted(axes)), op.attrs["kind"], op.attrs["keepdims"])
    return reshaped(b, merged, op.result.type.shape)


@rule("reshape")
def reshape_of_reduce(b: Builder, op: Op) -> Value | None:
    """A reduction keeps or drops its dimensions by itself.

    %x: <2x4xf32>
    %r: <2xf32> = reduce(%x) {axis=(1,), kind="sum"}
    %y: <2x1xf32> = reshape(%r) {shape=(2, 1)}
    -->
    %y: <2x1xf32> = reduce(%x) {axis=(1,), kind="sum", keepdims=true}
    """
    inner = made_by(op.inputs[0], "reduce")
    if inner is None or not read_once(b, inner.result):
        return None
    x, axes, keeps = inner.inputs[0], inner.attrs["axis"], not inner.attrs["keepdims"]
    shape = tuple(
        1 if i in axes else n for i, n in enumerate(x.type.shape) if keeps or i not in axes
    )
    if shape != op.attrs["shape"]:
        return None
    return b.reduce(x, **{**inner.attrs, "keepdims": keeps})

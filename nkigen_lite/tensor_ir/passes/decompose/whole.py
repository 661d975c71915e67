"""Which values are known to have no fractions."""

from __future__ import annotations

from nkigen_lite.core.dtypes import epsilon
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.tensor_ir.passes.match import made_by

_DEPTH = 8  # ops looked back
_WHOLE = frozenset(
    {
        *("floor", "ceil", "floor_divide", "sign", "iota"),
        *("equal", "not_equal", "greater", "greater_equal", "less", "less_equal"),
    }
)
# Whole if what they compute with is; rounding to a narrower float leaves no fractions either.
_KEEP = frozenset(
    {
        *("add", "sub", "mul", "neg", "abs", "maximum", "minimum", "relu", "cast"),
        *("reshape", "transpose", "broadcast_to", "slice", "concat"),
    }
)


def is_whole(value: Value, depth: int = _DEPTH) -> bool:
    """Whether a value is a whole number everywhere, infinity or nan, for all that is known."""
    op = value.producer
    if not value.type.dtype.is_float:
        return True
    if op is None or depth == 0:
        return False
    if op.opcode in _WHOLE:
        return True
    return all(is_whole(v, depth - 1) for v in _deciding(op)) if _keeps(op) else False


def _keeps(op: Op) -> bool:
    if op.opcode == "constant":
        return float(op.attrs["value"]).is_integer()
    if op.opcode == "reduce":
        return bool(op.attrs["kind"] != "mean")
    return op.opcode in _KEEP or op.opcode == "where"


def _deciding(op: Op) -> list[Value]:
    """The operands that have to be whole."""
    if op.opcode != "where":
        return op.inputs
    return op.inputs[1:2] if _is_large_otherwise(op) else op.inputs[1:]


def _is_large_otherwise(op: Op) -> bool:
    """Whether a choice takes its last operand only where that is too large to have fractions."""
    less = made_by(op.inputs[0], "less")
    size = made_by(less.inputs[0], "abs") if less else None
    limit = made_by(less.inputs[1], "constant") if less else None
    if size is None or limit is None:
        return False
    other = op.inputs[2]
    return size.inputs[0] is other and limit.attrs["value"] >= 1 / epsilon(other.type.dtype)

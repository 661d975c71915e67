"""Rules of operations and their operands: what goes with which, and what works on bits.

Source: aws-neuron-sdk, nki.isa reference of 0.6 and "Supported Math Operators for NKI ISA".
"""

from __future__ import annotations

from nkigen_lite.source_check.facts import Limits, Token, published
from nkigen_lite.source_check.findings import require
from nkigen_lite.source_check.operands import Args, Check, per_partition
from nkigen_lite.source_check.tensors import View

UNARY = ("invert", "abs", "square", "relu", "rsqrt", "reciprocal")
COMPARISONS = ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal")


def check_bits(name: str, args: Args, limits: Limits) -> None:
    """Operations on bits stand beside no arithmetic and take integers only, on VectorE."""
    steps = [op.name for n in ("op", "op0", "op1") if isinstance(op := args.get(n), Token)]
    on_bits = [step for step in steps if step in published()["bitwise"]]
    if not on_bits:
        return
    require(len(on_bits) == len(steps), f"{name}: one operation is arithmetic and one is on bits")
    for what in ("dst", "data", "data1", "data2", "operand0", "operand1"):
        value = args.get(what)
        require(
            value.dtype.is_integer if isinstance(value, View) else type(value) is not float,
            f"{name}: {what} is {value.dtype if isinstance(value, View) else value} but "
            f"nl.{on_bits[0]} takes integers",
        )
    engine = args["engine"].name if "engine" in args else "vector"
    require(
        engine in ("vector", "unknown"),
        f"{name}: engine is {engine} but nl.{on_bits[0]} runs on vector only",
    )


def steps(*operands: str) -> Check:
    """Each operation has its operand: ``op0`` the first of these, ``op1`` the second.

    An operand is a number or one value per partition, in float32 for arithmetic.
    """

    def check(name: str, args: Args, limits: Limits) -> None:
        for position, what in enumerate(operands):
            op, value = args[f"op{position}"], args[what]
            if op is None:
                require(value is None, f"{name}: {what} is given but op{position} is not")
                continue
            require(
                value is not None or op.name in UNARY,
                f"{name}: {what} is missing but nl.{op.name} takes two operands",
            )
            exact = op.name in published()["bitwise"]
            per_partition(what, dtype=None if exact else "float32")(name, args, limits)

    return check


def comparisons(*names: str) -> Check:
    """These arguments are comparisons."""

    def check(name: str, args: Args, limits: Limits) -> None:
        for what in names:
            op = args[what]
            require(
                isinstance(op, Token) and op.name in COMPARISONS,
                f"{name}: {what} is {op!r} but must be a comparison of nl",
            )

    return check

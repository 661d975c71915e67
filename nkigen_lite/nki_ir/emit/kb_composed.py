"""Ops for which the Kernel Builder has no known call of their own, as several known ones.

They compute the same, through scratch tiles in SBUF, at the price of more instructions. What the
calls are is said in :mod:`nkigen_lite.nki_ir.emit.kb`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.errors import NotSupported
from nkigen_lite.nki_ir.emit.kb import (
    ARITH_OPS,
    BITVEC_OPS,
    KbTemplate,
    Tracing,
    enum_member,
    other_way_round,
    scalar_calls,
    scalar_steps,
    temporaries,
)

New = Callable[[Sequence[int], DType], Any]


def converted(tracing: Tracing, new: New, value: Value, dtype: DType) -> Any:
    """A scratch tile with a value's elements in another type."""
    made = new(value.type.shape, dtype)
    tracing.isa.tensor_copy(dst=made, src=tracing.tile(value))
    return made


def _negate(tracing: Tracing, tile: Any) -> None:
    copies = tracing.isa.activation_function.copy
    tracing.isa.activation(dst=tile, src=tile, bias=0.0, scale=-1.0, op=copies)


# --- activations ---------------------------------------------------------------------------------


def activation(op: Op, tracing: Tracing) -> None:
    """op(src * scale + bias); a bias that is a number is put into a column, and a scale per
    partition is multiplied before."""
    dst, src, *columns = op.inputs
    with temporaries(tracing) as new:
        _activate(op, tracing, new, (dst, src), columns)


def activation_reduce(op: Op, tracing: Tracing) -> None:
    """The same, and the sums of what it makes."""
    dst, sums, src, *columns = op.inputs
    with temporaries(tracing) as new:
        _activate(op, tracing, new, (dst, src), columns, tracing.column(sums))


def activation_accumulate(op: Op, tracing: Tracing) -> None:
    """The same, added to sums that are there."""
    dst, sums, src, *columns = op.inputs
    total = tracing.column(sums)
    with temporaries(tracing) as new:
        mine = new((sums.type.partition_size, 1), sums.type.dtype)
        _activate(op, tracing, new, (dst, src), columns, mine)
        adds = tracing.isa.arith_op.Add
        tracing.isa.tensor_tensor_arith(dst=total, lhs=total, rhs=mine, op=adds)


def _activate(
    op: Op,
    tracing: Tracing,
    new: New,
    tiles: tuple[Value, Value],
    columns: Sequence[Value],
    sums: Any = None,
) -> None:
    isa, (dst, src) = tracing.isa, tiles
    given, scale, bias = list(columns), op.attrs["scale"], op.attrs["bias"]
    source = tracing.tile(src)
    if scale is None:
        factor, scale = tracing.column(given.pop()), 1.0
        source = converted(tracing, new, src, DType.F32)
        scalar_calls(tracing, source, source, [(isa.arith_op.Multiply, factor)])
    if given:
        bias = tracing.column(given[0])
    elif bias:
        column = new((dst.type.partition_size, 1), DType.F32)
        isa.memset(dst=column, value=bias)
        bias = column
    reduced = {} if sums is None else _summing(tracing, sums)
    function = enum_member(op, tracing, "activation_function", op.attrs["op"])
    isa.activation(
        dst=tracing.tile(dst), src=source, bias=bias, scale=scale, op=function, **reduced
    )


def _summing(tracing: Tracing, sums: Any) -> dict[str, Any]:
    adds, resets = tracing.isa.activation_reduce_op.Add, tracing.isa.reduce_cmd.ResetReduce
    return {"reduce_res": sums, "reduce_op": adds, "reduce_cmd": resets}


# --- reductions and scans ------------------------------------------------------------------------


def reduce(tracing: Tracing, name: str, dst: Any, src: Any, count: int) -> None:
    """Reduce the last ``count`` dimensions."""
    operation = getattr(tracing.isa.arith_op, ARITH_OPS[name])
    tracing.isa.tensor_reduce_arith(dst=dst, src=src, op=operation, num_r_dim=count)


def tensor_reduce(op: Op, tracing: Tracing) -> None:
    """A reduction; negated by a second call."""
    dst, src = (tracing.tile(value) for value in op.inputs)
    reduce(tracing, op.attrs["op"], dst, src, op.attrs["num_r_dim"])
    if op.attrs["negate"]:
        _negate(tracing, dst)


def tensor_scalar_reduce(op: Op, tracing: Tracing) -> None:
    """src op0 s, and its reduction over the free dimensions."""
    dst, result, src, *columns = op.inputs
    reduced, f32 = tracing.column(result), DType.F32
    with temporaries(tracing) as new:
        source = tracing.tile(src) if src.type.dtype is f32 else converted(tracing, new, src, f32)
        made = tracing.tile(dst) if dst.type.dtype is f32 else new(dst.type.shape, f32)
        scalar_calls(tracing, made, source, scalar_steps(op, tracing, columns, (0,)))
        reduce(tracing, op.attrs["reduce_op"], reduced, made, src.type.rank - 1)
        if op.attrs["negate"]:
            _negate(tracing, reduced)
        if dst.type.dtype is not f32:
            tracing.isa.tensor_copy(dst=tracing.tile(dst), src=made)


def tensor_scalar_cumulative(starts: dict[str, float]) -> KbTemplate:
    """state = (src op0 s) op1 state; a scan whose second step adds zeros.

    Args:
        starts: by ``op1``, the first state where none is given.
    """

    def call(op: Op, tracing: Tracing) -> None:
        dst, src, *columns = op.inputs
        name, first = op.attrs["op1"], op.attrs["initial"]
        with temporaries(tracing) as new:
            made = converted(tracing, new, src, DType.F32)
            scalar_calls(tracing, made, made, scalar_steps(op, tracing, columns, (0,)))
            zeros = new(src.type.shape, DType.F32)
            tracing.isa.memset(dst=zeros, value=0.0)
            tracing.isa.tensor_tensor_scan(
                dst=tracing.tile(dst),
                src0=made,
                src1=zeros,
                imm0=starts[name] if first is None else first,
                op0=enum_member(op, tracing, "arith_op", name, ARITH_OPS),
                op1=tracing.isa.arith_op.Add,
            )

    return call


def tensor_tensor_scan(op: Op, tracing: Tracing) -> None:
    """state = (a op0 state) op1 b, from a number or a column on; ``state - a`` adds ``-a``."""
    dst, a, b, *columns = op.inputs
    names, initial = [op.attrs["op0"], op.attrs["op1"]], op.attrs["initial"]
    with temporaries(tracing) as new:
        first = tracing.tile(a)
        if op.attrs["reverse0"] and names[0] == "subtract":
            first, names[0] = converted(tracing, new, a, DType.F32), "add"
            _negate(tracing, first)
        elif op.attrs["reverse0"]:
            names[0] = other_way_round(op, names[0])
        if op.attrs["reverse1"]:
            names[1] = other_way_round(op, names[1])
        tracing.isa.tensor_tensor_scan(
            dst=tracing.tile(dst),
            src0=first,
            src1=tracing.tile(b),
            imm0=tracing.column(columns[0]) if initial is None else initial,
            op0=enum_member(op, tracing, "arith_op", names[0], ARITH_OPS),
            op1=enum_member(op, tracing, "arith_op", names[1], ARITH_OPS),
        )


def bn_stats(op: Op, tracing: Tracing) -> None:
    """Count, mean and variance * count of the even elements, then of the odd ones."""
    dst, src = op.inputs
    rows, size = src.type.partition_size, src.type.free_size
    with temporaries(tracing) as new:
        x = converted(tracing, new, src, DType.F32)
        made = new((rows, 6), DType.F32)
        for half, count in enumerate((-(-size // 2), size // 2)):
            triple = [made.ap([[6, rows], [1, 1]], 3 * half + k) for k in range(3)]
            tracing.isa.memset(dst=triple[0], value=float(count))
            if count:
                part = x.ap([[size, rows], [2, count]], half)
                _moments(tracing, new, part, (rows, count), triple)
            else:
                for column in triple[1:]:
                    tracing.isa.memset(dst=column, value=0.0)
        tracing.isa.tensor_copy(dst=tracing.tile(dst), src=made)


def _moments(
    tracing: Tracing, new: New, x: Any, shape: tuple[int, int], triple: Sequence[Any]
) -> None:
    isa, (_, mean, squares) = tracing.isa, triple
    reduce(tracing, "add", mean, x, 1)
    scalar_calls(tracing, mean, mean, [(isa.arith_op.Multiply, 1.0 / shape[1])])
    apart = new(shape, DType.F32)
    scalar_calls(tracing, apart, x, [(isa.arith_op.Subtract, mean)])
    isa.activation(
        dst=apart,
        src=apart,
        bias=0.0,
        scale=1.0,
        op=isa.activation_function.square,
        **_summing(tracing, squares),
    )


def bn_aggr(op: Op, tracing: Tracing) -> None:
    """Mean and variance of sets of elements from their counts, means and variances * counts."""
    dst, src = op.inputs
    rows, size = src.type.partition_size, src.type.free_size
    sets, isa = size // 3, tracing.isa
    multiplies, adds = isa.arith_op.Multiply, isa.arith_op.Add
    with temporaries(tracing) as new:
        x, made = converted(tracing, new, src, DType.F32), new((rows, 2), DType.F32)
        counts, means, squares = (x.ap([[size, rows], [3, sets]], k) for k in range(3))
        mean, variance = (made.ap([[2, rows], [1, 1]], k) for k in range(2))
        part, inverse = new((rows, sets), DType.F32), new((rows, 1), DType.F32)
        reduce(tracing, "add", inverse, counts, 1)
        inverts = isa.activation_function.reciprocal
        isa.activation(dst=inverse, src=inverse, bias=0.0, scale=1.0, op=inverts)
        isa.tensor_tensor_arith(dst=part, lhs=counts, rhs=means, op=multiplies)
        reduce(tracing, "add", mean, part, 1)
        scalar_calls(tracing, mean, mean, [(multiplies, inverse)])
        scalar_calls(tracing, part, means, [(isa.arith_op.Subtract, mean)])
        isa.tensor_tensor_arith(dst=part, lhs=part, rhs=part, op=multiplies)
        isa.tensor_tensor_arith(dst=part, lhs=part, rhs=counts, op=multiplies)
        isa.tensor_tensor_arith(dst=part, lhs=part, rhs=squares, op=adds)
        reduce(tracing, "add", variance, part, 1)
        scalar_calls(tracing, variance, variance, [(multiplies, inverse)])
        isa.tensor_copy(dst=tracing.tile(dst), src=made)


# --- bits ----------------------------------------------------------------------------------------


def tensor_scalar_bitvec(op: Op, tracing: Tracing) -> None:
    """(x op0 n0) op1 n1 on bits, a call each; inverting is an exclusive or with ones."""
    dst, src = (tracing.tile(value) for value in op.inputs)
    for step in (0, 1):
        name, number = op.attrs[f"op{step}"], op.attrs[f"imm{step}"]
        if name is None:
            continue
        if name == "invert":
            name, number = "bitwise_xor", _ones(op.inputs[0].type.dtype)
        operation = enum_member(op, tracing, "bitvec_op", name, BITVEC_OPS)
        tracing.isa.tensor_scalar_bitvec(dst=dst, src=src, operand0=number, op0=operation)
        src = dst


def _ones(dtype: DType) -> int:
    """The number of an integer type whose bits are all set."""
    return 2 ** (8 * dtype.itemsize) - 1 if dtype.value.startswith("u") else -1


# --- rows chosen at run time ---------------------------------------------------------------------


def rows(table: int, tile: int) -> KbTemplate:
    """A copy of rows of a table in HBM, at an index per partition or from one offset on.

    Args:
        table: which of the first two operands is the table.
        tile: which is on chip.
    """

    def call(op: Op, tracing: Tracing) -> None:
        if op.attrs["oob"] != "error":
            raise NotSupported(f"emit_to_kb: {op.opcode}: how rows are skipped is not known")
        where = op.inputs[2]
        if where.type.num_elements == 1:
            size = op.inputs[tile].type.shape[op.attrs["dim"]]
            chosen = tracing.block_at(op, op.inputs[table], where, size)
        else:
            chosen = tracing.rows_at(op.inputs[table], where)
        held = tracing.tile(op.inputs[tile])
        dst, src = (chosen, held) if table == 0 else (held, chosen)
        if op.attrs["add"]:
            _add_rows(tracing, op.inputs[tile], dst, src)
        else:
            tracing.isa.dma_copy(dst=dst, src=src)

    return call


def _add_rows(tracing: Tracing, tile: Value, dst: Any, src: Any) -> None:
    """dst + src into dst: both are brought on chip, added in float32, and brought back."""
    with temporaries(tracing) as new:
        added = [new(tile.type.shape, tile.type.dtype) for _ in range(2)]
        for made, of in zip(added, (dst, src), strict=True):
            tracing.isa.dma_copy(dst=made, src=of)
        adds = tracing.isa.arith_op.Add
        tracing.isa.tensor_tensor_arith(dst=added[0], lhs=added[0], rhs=added[1], op=adds)
        tracing.isa.dma_copy(dst=dst, src=added[0])

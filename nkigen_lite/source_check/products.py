"""Rules of the instructions that compute, beyond those that many share."""

from __future__ import annotations

import math

from nkigen_lite.source_check.facts import Limits
from nkigen_lite.source_check.findings import require
from nkigen_lite.source_check.movement import check_pattern, same_bank
from nkigen_lite.source_check.operands import Args, one_of
from nkigen_lite.source_check.steps import UNARY
from nkigen_lite.source_check.tensors import View

MATMUL_NARROW = {"float8_e4m3", "float8_e4m3fn", "float8_e5m2", "bfloat16", "float16"}
MATMUL_WIDE = {"float32", "tfloat32"}
CONTRACTION_MAX = STATIONARY_MAX = 128
ARRAY_TILES = (32, 64, 128)  # rows or columns; 32 from trn2 on
SUMMED_MAX = 16384
FP32_MIN = -3.4028235e38
REDUCTIONS = (
    *("add", "subtract", "multiply", "maximum", "minimum"),
    *("logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or"),
)
# What ScalarE does of tensor_scalar (nki.isa.tensor_scalar).
SCALAR_STEPS = {("multiply", None), ("add", None), ("multiply", "add")}


def check_matmul(name: str, args: Args, limits: Limits) -> None:
    """nc_matmul: sizes, types, and one PSUM bank."""
    dst, stationary, moving = args["dst"], args["stationary"], args["moving"]
    require(
        type(args["accumulate"]) is bool,
        f"{name}: accumulate is {args['accumulate']!r} but must be True or False, so that every "
        "sum has a clear beginning",
    )
    pairs = 2 if args["perf_mode"].name.startswith("double_row") else 1  # rows per partition
    weights, moved = stationary.free_size // pairs, moving.free_size // pairs
    moving_max = limits.moving_bytes // dst.dtype.bytes
    for what, size, most in (
        ("contraction", stationary.partitions, CONTRACTION_MAX),
        ("stationary's free size", weights, STATIONARY_MAX),
        ("moving's free size", moved, moving_max),
    ):
        require(size <= most, f"{name}: {what} is {size} but at most {most}")
    require(
        (dst.partitions, dst.free_size) == (weights, moved),
        f"{name}: dst has {dst.partitions} x {dst.free_size} elements but the product has "
        f"{weights} x {moved}",
    )
    require(
        str(dst.dtype) in limits.matmul_dtypes,
        f"{name}: dst is {dst.dtype} but {limits.name} sums in {' or '.join(limits.matmul_dtypes)}",
    )
    pair = {str(stationary.dtype), str(moving.dtype)}
    mixes = pair <= MATMUL_NARROW or (len(pair) == 1 and pair <= MATMUL_WIDE)
    require(
        mixes and not {"float8_e4m3", "float8_e4m3fn"} <= pair,
        f"{name}: {stationary.dtype} and {moving.dtype} do not multiply with each other",
    )
    same_bank(name, dst, limits)
    _check_array_tile(name, args, limits)


def _check_array_tile(name: str, args: Args, limits: Limits) -> None:
    """The part of the PE array that a matmul uses: where it may begin, and that operands fit."""
    position, size = args["tile_position"], args["tile_size"]
    if not position and not size:
        return
    least = ARRAY_TILES[0] if limits.generation >= 3 else ARRAY_TILES[1]
    legal = all(
        isinstance(pair, tuple) and len(pair) == 2 and all(type(n) is int for n in pair)
        for pair in (position, size)
    ) and all(
        n >= least and n in ARRAY_TILES and first % n == 0 and 0 <= first <= CONTRACTION_MAX - n
        for first, n in zip(position, size, strict=True)
    )
    require(
        legal,
        f"{name}: tile_position is {position} and tile_size {size} but sizes must be "
        f"{' or '.join(str(n) for n in ARRAY_TILES if n >= least)}, positions multiples of them",
    )
    rows, columns = args["stationary"].partitions, args["dst"].partitions
    require(
        rows <= size[0] and columns <= size[1],
        f"{name}: the product has {rows} rows and {columns} columns but tile_size is {size}",
    )


def check_tensor_tensor(name: str, args: Args, limits: Limits) -> None:
    """tensor_tensor: two operands; power runs on GpSimd."""
    op = args["op"].name
    require(op not in UNARY, f"{name}: op is nl.{op}, which takes one operand")
    views = [args[n] for n in ("dst", "data1", "data2")]
    if op == "power":
        require(
            all(v.region.name == "sbuf" for v in views),
            f"{name}: power runs on gpsimd, which cannot reach psum",
        )


def check_scalar_engine(name: str, args: Args, limits: Limits) -> None:
    """tensor_copy and tensor_scalar on ScalarE: not before trn2, and few combinations."""
    engine = args["engine"].name
    steps = tuple(args[n].name if args.get(n) else None for n in ("op0", "op1"))
    if engine == "scalar":
        require(
            limits.generation >= 3 or name != "nisa.tensor_copy",
            f"{name}: engine is scalar, which on {limits.name} does not copy",
        )
        require(
            name == "nisa.tensor_copy" or steps in SCALAR_STEPS,
            f"{name}: steps are {' then '.join(filter(None, steps))} but the scalar engine only "
            "multiplies, adds, or multiplies then adds",
        )
    if engine == "gpsimd" and name == "nisa.tensor_scalar":
        require(steps[0] == "rsqrt", f"{name}: engine is gpsimd, which only computes rsqrt")


def check_bias(name: str, args: Args, limits: Limits) -> None:
    """The bias of an activation: a number only from trn2 on; never tfloat32."""
    bias = args["bias"]
    if isinstance(bias, View):
        require(str(bias.dtype) != "tfloat32", f"{name}: bias is tfloat32, which it may not be")
    elif bias is not None:
        require(
            limits.generation >= 3,
            f"{name}: bias is the number {bias} but on {limits.name} it must be a tile",
        )


def check_activation(name: str, args: Args, limits: Limits) -> None:
    """activation: a sum beside the result needs a command that clears the registers."""
    command, result = args["reduce_cmd"].name, args["reduce_res"]
    if result is None:
        require(
            command == "idle",
            f"{name}: reduce_cmd is {command} but there is no reduce_res",
        )
        return
    require(
        command in ("reset_reduce", "reduce"),
        f"{name}: reduce_res is given but reduce_cmd is {command}, which leaves old sums in it",
    )
    check_accumulated_sum(name, args, limits)


def check_accumulated_sum(name: str, args: Args, limits: Limits) -> None:
    """The sum over free elements that ScalarE makes beside its result."""
    one_of("reduce_op", "add")(name, args, limits)
    require(args["reduce_op"] is not None, f"{name}: reduce_op is missing beside reduce_res")
    result, data = args["reduce_res"], args["data"]
    require(
        result.shape == (data.partitions, 1),
        f"{name}: reduce_res is {result} but must have the shape ({data.partitions}, 1)",
    )
    require(
        data.free_size <= SUMMED_MAX,
        f"{name}: sums {data.free_size} elements per partition but at most {SUMMED_MAX}",
    )


def check_tensor_reduce(name: str, args: Args, limits: Limits) -> None:
    """tensor_reduce: the last free dimensions, and dst of the shape that leaves."""
    one_of("op", *REDUCTIONS)(name, args, limits)
    data, dst, axis = args["data"], args["dst"], args["axis"]
    axes = axis if isinstance(axis, tuple) else (axis,)
    require(all(type(a) is int for a in axes), f"{name}: axis is {axis!r} but must be ints")
    rank = len(data.shape)
    last = tuple(range(rank - len(axes), rank))
    require(
        axes == last and last[0] > 0,
        f"{name}: axis is {axis} but must be the last free dimensions of {data.shape}",
    )
    kept, ones = data.shape[: last[0]], (1,) * len(axes)
    wanted = kept + ones if args["keepdims"] or len(kept) == 1 else kept
    require(
        dst.shape in (wanted, kept + ones if len(kept) == 1 else wanted),
        f"{name}: dst has the shape {dst.shape} but must have {wanted}",
    )


def check_partition_reduce(name: str, args: Args, limits: Limits) -> None:
    """tensor_partition_reduce: one row of the data's free elements."""
    one_of("op", "add", "average", "maximum", "bitwise_or", "bitwise_and")(name, args, limits)
    dst, data = args["dst"], args["data"]
    require(
        dst.partitions == 1 and dst.free_size == data.free_size,
        f"{name}: dst has {dst.partitions} x {dst.free_size} elements but must have "
        f"1 x {data.free_size}",
    )


def check_affine_select(name: str, args: Args, limits: Limits) -> None:
    """affine_select: an affine pattern, and a float where the comparison is false."""
    check_pattern(name, args["pattern"], args["dst"])
    require(
        type(args["on_false_value"]) is float,
        f"{name}: on_false_value is {args['on_false_value']!r} but must be a float",
    )


def check_range_select(name: str, args: Args, limits: Limits) -> None:
    """range_select: the least float32 where a comparison is false, the default."""
    value = args["on_false_value"]
    require(
        value is ... or (type(value) is float and math.isclose(value, FP32_MIN, rel_tol=1e-7)),
        f"{name}: on_false_value is {value!r} but must be {FP32_MIN}",
    )
    one_of("reduce_op", "maximum")(name, args, limits)


def check_select_reduce(name: str, args: Args, limits: Limits) -> None:
    """select_reduce: no 32-bit integers, and maxima only."""
    found = str(args["on_true"].dtype)
    require(
        found not in ("int32", "uint32", "tfloat32"),
        f"{name}: on_true is {found}, which it may not be",
    )
    one_of("reduce_op", "maximum")(name, args, limits)


def check_local_gather(name: str, args: Args, limits: Limits) -> None:
    """local_gather: groups of 16 partitions share their indices."""
    rows = args["dst"].partitions
    require(rows % 16 == 0, f"{name}: dst has {rows} partitions but must have a multiple of 16")


def check_bounds(name: str, args: Args, limits: Limits) -> None:
    """sequence_bounds: the start and end of the segment of each of a row's n elements."""
    dst, ids = args["dst"], args["segment_ids"]
    require(
        ids.partitions == 1 and dst.shape == (1, 2, ids.free_size),
        f"{name}: dst is {dst.shape}, segment_ids {ids.shape} but must be (1, 2, n), (1, n)",
    )


def check_triples(name: str, args: Args, limits: Limits) -> None:
    """bn_aggr: what bn_stats wrote, three values per set of elements."""
    size = math.prod(args["data"].shape[1:])
    require(size % 3 == 0, f"{name}: data has {size} elements per partition but must have triples")

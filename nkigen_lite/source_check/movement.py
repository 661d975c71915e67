"""Rules of the instructions that move or fill: copies, transposes, memset, iota."""

from __future__ import annotations

import math

from nkigen_lite.source_check.facts import Limits, Member
from nkigen_lite.source_check.findings import require
from nkigen_lite.source_check.operands import Args
from nkigen_lite.source_check.tensors import View

DMA_PERMUTATIONS = ((1, 0), (2, 1, 0), (3, 1, 2, 0))
VECTOR_TRANSPOSE_MAX = 32


def check_dma(name: str, args: Args, limits: Limits) -> None:
    """dma_copy: equal shapes; engines and conversion by the mode of descriptor generation."""
    dst, src, mode = args["dst"], args["src"], args["dge_mode"].name
    require(
        dst.shape == src.shape, f"{name}: shapes are dst {dst.shape}, src {src.shape} but must "
        "be equal"
    )  # fmt: skip
    require(
        dst.index is None or src.index is None,
        f"{name}: dst and src are both indirect but at most one may be",
    )
    for what, view in (("dst", dst), ("src", src)):
        require(
            view.index is None or not view.region.on_chip,
            f"{name}: {what} is indirect in {view.region.name} but must be in hbm",
        )
    if mode == "hwdge":
        require(limits.generation >= 3, f"{name}: dge_mode is hwdge, which {limits.name} has not")
        require(
            dst.dtype == src.dtype,
            f"{name}: {src.dtype} becomes {dst.dtype} but dge_mode hwdge does not convert",
        )
    require(
        args["engine"].name == "unknown" or mode == "hwdge",
        f"{name}: engine is {args['engine'].name} but that goes with dge_mode hwdge only",
    )
    require(
        args["priority"] is None or limits.generation >= 4,
        f"{name}: priority is {args['priority']} but {limits.name} has none",
    )


def check_dma_transpose(name: str, args: Args, limits: Limits) -> None:
    """dma_transpose: one of three permutations, and dst of exactly the permuted shape."""
    dst, src, axes = args["dst"], args["src"], args["axes"]
    axes = tuple(axes) if axes is not None else tuple(reversed(range(len(src.shape))))
    require(axes in DMA_PERMUTATIONS, f"{name}: axes are {axes} but must be one of "
            f"{', '.join(map(str, DMA_PERMUTATIONS))}")  # fmt: skip
    wanted = tuple(src.shape[a] for a in axes) if len(axes) == len(src.shape) else None
    require(dst.shape == wanted, f"{name}: dst has the shape {dst.shape} but must have {wanted}")
    require(src.dtype.bytes in (2, 4), f"{name}: src is {src.dtype} but must have 2 or 4 bytes")


def check_transpose(name: str, args: Args, limits: Limits) -> None:
    """nc_transpose: sizes by the engine, equal types, dst of the transposed shape."""
    dst, data, engine = args["dst"], args["data"], args["engine"].name
    wanted = (data.free_size, data.partitions)
    require(
        (dst.partitions, dst.free_size) == wanted,
        f"{name}: dst has {dst.partitions} x {dst.free_size} elements but must have "
        f"{wanted[0]} x {wanted[1]}",
    )
    require(
        dst.dtype == data.dtype, f"{name}: dtypes are dst {dst.dtype}, data {data.dtype} but "
        "must be equal"
    )  # fmt: skip
    most = VECTOR_TRANSPOSE_MAX if engine == "vector" else limits.partitions
    require(
        max(wanted) <= most,
        f"{name}: data has {data.partitions} x {data.free_size} elements but at most "
        f"{most} x {most} on the {engine} engine",
    )
    if engine == "tensor":
        require(
            (data.region.name, dst.region.name) == ("sbuf", "psum"),
            f"{name}: data is in {data.region.name} and dst in {dst.region.name} but the tensor "
            "engine reads sbuf and writes psum",
        )
        same_bank(name, dst, limits)


def same_bank(name: str, dst: View, limits: Limits) -> None:
    """What the tensor engine writes stays inside one PSUM bank (trn3: inside the partition)."""
    first, last = dst.free_bytes()
    require(
        last < limits.psum_banks * limits.psum_bank_bytes,
        f"{name}: dst ends at byte {last} of a partition of psum",
    )
    size = limits.moving_bytes
    require(
        first // size == last // size,
        f"{name}: dst takes bytes {first} to {last} of a partition but must stay inside one bank "
        f"of {size} bytes",
    )


def check_shuffle(name: str, args: Args, limits: Limits) -> None:
    """nc_stream_shuffle: a mask of 32 partitions of a quadrant; 255 leaves one as it is."""
    dst, src, mask = args["dst"], args["src"], args["shuffle_mask"]
    require(
        -(-dst.partitions // 32) == -(-src.partitions // 32) and dst.free_size == src.free_size,
        f"{name}: dst has {dst.partitions} x {dst.free_size}, src {src.partitions} x "
        f"{src.free_size} elements but both must lie in as many groups of 32 partitions",
    )
    legal = isinstance(mask, list) and len(mask) == 32
    require(legal, f"{name}: shuffle_mask is {mask!r} but must be a list of 32 ints")
    require(
        all(type(m) is int and (0 <= m < 32 or m == 255) for m in mask),
        f"{name}: shuffle_mask holds a number that is neither 0 to 31 nor 255",
    )


def check_memset(name: str, args: Args, limits: Limits) -> None:
    """memset: an int for integer types, a float for the others."""
    dst, value = args["dst"], args["value"]
    wanted = int if dst.dtype.is_integer else float
    require(
        type(value) is wanted,
        f"{name}: value is {value!r} but must be of type {wanted.__name__} for {dst.dtype}",
    )


def check_iota(name: str, args: Args, limits: Limits) -> None:
    """iota: at most four (step, count) pairs whose counts make dst's elements per partition."""
    check_pattern(name, args["pattern"], args["dst"])
    for what in ("offset", "channel_multiplier"):
        require(type(args[what]) is int, f"{name}: {what} is {args[what]!r} but must be an int")


def check_pattern(name: str, pattern: object, dst: View) -> None:
    """A list of at most four [step, count] pairs that covers a tile's free elements."""
    pairs = pattern if isinstance(pattern, list) else []
    legal = 1 <= len(pairs) <= 4 and all(
        isinstance(p, list) and len(p) == 2 and all(type(n) is int for n in p) for p in pairs
    )
    require(legal, f"{name}: pattern is {pattern!r} but must be 1 to 4 pairs [step, count]")
    covered = math.prod(count for _, count in pairs)
    require(
        covered == dst.free_size,
        f"{name}: pattern covers {covered} elements but dst has {dst.free_size} per partition",
    )


def engine_of(argument: object, engines: tuple[str, ...]) -> str:
    """Who runs an instruction: the engine it is given, or else its first one."""
    if isinstance(argument, Member) and argument.name != "unknown":
        return argument.name
    return engines[0]

"""Rules that many instructions share.

Sources: aws-neuron-sdk, nki.isa reference of 0.6, trainium2_arch.rst (memory spaces, start
partitions, access patterns), as restated beside each rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nkigen_lite.source_check.facts import Limits, Token, published
from nkigen_lite.source_check.findings import require
from nkigen_lite.source_check.tensors import View

Args = Mapping[str, Any]
Check = Callable[[str, Args, Limits], None]

MAX_FREE_DIMS = 4
STRIDE_LIMITS = (-(2**15), 2**15 - 1)  # a 16-bit signed number
COUNT_MAX = 2**16 - 1  # a 16-bit number
FREE_SIZE_MAX = 2**16  # elements per partition ({trainium2,trainium3}_arch.rst)


def compute_operand(name: str, what: str, view: View, limits: Limits) -> None:
    """The rules for every tile that a compute instruction touches."""
    count, start = view.partitions, view.start_partition
    if view.base.address:
        start += view.base.address[0]
    require(
        count <= limits.partitions,
        f"{name}: {what} has {count} partitions but at most {limits.partitions}",
    )
    legal = (0,) if count > 64 else (0, 64) if count > 32 else (0, 32, 64, 96)
    require(
        start in legal,
        f"{name}: {what} starts at partition {start} but {count} partitions must start at "
        f"{' or '.join(map(str, legal))}",
    )
    require(
        start + count <= limits.partitions,
        f"{name}: {what} ends at partition {start + count} of {limits.partitions}",
    )
    require(
        view.free_size <= FREE_SIZE_MAX,
        f"{name}: {what} has {view.free_size} elements in each partition but at most "
        f"{FREE_SIZE_MAX} in one instruction",
    )


def on_chip_pattern(name: str, what: str, view: View) -> None:
    """The rules for every tile that a compute instruction or a DMA touches."""
    require(
        view.free_dims() <= MAX_FREE_DIMS,
        f"{name}: {what} needs {view.free_dims()} free dimensions but at most {MAX_FREE_DIMS}",
    )
    for extent, stride in zip(view.shape[1:], view.strides[1:], strict=True):
        fits = extent <= COUNT_MAX and (
            extent == 1 or STRIDE_LIMITS[0] <= stride <= STRIDE_LIMITS[1]
        )
        require(
            fits,
            f"{name}: {what} has a dimension of {extent} elements {stride} apart, which no access "
            f"pattern holds (at most {COUNT_MAX} elements, {STRIDE_LIMITS[1]} apart)",
        )


def same_shape(*names: str) -> Check:
    """These operands have one shape."""

    def check(name: str, args: Args, limits: Limits) -> None:
        shapes = {n: args[n].shape for n in names}
        said = ", ".join(f"{n} {shape}" for n, shape in shapes.items())
        require(len(set(shapes.values())) == 1, f"{name}: shapes are {said} but must be equal")

    return check


def same_elements(*names: str) -> Check:
    """These operands have one partition count and one number of elements per partition."""

    def check(name: str, args: Args, limits: Limits) -> None:
        sizes = {n: (args[n].partitions, args[n].free_size) for n in names}
        said = ", ".join(f"{n} has {p} x {f}" for n, (p, f) in sizes.items())
        require(
            len(set(sizes.values())) == 1,
            f"{name}: {said} (partitions x elements in each) but they must be equal",
        )

    return check


def same_dtype(*names: str) -> Check:
    """These operands have one element type."""

    def check(name: str, args: Args, limits: Limits) -> None:
        found = {n: str(args[n].dtype) for n in names if isinstance(args[n], View)}
        said = ", ".join(f"{n} {dtype}" for n, dtype in found.items())
        require(len(set(found.values())) <= 1, f"{name}: dtypes are {said} but must be equal")

    return check


def one_psum(*names: str) -> Check:
    """At most one of these inputs is read from PSUM."""

    def check(name: str, args: Args, limits: Limits) -> None:
        inside = [n for n in names if isinstance(args[n], View) and args[n].region.name == "psum"]
        require(
            len(inside) <= 1,
            f"{name}: {' and '.join(inside)} are both in psum but at most one input may be",
        )

    return check


def per_partition(*names: str, dtype: str | None = "float32") -> Check:
    """These operands are numbers, or tiles (P, 1) with one value for each partition of ``data``."""

    def check(name: str, args: Args, limits: Limits) -> None:
        rows = args["dst"].partitions
        for what in names:
            value = args[what]
            if value is None:
                continue
            if not isinstance(value, View):
                require(
                    type(value) in (int, float),
                    f"{name}: {what} is {value!r} but must be a number or a tile ({rows}, 1)",
                )
                continue
            require(
                value.shape == (rows, 1),
                f"{name}: {what} is {value} but must have the shape ({rows}, 1)",
            )
            require(
                dtype is None or str(value.dtype) == dtype,
                f"{name}: {what} is {value.dtype} but must be {dtype}",
            )

    return check


def dtype_in(what: str, legal: tuple[str, ...]) -> Check:
    """The operand's element type is one of these, if there is one."""

    def check(name: str, args: Args, limits: Limits) -> None:
        if args[what] is None:
            return
        found = str(args[what].dtype)
        require(found in legal, f"{name}: {what} is {found} but must be one of {', '.join(legal)}")

    return check


def operation(*names: str, legal: tuple[str, ...]) -> Check:
    """These arguments name operations of some lists of ``facts.json`` (or None, if optional)."""

    def check(name: str, args: Args, limits: Limits) -> None:
        known = {item for kind in legal for item in published()[kind]}
        for what in names:
            value = args[what]
            if value is None:
                continue
            require(
                isinstance(value, Token) and value.name in known,
                f"{name}: {what} is {value!r} but must be one of nl's {' or '.join(legal)}",
            )
            newer = value.name == "abs_min" or (value.name in ("square", "relu") and what == "op0")
            require(
                limits.generation >= 4 or not newer,
                f"{name}: {what} is nl.{value.name}, which {limits.name} has not",
            )

    return check


def one_of(what: str, *legal: str) -> Check:
    """The operation is one of these."""

    def check(name: str, args: Args, limits: Limits) -> None:
        value = args[what]
        require(
            value is None or (isinstance(value, Token) and value.name in legal),
            f"{name}: {what} is {value!r} but must be one of {', '.join(legal)}",
        )

    return check


def free_between(what: str, least: int, most: int) -> Check:
    """The operand's elements per partition are in a range."""

    def check(name: str, args: Args, limits: Limits) -> None:
        size = args[what].free_size
        require(
            least <= size <= most,
            f"{name}: {what} has {size} elements per partition but must have {least} to {most}",
        )

    return check


def free_is(what: str, size: int) -> Check:
    """The operand has so many elements per partition."""
    return free_between(what, size, size)

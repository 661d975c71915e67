"""Collectives: what the ranks of a group exchange. Every rank runs the same kernel.

Rules: aws-neuron-sdk, nki.collectives reference (NKI 0.6). An op moves one tensor of each rank; its
meaning is a function of the buffers of all ranks (``exchange``), which run_ranks calls when all of
them have come to it. No price is published, so kernels with collectives have no predicted time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array
from nkigen_lite.core.ir import Op
from nkigen_lite.core.registry import Attr, Attrs, Types
from nkigen_lite.errors import InvalidInput, InvalidOp
from nkigen_lite.nki_ir.emit import kb
from nkigen_lite.nki_ir.emit.calls import Argument, Spelling, nisa, token
from nkigen_lite.nki_ir.emit.text import Bracket, Expr
from nkigen_lite.nki_ir.rows.pointers import f32
from nkigen_lite.nki_ir.rows.table import (
    COLLECTIVE,
    DMA_SIDE,
    NKI,
    ONLY_HBM,
    SBUF,
    TileOpDef,
    check_choice,
    compute,
)
from nkigen_lite.nki_ir.types import REGISTER, TileType

Groups = tuple[tuple[int, ...], ...]

_FOLDS: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "maximum": np.maximum,
    "minimum": np.minimum,
}

# --- what ops share ------------------------------------------------------------------------------


def _check_groups(name: str, groups: Groups) -> int:
    """The size of the groups, which share no rank."""
    sizes = {len(group) for group in groups}
    ranks = [rank for group in groups for rank in group]
    if len(sizes) != 1 or 0 in sizes or len(set(ranks)) != len(ranks) or min(ranks) < 0:
        raise InvalidOp(
            f"{name}: replica_groups are {groups} but must be of one size and share no rank"
        )
    return sizes.pop()


def _check_sides(name: str, types: Types) -> tuple[TileType, TileType]:
    dst, src = types
    if dst.dtype != src.dtype or dst.memory is not src.memory:
        raise InvalidOp(f"{name}: {src} to {dst}: dtype and memory must be equal")
    return dst, src


def _check_dim(name: str, dim: int, kind: TileType) -> None:
    most = 1 if kind.memory is SBUF and name == "all_gather" else 0
    if not 0 <= dim <= most:
        raise InvalidOp(f"{name}: dim is {dim} of {kind} but at most {most}")


def _check_shape(name: str, dst: TileType, wanted: tuple[int, ...]) -> None:
    if dst.shape != wanted:
        raise InvalidOp(f"{name}: the result is {dst} but must be of shape {wanted}")


def _scaled(shape: tuple[int, ...], dim: int, factor: int) -> tuple[int, ...]:
    return (*shape[:dim], shape[dim] * factor, *shape[dim + 1 :])


def _members(name: str, groups: Groups, ranks: int) -> Iterator[tuple[int, ...]]:
    """The groups, which must hold every rank that runs."""
    if {rank for group in groups for rank in group} != set(range(ranks)):
        raise InvalidInput(f"{name}: {ranks} ranks run but replica_groups are {groups}")
    yield from groups


def _folded(parts: Sequence[Array], op: str) -> Array:
    """The parts combined in float32, in the order of their ranks."""
    total = f32(parts[0])
    for part in parts[1:]:
        total = _FOLDS[op](total, f32(part))
    return total


def _listed(position: int) -> Argument:
    """The operand in a list of one, as collectives take them."""

    def make(op: Op, spelling: Spelling) -> Expr:
        return Expr("", (Bracket("[", (spelling.value(op.inputs[position]),), "]"),))

    return make


def _group_text(op: Op, spelling: Spelling) -> Expr:
    groups = [list(group) for group in op.attrs["replica_groups"]]
    return Expr(f"ncc.ReplicaGroup({groups})")


def _dim_text(op: Op, spelling: Spelling) -> Expr:
    return Expr(str(op.attrs["dim"]))


def _kb_call(name: str, *, reduces: bool = False, along: bool = True) -> kb.KbTemplate:
    """The Kernel Builder's collective of the same name.

    For reductions nkipy's only operation is Add; of reduce_scatter no call is on record, its
    keywords are those that all_reduce and all_gather have.
    """
    arguments: dict[str, kb.KbArgument] = {
        "dsts": lambda op, tracing: [tracing.tile(op.inputs[0])],
        "srcs": lambda op, tracing: [tracing.tile(op.inputs[1])],
        "replica_group": lambda op, tracing: tracing.groups(op.attrs["replica_groups"]),
    }
    if along:
        arguments["cc_dim"] = lambda op, tracing: tracing.dimension(op.attrs["dim"])
    if reduces:
        arguments["reduce_op"] = kb.member("dma_compute_reduce_op", "op", {"add": "Add"})
    return kb.kb(name, **arguments)


Exchange = Callable[..., list[Array]]

_GROUPS = Attr("replica_groups", tuple, doc="ranks that exchange with each other")
_DIM = Attr("dim", int, 0)
_OP = Attr("op", str, "add")


def _collective(
    name: str,
    summary: str,
    check: Callable[[Types, Attrs], None],
    exchange: Exchange,
    attrs: tuple[Attr, ...],
    *,
    memory: tuple[Any, ...] = (DMA_SIDE,),
    kb_call: kb.KbTemplate = kb.Unknown(kb.NO_CALL),  # noqa: B008  (a frozen record)
    **arguments: Argument,
) -> None:
    """Define an op in which all ranks meet; operands are dst and src."""

    def alone(dst: Array, src: Array, engine: str, **given: Any) -> Array:
        return exchange([dst], [src], **given)[0]

    compute(
        name,
        summary,
        check,
        alone,
        engines=(COLLECTIVE,),
        arity=(2, 2),
        memory=memory,
        kb=kb_call,
        attrs=attrs,
        effects=("write 0", "read 0"),
        exchange=exchange,
        nki=nisa(
            name,
            bools=lambda op: op.attrs.get("op") != "add",
            module="ncc",
            srcs=_listed(1),
            dsts=_listed(0),
            **arguments,
        ),
    )


# --- the ops -------------------------------------------------------------------------------------


def _check_all_reduce(types: Types, attrs: Attrs) -> None:
    dst, src = _check_sides("all_reduce", types)
    check_choice("all_reduce", "op", attrs["op"], _FOLDS)
    _check_groups("all_reduce", attrs["replica_groups"])
    _check_shape("all_reduce", dst, src.shape)


def _all_reduce(
    dsts: Sequence[Array], srcs: Sequence[Array], replica_groups: Groups, op: str
) -> list[Array]:
    made = list(dsts)
    for group in _members("all_reduce", replica_groups, len(srcs)):
        total = _folded([srcs[rank] for rank in group], op)
        for rank in group:
            made[rank] = total
    return made


_collective(
    "all_reduce",
    "Every rank gets the sum (or the largest, or least) of the sources of its group.",
    _check_all_reduce,
    _all_reduce,
    (_GROUPS, _OP),
    kb_call=_kb_call("all_reduce", reduces=True, along=False),
    replica_group=_group_text,
    op=token("op"),
)


def _check_all_gather(types: Types, attrs: Attrs) -> None:
    dst, src = _check_sides("all_gather", types)
    count = _check_groups("all_gather", attrs["replica_groups"])
    _check_dim("all_gather", attrs["dim"], src)
    _check_shape("all_gather", dst, _scaled(src.shape, attrs["dim"], count))


def _all_gather(
    dsts: Sequence[Array], srcs: Sequence[Array], replica_groups: Groups, dim: int
) -> list[Array]:
    made = list(dsts)
    for group in _members("all_gather", replica_groups, len(srcs)):
        for rank in group:
            made[rank] = np.concatenate([srcs[other] for other in group], axis=dim)
    return made


_collective(
    "all_gather",
    "Every rank gets the sources of its group, one after the other along a dimension.",
    _check_all_gather,
    _all_gather,
    (_GROUPS, _DIM),
    kb_call=_kb_call("all_gather"),
    replica_group=_group_text,
    collective_dim=_dim_text,
)


def _check_reduce_scatter(types: Types, attrs: Attrs) -> None:
    dst, src = _check_sides("reduce_scatter", types)
    check_choice("reduce_scatter", "op", attrs["op"], _FOLDS)
    count = _check_groups("reduce_scatter", attrs["replica_groups"])
    _check_dim("reduce_scatter", attrs["dim"], src)
    if src.shape != _scaled(dst.shape, attrs["dim"], count):
        raise InvalidOp(f"reduce_scatter: {src} does not fall into {count} parts like {dst}")


def _reduce_scatter(
    dsts: Sequence[Array], srcs: Sequence[Array], replica_groups: Groups, dim: int, op: str
) -> list[Array]:
    made = list(dsts)
    for group in _members("reduce_scatter", replica_groups, len(srcs)):
        total = _folded([srcs[rank] for rank in group], op)
        for rank, part in zip(group, np.split(total, len(group), axis=dim), strict=True):
            made[rank] = part
    return made


_collective(
    "reduce_scatter",
    "As all_reduce, of which every rank gets one part along a dimension.",
    _check_reduce_scatter,
    _reduce_scatter,
    (_GROUPS, _DIM, _OP),
    kb_call=_kb_call("reduce_scatter", reduces=True),
    replica_group=_group_text,
    collective_dim=_dim_text,
    op=token("op"),
)


def _check_all_to_all(types: Types, attrs: Attrs) -> None:
    dst, src = _check_sides("all_to_all", types)
    count = _check_groups("all_to_all", attrs["replica_groups"])
    _check_dim("all_to_all", attrs["dim"], src)
    _check_shape("all_to_all", dst, src.shape)
    if src.shape[attrs["dim"]] % count:
        raise InvalidOp(f"all_to_all: {src} does not fall into {count} parts")


def _all_to_all(
    dsts: Sequence[Array], srcs: Sequence[Array], replica_groups: Groups, dim: int
) -> list[Array]:
    made = list(dsts)
    for group in _members("all_to_all", replica_groups, len(srcs)):
        parts = [np.split(srcs[rank], len(group), axis=dim) for rank in group]
        for place, rank in enumerate(group):
            made[rank] = np.concatenate([mine[place] for mine in parts], axis=dim)
    return made


_collective(
    "all_to_all",
    "Rank number i of a group gets part i of every source along a dimension.",
    _check_all_to_all,
    _all_to_all,
    (_GROUPS, _DIM),
    memory=(ONLY_HBM,),
    kb_call=_kb_call("all_to_all"),
    replica_group=_group_text,
    collective_dim=_dim_text,
)


def _check_permute(types: Types, attrs: Attrs) -> None:
    name, pairs = "collective_permute", attrs["pairs"]
    dst, src = _check_sides(name, types)
    _check_shape(name, dst, src.shape)
    for side in (0, 1):
        ranks = [pair[side] for pair in pairs]
        if len(set(ranks)) != len(ranks) or any(rank < 0 for rank in ranks):
            raise InvalidOp(f"{name}: pairs are {pairs} but must name a rank once on each side")


def _permute(
    dsts: Sequence[Array], srcs: Sequence[Array], pairs: tuple[tuple[int, int], ...]
) -> list[Array]:
    made = list(dsts)
    for source, target in pairs:
        if max(source, target) >= len(srcs):
            raise InvalidInput(f"collective_permute: {len(srcs)} ranks run but pairs are {pairs}")
        made[target] = srcs[source]
    return made


_collective(
    "collective_permute",
    "Of each (source, target) pair of ranks the target gets the source's tensor; others keep dst.",
    _check_permute,
    _permute,
    (Attr("pairs", tuple),),
    memory=(ONLY_HBM,),
    source_target_pairs=lambda op, spelling: Expr(repr([list(p) for p in op.attrs["pairs"]])),
)

NKI.define(
    TileOpDef(
        name="rank_id",
        summary="A register that holds the number of the rank that runs the kernel.",
        arity=(0, 0),
        infer=lambda types, attrs: (REGISTER,),
        evaluate=None,
        effects=("alloc",),
        kb=kb.Unknown(kb.NO_CALL),
    )
)

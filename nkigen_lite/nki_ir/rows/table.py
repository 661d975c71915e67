"""The table of tile ops, and the legality checks that its rows share.

Operands come destination first. ``evaluate(dst, *sources, **attrs)`` returns what the destination
holds afterwards; the interpreter rounds that to the destination's type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nkigen_lite.core.ir import Graph, Op
from nkigen_lite.core.registry import Attr, Attrs, Dialect, OpDef, Types
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.emit.calls import Template
from nkigen_lite.nki_ir.emit.kb import KbTemplate
from nkigen_lite.nki_ir.types import ON_CHIP, MemorySpace, Slices, TileType

HBM, SBUF, PSUM, REG = MemorySpace.HBM, MemorySpace.SBUF, MemorySpace.PSUM, MemorySpace.REG
ANY_TILE = frozenset({HBM, SBUF, PSUM})
ONLY_SBUF, ONLY_PSUM, ONLY_HBM, ONLY_REG = (frozenset({m}) for m in (SBUF, PSUM, HBM, REG))
DMA_SIDE = frozenset({HBM, SBUF})


COLLECTIVE = "collective"
"""The engine of what ranks exchange: cores of their own, which have no published price."""

TRN1, TRN2, TRN3 = 2, 3, 4
"""NeuronCore versions by the chip that brought them (aws-neuron-sdk nki.isa.nc_version)."""

Charge = Callable[[Op], Mapping[str, Any]]


def no_charge(op: Op) -> Mapping[str, Any]:
    """The operands' types say all that the cost model asks."""
    return {}


@dataclass(frozen=True, eq=False)
class TileOpDef(OpDef):
    """A tile op's row: the common fields, and what hardware demands.

    Attributes:
        memory: per operand, the memory spaces it may be in; the last entry serves all later ones.
        engines: who may run it, the default first; empty for ops that run nowhere.
        alias: whether result 0 is a view of operand 0.
        nki: how NKI writes the op: a call of ``nki.isa``, or for a view the expression that reads
            it; None for buffers and control flow.
        full: positions of the operands that the cost model counts in full, destinations among
            them; None for all. Others hold one value per partition.
        charge: fields of the cost model's record (``cost_models.Instruction``, or ``Transfer`` for
            a DMA) that the operands' types do not say.
        version: the first NeuronCore version that runs an op of this row.
        kb: how the Kernel Builder is called for the op; None for views, buffers and control flow.
        trips: by the attribute that holds it, how often a region runs for all that is known; None
            for ops without regions.
        sums: position of the operand that takes an engine's accumulator registers.
        keeps: whether what the destination held matters to an op with the effect ``read 0``.
        continues: whether the op goes on from what the registers hold, which must be that operand.
        exchange: of a collective, ``(destinations, sources, **attrs) -> results``, each a list
            with the buffer of every rank.
    """

    memory: tuple[frozenset[MemorySpace], ...] = ()
    engines: tuple[str, ...] = ()
    alias: bool = False
    nki: Template | None = None
    full: tuple[int, ...] | None = None
    charge: Charge = no_charge
    version: Callable[[Op], int] = lambda op: TRN1
    kb: KbTemplate | None = None
    trips: Callable[[Op], Mapping[str, int]] | None = None
    sums: int | None = None
    keeps: Callable[[Op], bool] = lambda op: True
    continues: bool = False
    exchange: Callable[..., list[Any]] | None = None

    @cached_property
    def written(self) -> tuple[int, ...]:
        """Positions of the operands that an op of this row writes, if it has them."""
        writes = [e for e in self.effects or () if e.startswith("write")]
        return tuple(int(effect.split()[1]) for effect in writes)


NKI: Dialect[TileOpDef] = Dialect("nki_ir", [TileType, Slices], prefix="t")


def check_memory(name: str, types: Types, allowed: Sequence[frozenset[MemorySpace]]) -> None:
    """Raise InvalidOp unless every operand is in a memory space that its place allows."""
    for position, kind in enumerate(types):
        spaces = allowed[min(position, len(allowed) - 1)]
        if kind.memory not in spaces:
            legal = " or ".join(sorted(s.value for s in spaces))
            raise InvalidOp(
                f"{name}: operand {position} is in {kind.memory} but must be in {legal}"
            )


def check_partitions(name: str, types: Sequence[TileType]) -> None:
    """All tiles use the same number of partitions."""
    counts = {t.partition_size for t in types}
    if len(counts) > 1:
        raise InvalidOp(
            f"{name}: operands have {sorted(counts)} partitions but must have one count"
        )


def check_same_shape(name: str, types: Sequence[TileType]) -> None:
    """All tiles have one shape."""
    shapes = {t.shape for t in types}
    if len(shapes) > 1:
        raise InvalidOp(
            f"{name}: operand shapes {', '.join(str(t.shape) for t in types)} must be equal"
        )


def check_one_psum(name: str, sources: Sequence[TileType]) -> None:
    """At most one source is read from PSUM (nki_ir's rule 5: one PSUM read port)."""
    if sum(t.memory is PSUM for t in sources) > 1:
        raise InvalidOp(f"{name}: {len(sources)} operands are in psum but at most one may be")


def check_choice(name: str, what: str, value: Any, legal: Any) -> None:
    """``value`` is one of ``legal``."""
    if value not in legal:
        raise InvalidOp(f"{name}: {what} is {value!r} but must be one of {', '.join(legal)}")


def check_engine(row_engines: tuple[str, ...], name: str, types: Types, attrs: Attrs) -> None:
    """The engine may run the op; GpSimd has no path to PSUM."""
    engine = attrs["engine"]
    check_choice(name, "engine", engine, row_engines)
    if engine == "gpsimd" and any(t.memory is PSUM for t in types):
        raise InvalidOp(f"{name}: an operand is in psum but gpsimd cannot reach psum")


def written_operands(op: Op) -> tuple[int, ...]:
    """Positions of the operands that an op of an engine writes, of those that it has."""
    given = len(op.inputs)
    return tuple([at for at in NKI[op.opcode].written if at < given])


def regions_of(op: Op) -> list[tuple[Graph, int]]:
    """The regions that an op runs, each with how often for all that is known."""
    trips = NKI[op.opcode].trips
    return [(op.attrs[name], often) for name, often in trips(op).items()] if trips else []


Check = Callable[[Types, Attrs], None]


def compute(
    name: str,
    summary: str,
    check: Check,
    evaluate: Callable[..., Any],
    *,
    engines: tuple[str, ...],
    arity: tuple[int, int | None],
    attrs: tuple[Attr, ...] = (),
    memory: tuple[frozenset[MemorySpace], ...] = (ON_CHIP,),
    effects: tuple[str, ...] = ("write 0",),
    prepare: Callable[[Types, dict[str, Any]], dict[str, Any]] | None = None,
    full: tuple[int, ...] | None = None,
    charge: Charge = no_charge,
    version: int | Callable[[Op], int] = TRN1,
    sums: int | None = None,
    keeps: Callable[[Op], bool] = lambda op: True,
    continues: bool = False,
    exchange: Callable[..., list[Any]] | None = None,
    nki: Template,
    kb: KbTemplate | None = None,
) -> None:
    """Define an op that an engine runs: it writes its first operand and has no results."""

    def infer(types: Types, attrs: Attrs) -> tuple[Any, ...]:
        check_memory(name, types, memory)
        check_engine(engines, name, types, attrs)
        check(types, attrs)
        return ()

    NKI.define(
        TileOpDef(
            name=name,
            summary=summary,
            arity=arity,
            infer=infer,
            evaluate=evaluate,
            attrs=(*attrs, Attr("engine", str, engines[0], "who runs it")),
            prepare=prepare,
            engine=engines[0],
            effects=effects,
            memory=memory,
            engines=engines,
            nki=nki,
            full=full,
            charge=charge,
            version=version if callable(version) else lambda op: version,
            kb=kb,
            sums=sums,
            keeps=keeps,
            continues=continues,
            exchange=exchange,
        )
    )

"""The question put to the solver, as plain records of integers and names.

A program is a sequence of ops.  A `Candidate` is one way to run a run of consecutive ops as one
fused segment; the picked candidates partition the sequence.  A value that crosses a segment's
boundary lives in HBM, or whole in SBUF in one or more layouts, or both.

Units: ns are integer nanoseconds; SBUF bytes are per partition; HBM bytes are totals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .codec import from_text, to_text

HBM = "hbm"
"""The name of the off-chip home of values, where a layout or a location is asked for."""

Role = Literal["I", "P", "F"]
Location = Literal["hbm", "sbuf"]


class ProblemError(ValueError):
    """A `Problem`, or a constraint or objective of one, that breaks a rule; the message names the
    offender and the rule."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """The cost of moving one value between HBM and SBUF, or from one layout to another.

    `busy` is in ns per resource and overlaps with the other work of its segment; `overhead_ns`
    does not overlap.  `wait_ns` is what its segment waits for it, while the prefetch resource goes
    on.  `sbuf_bytes` are the buffers held meanwhile, per partition.  `early_ns` is the part of
    `busy[problem.prefetch]` that may be done while the segment before still runs: of reads and
    conversions from HBM only, of values that no op produces.  Of a read, `start_ns` is the part of
    that which its segment waits for unless it is done early.  `fill_ns` is how long a plan waits
    that begins with it; of all transfers that it begins with, the longest wait counts.  What
    later segments load waits for the last of a read with `behind_ns`, which is there that long
    before its segment ends: no more can be done by the segment, and none passes that.  `tail_ns` is
    what the segment takes at least after all that it moves, for what it does with the last of it.
    """

    busy: Mapping[str, int]
    overhead_ns: int
    hbm_bytes: int
    sbuf_bytes: int
    instructions: int
    dmas: int
    early_ns: int = 0
    wait_ns: int = 0
    fill_ns: int = 0
    start_ns: int = 0
    behind_ns: int | None = None
    tail_ns: int = 0


@dataclass(frozen=True, slots=True)
class Port:
    """One value crossing a candidate's boundary, in one on-chip layout.

    `hbm` is the cost when the candidate streams the value from HBM (a read) or stores it there (a
    write); `None` means that it cannot.
    """

    value: str
    layout: str
    hbm: Transfer | None


@dataclass(frozen=True, slots=True)
class DimChoice:
    """What a candidate makes of one axis of one value: iterated (I), on partitions (P) or along
    the free dimension (F), in tiles of `tile` elements."""

    value: str
    axis: str
    role: Role
    tile: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run `ops`, a run of consecutive ops, as one fused segment.

    `reads` has a port for every value that an op inside consumes and none inside produces (more
    than one if it is needed in several layouts); `writes` has exactly one port for every value
    produced inside that is a graph output or has a consumer outside.  `busy` (ns per resource),
    `overhead_ns`, `sbuf_bytes` (per partition) and `instructions` leave the ports out.  `wait_ns`
    is what it takes beyond its busiest resource while the prefetch resource goes on.  `fill_ns` is
    added to a plan that begins with the candidate, besides what it waits for transfers, `drain_ns`
    to one that ends with it.
    """

    name: str
    ops: tuple[str, ...]
    reads: tuple[Port, ...]
    writes: tuple[Port, ...]
    busy: Mapping[str, int]
    overhead_ns: int
    sbuf_bytes: int
    psum_banks: int
    instructions: int
    dims: tuple[DimChoice, ...]
    fill_ns: int = 0
    drain_ns: int = 0
    wait_ns: int = 0


@dataclass(frozen=True, slots=True)
class Value:
    """A value of the program.

    `producer` is an op, or `None` for a graph input, which is in HBM from the start.  `output`
    values must end in HBM.  `resident_bytes` maps each layout in which the value can be kept whole
    in SBUF to the bytes that takes per partition.
    """

    name: str
    producer: str | None
    consumers: tuple[str, ...]
    output: bool
    resident_bytes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Conversion:
    """Makes a resident copy of `value` in layout `target`, as a small segment of its own.

    `source` is "hbm", or the layout in which the producing candidate writes the value.  A load
    from HBM runs before the segment that reads the copy first, and `cost.early_ns` of its largest
    busy time while segments before that run, if it is of a graph input.
    """

    value: str
    source: str
    target: str
    cost: Transfer


@dataclass(frozen=True, slots=True)
class Problem:
    """Everything the solver knows: ops in topological order, values, candidates, conversions, and
    the limits of SBUF (bytes per partition) and PSUM (banks).

    `prefetch` is the resource whose early work (`Transfer.early_ns`) a segment does for the next
    one where it has slack (`overlap` says how much); `None`: segments do not overlap.  At most
    `passing_ns` of such work is done before a segment for those after it.
    """

    name: str
    ops: tuple[str, ...]
    values: tuple[Value, ...]
    candidates: tuple[Candidate, ...]
    conversions: tuple[Conversion, ...]
    sbuf_limit_bytes: int
    psum_limit_banks: int
    prefetch: str | None = None
    passing_ns: int = 0

    def validate(self) -> None:
        """Check every rule of the records; raise `ProblemError` naming the offender and rule."""
        from .rules import validate_problem

        validate_problem(self)

    def to_json(self) -> str:
        """This problem as JSON text; equal problems give equal text."""
        return to_text(self)

    @classmethod
    def from_json(cls, text: str) -> Problem:
        """The problem that `to_json` wrote.  Raises `ProblemError` naming the field at fault."""
        return from_text(cls, text, "problem", ProblemError)

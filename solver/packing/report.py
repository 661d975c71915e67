"""The packer's answer, as plain records: addresses, how good they are, and what stands in the
way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..codec import from_text, to_text
from ..report import Status


class PackingError(ValueError):
    """A `Packing` that breaks a rule, or JSON text that is none; the message names the buffers or
    the field at fault."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The events `start` to `end` - 1, at which most bytes are live, and the buffers live there.

    `height` is what these buffers alone need: their bytes, and what alignments put between them.
    """

    start: int
    end: int
    height: int
    buffers: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(self.buffers[:8]) + (", ..." if len(self.buffers) > 8 else "")
        return f"{len(self.buffers)} buffers at events {self.start} to {self.end}: {shown}"


@dataclass(frozen=True, slots=True)
class Packing:
    """The answer to one `PackingProblem`.

    `addresses` (bytes, by buffer) leave no two buffers live at one event with a byte in common;
    the highest byte used is number `height` - 1, and no packing is lower than `bound`.  They are
    the best found, even where they do not fit the capacity.

    `method` says what found the addresses, and `bound_method` what proved the bound.  `peak` is
    where to look if buffers do not fit; `None` without buffers.  `searches` counts the runs of
    CP-SAT that the answer took; `search_s` are the estimated seconds of one core charged for all.
    """

    addresses: Mapping[str, int]
    height: int
    capacity: int
    bound: int
    method: str
    bound_method: str
    peak: Peak | None
    searches: int
    search_s: float
    wall_s: float
    seed: int

    @property
    def status(self) -> Status:
        """OPTIMAL: fits, and nothing is lower; FEASIBLE: fits; INFEASIBLE: nothing fits; UNKNOWN:
        nothing that fits was found in the time allowed."""
        if self.bound > self.capacity:
            return Status.INFEASIBLE
        if not self.fits:
            return Status.UNKNOWN
        return Status.OPTIMAL if self.lowest else Status.FEASIBLE

    @property
    def fits(self) -> bool:
        """Whether the addresses are within the capacity."""
        return self.height <= self.capacity

    @property
    def proven(self) -> bool:
        """Whether it is certain that the buffers fit, or that they cannot."""
        return self.status is not Status.UNKNOWN

    @property
    def lowest(self) -> bool:
        """Whether it is certain that no packing is lower."""
        return self.height == self.bound

    def __str__(self) -> str:
        """One sentence."""
        found = f"height {self.height} of {self.capacity} bytes by {self.method}"
        if self.fits:
            return f"{self.status.value}: {found}; no packing is below {self.bound}"
        verdict = "nothing that fits was found"
        if self.proven:
            verdict = f"nothing is below {self.bound} (by {self.bound_method})"
        peak = f"{self.peak.height} bytes for {self.peak}" if self.peak else "no buffer"
        return f"{self.status.value}: {verdict}; {found}; at the peak {peak}"

    def to_json(self) -> str:
        """This packing as JSON text."""
        return to_text(self)

    @classmethod
    def from_json(cls, text: str) -> Packing:
        """The packing that `to_json` wrote.  Raises `PackingError` naming the field at fault."""
        return from_text(cls, text, "packing", PackingError)

"""The independent verdict on a packing: a sweep over the lifetimes that shares nothing with the
packer."""

from __future__ import annotations

from bisect import bisect_left, insort

from .problem import Buffer, PackingProblem
from .report import Packing, PackingError


def check(problem: PackingProblem, packing: Packing) -> None:
    """Raise `PackingError` for what is wrong with `packing`.

    Every buffer must have an address that is aligned, where it is fixed, and not below 0; buffers
    live at one event must not share a byte; the height must be what the addresses come to, the
    bound no higher, and the capacity that of the problem.  Whether a sound packing is within the
    capacity is what its `fits` says; that its bound holds is not checked.
    """
    _check_addresses(problem, packing)
    _sweep(problem.buffers, packing)
    _check_claims(problem, packing)


def _check_addresses(problem: PackingProblem, packing: Packing) -> None:
    names = {buffer.name for buffer in problem.buffers}
    for name in sorted(packing.addresses.keys() - names):
        raise PackingError(f"address of {name!r}: the problem has no such buffer")
    for buffer in problem.buffers:
        if buffer.name not in packing.addresses:
            raise PackingError(f"{buffer}: has no address")
        address = packing.addresses[buffer.name]
        if address < 0:
            raise PackingError(f"{buffer}: its address is {address}, must be at least 0")
        if address % buffer.alignment:
            raise PackingError(
                f"{buffer}: its address is {address}, must be a multiple of {buffer.alignment}"
            )
        if buffer.fixed is not None and address != buffer.fixed:
            raise PackingError(f"{buffer}: its address is {address}, but fixed at {buffer.fixed}")


def _sweep(buffers: tuple[Buffer, ...], packing: Packing) -> None:
    """Go through starts and ends in order, keeping the live buffers sorted by address.

    As long as no two overlap, a new one that overlaps any overlaps the next below or above it.
    """
    by_name = {buffer.name: buffer for buffer in buffers}
    starts = [(buffer.start, 1, buffer.name) for buffer in buffers]
    ends = [(buffer.end, 0, buffer.name) for buffer in buffers]
    live: list[tuple[int, str]] = []
    for _, begins, name in sorted(starts + ends):
        entry = (packing.addresses[name], name)
        if not begins:
            live.remove(entry)
            continue
        place = bisect_left(live, entry)
        for address, other in live[max(place - 1, 0) : place + 1]:
            lower, upper = sorted([entry, (address, other)])
            if lower[0] + by_name[lower[1]].size > upper[0]:
                raise PackingError(
                    f"{by_name[other]} at address {address} and {by_name[name]} at address "
                    f"{entry[0]}: overlap"
                )
        insort(live, entry)


def _check_claims(problem: PackingProblem, packing: Packing) -> None:
    tops = [packing.addresses[buffer.name] + buffer.size for buffer in problem.buffers]
    top = max(tops, default=0)
    if packing.height != top:
        raise PackingError(f"height: is {packing.height}, but the addresses come to {top}")
    if packing.bound > top:
        raise PackingError(f"bound: is {packing.bound}, but the addresses come to {top}")
    if packing.capacity != problem.capacity:
        raise PackingError(
            f"capacity: is {packing.capacity}, but the problem's is {problem.capacity}"
        )
    peak = packing.peak
    if peak is None:
        return
    lives = {buffer.name: (buffer.start, buffer.end) for buffer in problem.buffers}
    for name in peak.buffers:
        start, end = lives.get(name, (peak.end, peak.start))
        if start > peak.start or end < peak.end:
            raise PackingError(
                f"peak: buffer {name!r} is not live at events {peak.start} to {peak.end}"
            )

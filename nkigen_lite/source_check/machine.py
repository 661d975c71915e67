"""Executing a kernel on tensors without contents: what is written, read, alive and legal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nkigen_lite.source_check.facts import Dtype, Limits, Member, Region
from nkigen_lite.source_check.findings import Illegal, Problem, require
from nkigen_lite.source_check.instructions import ANYWHERE, CHIP, INSTRUCTIONS, Instruction
from nkigen_lite.source_check.movement import engine_of
from nkigen_lite.source_check.operands import compute_operand, on_chip_pattern
from nkigen_lite.source_check.tensors import SUM_READ, SUMMED, UNWRITTEN, WRITTEN, Buffer, View

PROBLEMS_MAX = 50


@dataclass(eq=False)
class Machine:
    """One run of one kernel.

    Attributes:
        limits: of the target.
        sampled: whether loops run for some of their values only; elements are then not followed
            one by one.
        clock: statements executed; calls: of them, calls of ``nki.isa``.
        buffers: all that were made.
        found: the first rule that each line breaks; undecided: what could not be judged.
        passed: calls whose static rules hold.
    """

    limits: Limits
    sampled: bool = False
    clock: int = 0
    calls: int = 0
    buffers: list[Buffer] = field(default_factory=list)
    found: dict[int, Problem] = field(default_factory=dict)
    passed: set[Any] = field(default_factory=set)
    undecided: dict[str, None] = field(default_factory=dict)

    def attempt(self, line: int, action: Callable[[], Any]) -> Any:
        """Do something that a statement asks for; the first rule that a line breaks is noted."""
        self.clock += 1
        try:
            return action()
        except Illegal as broken:
            if len(self.found) < PROBLEMS_MAX:
                self.found.setdefault(line, Problem(line, str(broken)))
            return None

    # --- buffers --------------------------------------------------------------------------------

    def input(self, name: str, shape: tuple[int, ...], dtype: Dtype, line: int) -> View:
        """A tensor in HBM that the caller has filled."""
        return Buffer(name, shape, dtype, Region("shared_hbm"), all=WRITTEN, line=line).view()

    def allocate(self, name: str, line: int, args: Mapping[str, Any]) -> View:
        """``nl.ndarray(...)``."""
        shape, dtype = args["shape"], args["dtype"]
        region, address = args["buffer"], args["address"]
        if not (isinstance(shape, tuple) and all(type(n) is int and n > 0 for n in shape)):
            raise Illegal(f"nl.ndarray: shape is {shape!r} but must be a tuple of positive ints")
        if not isinstance(dtype, Dtype):
            raise Illegal(f"nl.ndarray: dtype is {dtype!r} but must be a type of nl")
        if not isinstance(region, Region):
            raise Illegal(
                f"nl.ndarray: buffer is {region!r} but must be nl.sbuf, psum, hbm or shared_hbm"
            )
        made = Buffer(name, shape, dtype, region, line=line, born=self.clock, last=self.clock)
        made.whole = self.sampled
        if region.on_chip:
            self._check_tile(made)
        made.address = self._address(made, address)
        self.buffers.append(made)
        return made.view()

    def _check_tile(self, made: Buffer) -> None:
        limits, region = self.limits, made.region.name
        if len(made.shape) < 2:
            raise Illegal(
                f"nl.ndarray: {made.name} has shape {made.shape} but on chip must have 2 dimensions"
            )
        if made.shape[0] > limits.partitions:
            raise Illegal(
                f"nl.ndarray: {made.name} has {made.shape[0]} partitions but at most "
                f"{limits.partitions}"
            )
        most = limits.psum_banks * limits.psum_bank_bytes if region == "psum" else limits.sbuf_bytes
        if made.partition_bytes > most:
            raise Illegal(
                f"nl.ndarray: {made.name} takes {made.partition_bytes} bytes of each partition but "
                f"{region} of {limits.name} has {most}"
            )

    def _address(self, made: Buffer, address: Any) -> tuple[int, int] | None:
        if address is None:
            return None
        legal = isinstance(address, tuple) and len(address) == 2
        if not (legal and made.region.on_chip and all(type(n) is int and n >= 0 for n in address)):
            raise Illegal(
                f"nl.ndarray: address is {address!r} but must be a tile's (partition, byte)"
            )
        psum = self.limits.psum_banks * self.limits.psum_bank_bytes
        most = psum if made.region.name == "psum" else self.limits.sbuf_bytes
        end = address[1] + made.partition_bytes
        if not (end <= most and address[0] + made.shape[0] <= self.limits.partitions):
            raise Illegal(
                f"nl.ndarray: {made.name} at {address} ends at byte {end} of a partition but "
                f"{made.region.name} has {most}"
            )
        return address[0], address[1]

    # --- instructions ---------------------------------------------------------------------------

    def execute(self, function: str, site: int, args: dict[str, Any]) -> None:
        """One call of ``nisa.<function>``, all arguments bound."""
        row = self.row_of(function, args)
        self.calls += 1
        name = f"nisa.{function}"
        written = {n: args[n] for n in row.writes if args.get(n) is not None}
        read = {n: args[n] for n in row.reads if isinstance(args.get(n), View)}
        try:
            key = (site, tuple(_outline(v) for v in args.values()))
            if key not in self.passed:
                self._check(name, row, args, written)
                self.passed.add(key)
            self._read(name, {**read, **{n: written[n] for n in row.updates}})
            if function == "nc_matmul":
                self._sum(name, args["dst"], args["accumulate"])
        finally:
            self.assume_written(function, args)

    def touch(self, name: str, read: Mapping[str, View], written: Mapping[str, View]) -> None:
        """What is not an instruction of an engine reads and writes."""
        self.calls += 1
        try:
            self._read(name, read)
        finally:
            for view in written.values():
                self._write(view, WRITTEN)

    def row_of(self, function: str, args: Mapping[str, Any]) -> Instruction:
        """The instruction's rules; without rules of its own, those that every tile obeys.

        Then what is called a destination counts as written, and all else as read.
        """
        row = INSTRUCTIONS.get(function)
        if row is not None:
            return row
        self.undecided[f"nisa.{function}: only its signature and tiles were checked"] = None
        tensors = tuple(name for name, value in args.items() if isinstance(value, View))
        written = tuple(n for n in tensors if "dst" in n.split("_") or n.endswith("_res"))
        places = dict.fromkeys(tensors, ANYWHERE)
        read = tuple(n for n in tensors if n not in written)
        return Instruction(read, written, places=places, apart=tensors)

    def assume_written(self, function: str, args: Mapping[str, Any]) -> None:
        """What comes later is judged as if the call had been right: one mistake, one sentence."""
        state = SUMMED if function == "nc_matmul" else WRITTEN
        for name in self.row_of(function, args).writes:
            if isinstance(args.get(name), View):
                self._write(args[name], state)

    def _check(
        self, name: str, row: Instruction, args: dict[str, Any], written: dict[str, Any]
    ) -> None:
        """All that depends on shapes, types and places only."""
        require(
            self.limits.generation >= row.generation,
            f"{name}: {self.limits.name} does not have it",
        )
        for what in (*row.reads[:1], *row.writes[:1]):
            require(
                isinstance(args[what], View), f"{name}: {what} is {args[what]!r} but must be a tile"
            )
        if "engine" in args and isinstance(args["engine"], Member):
            legal = (*row.engines, "unknown")
            require(
                args["engine"].name in legal,
                f"{name}: engine is {args['engine'].name} but must be one of {', '.join(legal)}",
            )
        engine = engine_of(args.get("engine"), row.engines)
        views = {n: v for n, v in args.items() if isinstance(v, View)}
        for what, view in views.items():
            self._check_place(name, row, engine, what, view)
        together = {n: v.partitions for n, v in views.items() if n not in row.apart}
        said = ", ".join(f"{n} {count}" for n, count in together.items())
        require(
            len(set(together.values())) <= 1,
            f"{name}: partitions are {said} but must be one number",
        )
        for what, view in written.items():
            require(not view.repeats, f"{name}: {what} is written through a broadcast view")
        for check in row.checks:
            check(name, args, self.limits)

    def _check_place(self, name: str, row: Instruction, engine: str, what: str, view: View) -> None:
        place, legal = view.region.name, row.places.get(what, CHIP)
        require(
            place in legal,
            f"{name}: {what} is in {place} but must be in {' or '.join(_memories(legal))}",
        )
        require(
            engine != "gpsimd" or place != "psum",
            f"{name}: {what} is in psum, which gpsimd cannot reach",
        )
        if view.region.on_chip:
            on_chip_pattern(name, what, view)
            if not row.is_dma:
                compute_operand(name, what, view, self.limits)

    def _read(self, name: str, views: Mapping[str, View]) -> None:
        for what, view in views.items():
            view.base.last = self.clock
            if isinstance(view.index, View):
                self._read(name, {f"the index of {what}": view.index})
                view = view.base.view()
            missing = view.count(UNWRITTEN)
            total = math.prod(view.shape)
            if missing:
                view.set_state(WRITTEN)  # said once
            if missing:
                raise Illegal(
                    f"{name}: {what} reads {missing} of {total} elements of {view.base.name} that "
                    "nothing has written"
                )
            if view.region.name == "psum" and view.count(SUMMED):
                self._mark_sums_read(view)

    def _mark_sums_read(self, view: View) -> None:
        if view.base.state is None and view.covers_all():
            view.base.all = SUM_READ
        else:
            states = view.states()
            states[states == SUMMED] = SUM_READ

    def _sum(self, name: str, dst: View, accumulate: bool) -> None:
        """A matmul's destination: where a sum begins, and where it goes on."""
        if not accumulate:
            unread = 0 if self.sampled else dst.count(SUMMED)
            if unread:
                raise Illegal(
                    f"{name}: accumulate is False but {unread} elements of {dst.base.name} hold "
                    "a sum that nothing has read"
                )
            return
        missing, foreign = dst.count(UNWRITTEN), dst.count(WRITTEN)
        if missing:
            raise Illegal(
                f"{name}: accumulate is True but {missing} elements of {dst.base.name} are not "
                "written yet: the first product of a sum must have accumulate=False"
            )
        if foreign:
            raise Illegal(
                f"{name}: accumulate is True but {foreign} elements of {dst.base.name} were "
                "written by something other than a matmul"
            )

    def _write(self, view: View, state: int) -> None:
        view.base.last = self.clock
        # Which rows an indirect access writes is not known, so none count as written.
        if view.index is None and not view.repeats:
            view.set_state(state)

    def give_back(self, value: Any) -> None:
        """A returned tensor: whole, in shared HBM, every element written."""
        require(isinstance(value, View), f"return: {value!r} is returned but must be a tensor")
        require(
            value.region.name == "shared_hbm" and value.is_whole,
            f"return: {value} is returned but must be a whole tensor in shared_hbm",
        )
        missing = value.count(UNWRITTEN)
        require(
            not missing,
            f"return: {missing} of {value.base.elements} elements of {value.base.name} are never "
            "written",
        )


def _memories(places: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(p for p in places if p not in ("private_hbm", "shared_hbm"))


def _outline(value: Any) -> Any:
    """What the static rules can see of an argument."""
    if not isinstance(value, View):
        return value if not isinstance(value, list) else repr(value)
    base = value.base
    where = (value.offset, base.shape, base.address) if base.region.on_chip else ()
    indirect = value.index is not None
    return value.shape, value.strides, base.dtype, base.region, where, indirect

"""Packing within a given height by CP-SAT, in many short runs.

How long a run takes to a first packing varies by orders of magnitude with the order in which it
places the items, and hardly predictably.  So the time is cut into attempts with one order and way
of branching each, and into rounds of longer and longer attempts.  The answer is that of the first
attempt in this sequence that has one, whether attempts run one by one or side by side: it does not
depend on the number of workers.

This module imports ortools, when it is first needed.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from types import ModuleType
from typing import Any

from ..engine import Meter
from ..search import SolverMissing
from .grid import Item, sections
from .heuristics import ORDERS, ordered

SECONDS_PER_TICK = 30.0
"""What CP-SAT takes on these models per unit of its deterministic time, in seconds: measured on
one core of a 2 vCPU cloud machine, from 16 to 50."""

WAYS = (
    ("total, width, area", "PARTIAL_FIXED_SEARCH"),
    ("width, area, total", "FIXED_SEARCH"),
    ("area, width", "FIXED_SEARCH"),
)
"""An order of the items, and how CP-SAT branches: always by that order, or taking turns with its
own choices.  Each of the three finds packings soon that the others do not find for long."""

SHAKES = (0.4, 0.1, 0.4, 0.2)
"""How far, as a part of all items, an item may move back in the first order when it is shaken."""

FIRST_SECONDS = 0.6
GROWTH = 2.5
"""The length of an attempt of the first round, and by how much it grows from round to round."""


SEEDS = 1000
"""Attempts count their seeds up from the caller's seed times this."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of CP-SAT: `seconds` are estimated, by its deterministic time."""

    order: str
    branching: str
    shake: float
    seconds: float
    seed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What attempts came to: `addresses` of items by index, if they found any; `proven` if there
    are none; the `seconds` they are charged, and how many they were."""

    addresses: dict[int, int] | None
    proven: bool
    seconds: float
    attempts: int
    method: str


def attempts(seconds: float, seed: int) -> Iterator[Attempt]:
    """The sequence of attempts that takes `seconds` in all.

    A round tries the orders as they are, and then shaken ones for as long as the round before:
    some problems take long in any order, and some are quick in every second one.
    """
    numbers = count(SEEDS * seed)
    plain = FIRST_SECONDS
    while True:
        entries = [(way, 0.0, plain) for way in WAYS]
        entries += [(WAYS[0], shake, plain / GROWTH) for shake in SHAKES]
        for (order, branching), shake, length in entries:
            if seconds <= 0:
                return
            yield Attempt(order, branching, shake, min(length, seconds), next(numbers))
            seconds -= length
        plain *= GROWTH


def fit(
    items: Sequence[Item],
    capacity: int,
    *,
    seconds: float,
    seed: int,
    workers: int,
    meter: Meter,
) -> Outcome:
    """Addresses for `items` within `capacity`, or the proof that there are none.

    `seconds` are estimated and of one core, whatever the number of `workers`; real time ends with
    `meter`.
    """
    race = Race(items, capacity, meter)
    spent, made = 0.0, 0
    pool = ThreadPoolExecutor(workers)
    try:
        runs = [
            (attempt, pool.submit(race.run, number, attempt))
            for number, attempt in enumerate(attempts(seconds, seed))
        ]
        for attempt, run in runs:
            outcome = run.result()
            spent, made = spent + outcome.seconds, made + 1
            if outcome.addresses is not None or outcome.proven:
                method = f"CP-SAT by {attempt.order}"
                return Outcome(outcome.addresses, outcome.proven, spent, made, method)
    finally:
        race.stop()
        pool.shutdown(cancel_futures=True)
    return Outcome(None, False, spent, made, "CP-SAT")


class Race:
    """Attempts at one problem, of which those behind one with an answer need not go on."""

    def __init__(self, items: Sequence[Item], capacity: int, meter: Meter) -> None:
        self._items = items
        self._capacity = capacity
        self._meter = meter
        self._cp_model: Any = _ortools()
        self._lock = threading.Lock()
        self._first_answer = float("inf")
        self._running: dict[int, Any] = {}

    def run(self, number: int, attempt: Attempt) -> Outcome:
        """Make an attempt, the one of this `number` in the sequence."""
        solver = self._cp_model.CpSolver()
        with self._lock:
            if number > self._first_answer or self._meter.wall_left_s <= 0.01:
                return Outcome(None, False, 0.0, 0, "")
            self._running[number] = solver
        model, variables = self._model(attempt)
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = attempt.seed
        solver.parameters.search_branching = getattr(self._cp_model, attempt.branching)
        solver.parameters.linearization_level = 0
        solver.parameters.cp_model_probing_level = 0
        solver.parameters.symmetry_level = 0
        solver.parameters.max_deterministic_time = attempt.seconds / SECONDS_PER_TICK
        solver.parameters.max_time_in_seconds = self._meter.wall_left_s
        status = solver.status_name(solver.solve(model))
        addresses = None
        if status in ("OPTIMAL", "FEASIBLE"):
            addresses = {
                item.index: item.step * solver.value(variable)
                for item, variable in zip(self._items, variables, strict=True)
            }
        proven = status == "INFEASIBLE"
        with self._lock:
            del self._running[number]
        if addresses is not None or proven:
            self.stop(number)
        ticks = round(solver.response_proto.deterministic_time, 6)
        return Outcome(addresses, proven, min(attempt.seconds, ticks * SECONDS_PER_TICK), 1, "")

    def stop(self, answered: int = -1) -> None:
        """End the attempts behind number `answered`."""
        with self._lock:
            self._first_answer = min(self._first_answer, answered)
            for number, solver in self._running.items():
                if number > answered:
                    solver.stop_search()

    def _model(self, attempt: Attempt) -> tuple[Any, list[Any]]:
        """The model, and a variable for every item: its address over its step.

        Times are constants, so that rectangles may not overlap exactly where the address ranges of
        each section may not: CP-SAT's presolve makes the same of `NoOverlap2D` with a redundant
        cumulative, at some cost.  Placing the item that can lie lowest, at its lowest address, is
        how MiniMalloc (google/minimalloc) searches.
        """
        cp = self._cp_model.CpModel()
        rng = random.Random(attempt.seed)
        order = _shaken(ordered(self._items, ORDERS[attempt.order]), attempt.shake, rng)
        variables = {item.index: self._variable(cp, item) for item in self._items}
        ranges = {
            item.index: cp.new_fixed_size_interval_var(
                item.step * variables[item.index], item.size, ""
            )
            for item in self._items
        }
        rows = list(sections(self._items))
        rng.shuffle(rows)
        for section in rows:
            cp.add_no_overlap([ranges[item.index] for item in section.items])
        self._break_symmetries(cp, variables)
        # A strategy takes no multiples of variables: with steps, their multiples get variables.
        lowest = [self._address(cp, item, variables[item.index]) for item in order]
        cp.add_decision_strategy(
            lowest, self._cp_model.CHOOSE_LOWEST_MIN, self._cp_model.SELECT_MIN_VALUE
        )
        return cp, [variables[item.index] for item in self._items]

    def _address(self, cp: Any, item: Item, variable: Any) -> Any:
        if item.step == 1:
            return variable
        address = cp.new_int_var(0, self._capacity - item.size, "")
        cp.add(address == item.step * variable)
        return address

    def _variable(self, cp: Any, item: Item) -> Any:
        if item.fixed is not None:
            return cp.new_constant(item.fixed // item.step)
        return cp.new_int_var(0, (self._capacity - item.size) // item.step, "")

    def _break_symmetries(self, cp: Any, variables: dict[int, Any]) -> None:
        """Of equal items the first lies lower.  Turned upside down a packing is still one where
        any address will do, so that the largest item lies in the lower half."""
        last: dict[tuple[int, int, int, int], Item] = {}
        free = [item for item in self._items if item.fixed is None]
        for item in free:
            key = (item.start, item.end, item.size, item.step)
            if key in last:
                cp.add(variables[last[key].index] < variables[item.index])
            last[key] = item
        if len(free) == len(self._items) and all(item.step == 1 for item in free):
            largest = max(free, key=lambda item: item.size * (item.end - item.start))
            cp.add(2 * variables[largest.index] + largest.size <= self._capacity)


def _shaken(order: Sequence[Item], shake: float, rng: random.Random) -> list[Item]:
    """`order` with every item moved back by up to `shake` of its length."""
    ranks = [rank + rng.uniform(0, shake * len(order)) for rank in range(len(order))]
    return [order[rank] for rank in sorted(range(len(order)), key=lambda rank: ranks[rank])]


def _ortools() -> ModuleType:
    """OR-Tools' CP-SAT module, imported when it is first needed."""
    try:
        from ortools.sat.python import cp_model
    except ImportError as error:
        raise SolverMissing("packing: OR-Tools is not installed; pip install ortools") from error
    return cp_model

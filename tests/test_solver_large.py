"""Large problems solved in pieces: bounds that hold, the optimum in the end, equal pieces once."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from solver_stacks import LAYER, cut_problem, stack

from solver import Constraint, Cut, Fuse, Pin, Problem, Report, Status, check, solve
from solver import cuts as cuts_module
from solver import decompose as decompose_module
from solver.brute import brute
from solver.cuts import Crossings, choose_cuts
from solver.decompose import Decomposition
from solver.engine import Meter
from solver.pieces import piece, toll
from solver.questions import Questions
from solver.search import PieceOracle

ORACLE = PieceOracle(0)


def bound_of_pieces(
    problem: Problem, cuts: list[int], prices: list[dict[tuple[str, str], int]]
) -> int:
    """What the pieces prove at given prices."""
    crossings = Crossings(problem)
    reports = [
        ORACLE.solve(piece(crossings, (first, end), prices=(before, after)), 10.0)
        for first, end, before, after in zip(cuts, cuts[1:], prices, prices[1:], strict=False)
    ]
    tolls = sum(toll(crossings, cut, at) for cut, at in zip(cuts, prices, strict=True))
    return sum(report.best_bound_ns for report in reports) - tolls


def holds_whatever_the_prices(seed: int) -> bool:
    """Assert that random prices prove nothing false; whether there was a plan to compare with."""
    problem, cuts = cut_problem(seed, max_ops=4)
    best = brute(problem)
    if best is None:
        return False
    rng = random.Random(seed)
    crossings = Crossings(problem)
    prices = [
        {
            (value.name, place): rng.choice([0, 5, 20, 60])
            for value in crossings.crossing(cut)
            for place in crossings.places(value.name, cut)
        }
        for cut in cuts
    ]
    assert bound_of_pieces(problem, cuts, prices) <= best[0][0], seed
    return True


def ends_with_the_optimum(seed: int) -> bool:
    """Assert that bounds and plans enclose the optimum in every round, and meet in the last."""
    problem, cuts = cut_problem(seed)
    best = brute(problem)
    search = Decomposition(Crossings(problem), cuts, Questions(ORACLE))
    seen: list[tuple[int, int | None]] = []
    search.watch = lambda: seen.append((search.bound, search.best and search.best[0][0]))
    search.run(Meter(1000.0))
    if best is None:
        assert search.best is None, seed
        return False
    optimum = best[0][0]
    assert all(bound <= optimum for bound, _ in seen), seed
    assert all(found is None or found >= optimum for _, found in seen), seed
    assert search.best is not None, seed
    assert search.best[0][0] - search.bound <= decompose_module.CLOSE * optimum, seed
    return True


def test_no_prices_prove_more_than_the_optimum() -> None:
    assert sum(map(holds_whatever_the_prices, range(14))) >= 7


@pytest.mark.slow
@pytest.mark.parametrize("block", range(3))
def test_no_prices_prove_more_than_the_optimum_of_many_problems(block: int) -> None:
    seeds = range(1000 + 40 * block, 1040 + 40 * block)
    assert sum(map(holds_whatever_the_prices, seeds)) >= 10


def test_pieces_agree_with_exhaustive_search() -> None:
    assert sum(map(ends_with_the_optimum, range(10))) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("block", range(3))
def test_pieces_agree_with_exhaustive_search_on_many_problems(block: int) -> None:
    seeds = range(2000 + 20 * block, 2020 + 20 * block)
    assert sum(map(ends_with_the_optimum, seeds)) >= 5


def decomposed(problem: Problem, size: int = LAYER) -> tuple[Decomposition, Questions]:
    """A problem solved in pieces of `size` ops."""
    questions = Questions(ORACLE)
    count = len(problem.ops)
    search = Decomposition(Crossings(problem), [*range(0, count, size), count], questions)
    search.run(Meter(60.0))
    return search, questions


def test_equal_layers_are_solved_once() -> None:
    few, asked_for_few = decomposed(stack(5))
    many, asked_for_many = decomposed(stack(15))
    assert asked_for_many.solves == asked_for_few.solves < 15
    assert few.best is not None
    assert many.best is not None
    assert many.bound == many.best[0][0]
    assert few.rounds == many.rounds == 1


def test_a_layer_that_differs_is_solved_for_itself() -> None:
    problems = [stack(5), stack(5, last_load_ns=1000)]
    crossings = [Crossings(problem) for problem in problems]
    questions = Questions(ORACLE)
    span = (4 * LAYER, 5 * LAYER)
    reports = questions.solve([piece(c, span, prices=({}, {})) for c in crossings], 10.0)
    assert questions.solves == 2
    assert reports[0].objective_ns != reports[1].objective_ns


def test_prices_of_the_relaxation_prove_what_no_prices_cannot() -> None:
    problem = stack(4)
    cuts = [*range(0, len(problem.ops), LAYER), len(problem.ops)]
    optimum = solve(problem).objective_ns
    search, _ = decomposed(problem)
    assert bound_of_pieces(problem, cuts, [{} for _ in cuts]) < search.bound == optimum


def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `solve` cut small problems, too."""
    monkeypatch.setattr(decompose_module, "LARGE", 1)
    monkeypatch.setattr(cuts_module, "WEIGHT", 15)


def without_times(report: Report) -> Report:
    return replace(report, wall_s=0.0)


def test_solve_cuts_large_problems_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = stack(8)
    whole = solve(problem)
    in_pieces(monkeypatch)
    report = solve(problem)
    assert whole.method.pieces == 1
    assert report.method.pieces > 2
    assert report.status is Status.OPTIMAL
    assert report.objective_ns == whole.objective_ns
    assert report.solution is not None
    assert check(problem, report.solution, claimed_ns=report.objective_ns) == []
    assert Report.from_json(report.to_json()) == report


CONSTRAINTS = (
    [Pin("q3", location="hbm")],
    [Pin("h2", location="sbuf"), Cut("b5")],
    [Fuse("a6", "b6"), Pin("h4", location="sbuf")],
)


@pytest.mark.parametrize("constraints", CONSTRAINTS, ids=lambda held: " and ".join(map(str, held)))
def test_constraints_hold_in_pieces_too(
    constraints: list[Constraint], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = stack(8)
    whole = solve(problem, constraints=constraints)
    in_pieces(monkeypatch)
    report = solve(problem, constraints=constraints)
    assert report.method.pieces > 2
    assert report.solution is not None
    assert report.greedy == whole.greedy
    claimed = whole.objective_ns
    assert check(problem, report.solution, claimed_ns=claimed, constraints=constraints) == []


def test_constraints_that_cannot_hold_are_named_in_pieces_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_pieces(monkeypatch)
    held = [Fuse("a6", "b6"), Cut("b6"), Pin("q3", location="hbm")]
    report = solve(stack(8), constraints=held)
    assert report.status is Status.INFEASIBLE
    assert report.blocking == (str(held[0]), str(held[1]))


def test_two_processes_give_the_report_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    in_pieces(monkeypatch)
    one, two = (solve(stack(8), processes=processes) for processes in (1, 2))
    assert one.method.pieces > 1
    assert without_times(one) == without_times(two)


@pytest.mark.parametrize("time_limit", [0.001, 0.05, 0.3])
def test_any_time_limit_gives_a_legal_plan_and_a_bound(
    time_limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_pieces(monkeypatch)
    problem = stack(30)
    report = solve(problem, time_limit=time_limit)
    assert report.method.pieces > 1
    assert report.solution is not None
    assert report.objective_ns is not None
    assert report.greedy is not None
    assert check(problem, report.solution, claimed_ns=report.objective_ns) == []
    assert 0 < report.best_bound_ns <= report.objective_ns <= report.greedy.objective_ns
    assert without_times(report) == without_times(solve(problem, time_limit=time_limit))


def test_a_large_problem_without_a_plan_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    in_pieces(monkeypatch)
    problem = stack(8)
    candidates = tuple(
        replace(c, sbuf_bytes=1000) if c.name == "c4" else c for c in problem.candidates
    )
    report = solve(replace(problem, candidates=candidates))
    assert report.status is Status.INFEASIBLE
    assert report.blocking == ("SBUF limit of 256 bytes per partition at op 'c4'",)


def test_no_candidate_reaches_across_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts_module, "WEIGHT", 12)
    problem = stack(10)
    cuts = choose_cuts(Crossings(problem))
    at = {op: index for index, op in enumerate(problem.ops)}
    assert len(cuts) > 5
    assert (cuts[0], cuts[-1]) == (0, len(problem.ops))
    for candidate in problem.candidates:
        assert not any(at[candidate.ops[0]] < cut <= at[candidate.ops[-1]] for cut in cuts)


def test_pieces_are_well_formed_problems() -> None:
    for seed in range(40):
        problem, cuts = cut_problem(seed)
        crossings = Crossings(problem)
        for first, end in pairwise(cuts):
            piece(crossings, (first, end), prices=({}, {})).validate()

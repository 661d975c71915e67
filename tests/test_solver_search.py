"""What `solve` promises: the fastest plan, again and in time, or a clear reason for none."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from hash_seeds import outputs_by_hash_seed
from hypothesis import given, settings
from hypothesis import strategies as st

from solver import (
    Candidate,
    Conversion,
    DimChoice,
    Pin,
    Port,
    Problem,
    ProblemError,
    Report,
    Status,
    Transfer,
    Value,
    check,
    evaluate,
    solve,
)
from solver.greedy import greedy
from solver.objectives import rank
from solver.synthetic import layered_problem, small_problem, with_overlap

LOAD = Transfer({"dma": 100}, 20, 4096, 8, 2, 1)
TURN = Transfer({"tensor": 30}, 5, 0, 4, 2, 0)


def op(name: str, layout_in: str, layout_out: str, **changes: object) -> Candidate:
    """A candidate for one op of the three-op chain x -> a -> b -> c -> out."""
    values = {"a": ("x", "va"), "b": ("va", "vb"), "c": ("vb", "out")}
    read, written = values[name[0]]
    base = Candidate(
        name=name,
        ops=(name[0],),
        reads=(Port(read, layout_in, LOAD),),
        writes=(Port(written, layout_out, LOAD),),
        busy={"vector": 50},
        overhead_ns=10,
        sbuf_bytes=16,
        psum_banks=1,
        instructions=1,
        dims=(DimChoice(written, "m", "P" if layout_out == "rows" else "F", 128),),
    )
    return replace(base, **changes)


def chain(**changes: object) -> Problem:
    """Three ops whose cheapest layouts disagree once: b writes columns, c reads rows."""
    sizes = {"rows": 32, "cols": 32}
    problem = Problem(
        name="chain",
        ops=("a", "b", "c"),
        values=(
            Value("x", None, ("a",), False, sizes),
            Value("va", "a", ("b",), False, sizes),
            Value("vb", "b", ("c",), False, sizes),
            Value("out", "c", (), True, {}),
        ),
        candidates=(op("a", "rows", "rows"), op("b", "rows", "cols"), op("c", "rows", "rows")),
        conversions=(Conversion("vb", "cols", "rows", TURN),),
        sbuf_limit_bytes=256,
        psum_limit_banks=8,
    )
    return replace(problem, **changes)


def test_values_stay_on_chip_and_a_turn_is_paid_where_layouts_disagree() -> None:
    report = solve(chain())
    assert report.solution is not None
    assert report.solution.stored == ("out",)
    assert report.solution.kept == (("va", "rows"), ("vb", "rows"))
    assert report.solution.conversions == (("vb", "cols", "rows"),)
    # a streams x: 30 + 100; b: 10 + 50; the turn: 5 + 30; c stores out: 30 + 100.
    assert report.objective_ns == 130 + 60 + 35 + 130
    assert report.terms is not None
    assert [step.name for step in report.terms.steps] == ["a", "b", "vb: cols -> rows", "c"]
    assert report.greedy is not None
    assert report.greedy.objective_ns == 3 * (50 + 200)


def test_a_turn_that_costs_more_than_a_round_trip_is_not_made() -> None:
    dear = Conversion("vb", "cols", "rows", replace(TURN, busy={"tensor": 500}))
    report = solve(chain(conversions=(dear,)))
    assert report.solution is not None
    assert report.solution.conversions == ()
    assert report.solution.stored == ("out", "vb")


def test_a_fused_candidate_is_picked_where_it_is_faster() -> None:
    fused = replace(
        op("a", "rows", "rows"),
        name="abc",
        ops=("a", "b", "c"),
        writes=(Port("out", "rows", LOAD),),
        dims=(DimChoice("va", "m", "P", 64),),
    )
    report = solve(chain(candidates=(*chain().candidates, fused)))
    assert report.solution is not None
    assert report.solution.picked == ("abc",)
    assert report.dims == (DimChoice("va", "m", "P", 64),)


def test_of_equally_fast_plans_the_one_with_less_traffic_is_found() -> None:
    # Loading x hides behind the vector work either way; a2 only moves fewer bytes.
    slow = {"vector": 500}
    light = Port("x", "rows", replace(LOAD, hbm_bytes=64))
    candidates = (
        op("a", "rows", "rows", busy=slow),
        op("a2", "rows", "rows", busy=slow, reads=(light,)),
        *chain().candidates[1:],
    )
    report = solve(chain(candidates=candidates))
    assert report.solution is not None
    assert report.solution.picked[0] == "a2"


@pytest.mark.parametrize("seed", [3, 12])
def test_the_same_call_gives_the_same_report(seed: int) -> None:
    problem = layered_problem(25, seed, candidates_per_op=12)
    first = solve(problem, time_limit=5, seed=1)
    second = solve(problem, time_limit=5, seed=1)
    assert replace(first, wall_s=0.0) == replace(second, wall_s=0.0)


def test_no_answer_depends_on_how_python_hashes_strings() -> None:
    script = """
from dataclasses import replace
from solver import Cut, Pin, Room, Weights, explain, ranked, solve, whatif
from solver.synthetic import layered_problem, small_problem, with_overlap

def show(report):
    print(replace(report, wall_s=0.0).to_json())

problem = with_overlap(layered_problem(6, 4, candidates_per_op=4), 1)
report = solve(problem, time_limit=5)
show(report)
show(solve(problem, time_limit=5, objective=Weights(ns=1, hbm_kib=3)))
show(solve(problem, constraints=[Pin("v2", location="hbm"), Pin("v2", location="sbuf")]))
print(explain(problem, report).to_json(), whatif(problem, report, Room(-9000)).to_json())
for item in ranked(small_problem(4, max_ops=3), 5):
    show(item)
"""
    assert len(outputs_by_hash_seed(script)) == 1


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 2**31 - 1))
def test_the_same_problem_and_seed_give_the_same_json(number: int, seed: int) -> None:
    problem = with_overlap(small_problem(number, max_ops=4), number)
    first, second = (solve(problem, seed=seed, time_limit=5) for _ in range(2))
    assert replace(first, wall_s=0.0).to_json() == replace(second, wall_s=0.0).to_json()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_tiny_time_limit_still_gives_a_legal_plan_and_a_bound(seed: int) -> None:
    problem = layered_problem(60, seed)
    report = solve(problem, time_limit=0.01)
    assert report.status is Status.FEASIBLE
    assert report.solution is not None
    assert report.objective_ns is not None
    assert report.greedy is not None
    assert check(problem, report.solution, claimed_ns=report.objective_ns) == []
    assert 0 < report.best_bound_ns <= report.objective_ns <= report.greedy.objective_ns
    assert 0 < report.gap < 1


@pytest.mark.parametrize("time_limit", [0.3, 1.0, 3.0])
def test_more_time_never_gives_a_plan_slower_than_by_hand(time_limit: float) -> None:
    problem = layered_problem(40, seed=6, candidates_per_op=16)
    by_hand = solve(problem, time_limit=0.01)
    report = solve(problem, time_limit=time_limit)
    assert report.objective_ns is not None
    assert by_hand.objective_ns is not None
    assert report.objective_ns <= by_hand.objective_ns
    assert report.best_bound_ns >= by_hand.best_bound_ns


def test_a_large_problem_is_solved_to_within_one_percent() -> None:
    problem = layered_problem(60, seed=3)
    report = solve(problem, time_limit=10)
    assert report.solution is not None
    assert check(problem, report.solution, claimed_ns=report.objective_ns) == []
    assert report.gap <= 0.01
    assert report.greedy is not None
    assert report.objective_ns is not None
    assert 2 * report.objective_ns < report.greedy.objective_ns


def test_more_sbuf_never_makes_the_optimum_slower() -> None:
    for problem in (
        *map(small_problem, range(15)),
        layered_problem(12, seed=2, candidates_per_op=10),
    ):
        costs = []
        for percent in (25, 50, 100, 200):
            limit = problem.sbuf_limit_bytes * percent // 100
            report = solve(replace(problem, sbuf_limit_bytes=limit), time_limit=5)
            assert report.status in (Status.OPTIMAL, Status.INFEASIBLE)
            found = report.objective_ns
            costs.append(float("inf") if found is None else float(found))
        assert costs == sorted(costs, reverse=True)


def test_too_little_sbuf_names_the_limit_and_the_op() -> None:
    candidates = list(chain().candidates)
    candidates[1] = replace(candidates[1], sbuf_bytes=1000)
    report = solve(chain(candidates=tuple(candidates)))
    assert report.status is Status.INFEASIBLE
    assert report.solution is None
    assert report.objective_ns is None
    assert report.blocking == ("SBUF limit of 256 bytes per partition at op 'b'",)


def test_too_little_psum_names_the_limit_and_the_op() -> None:
    candidates = list(chain().candidates)
    candidates[2] = replace(candidates[2], psum_banks=9)
    report = solve(chain(candidates=tuple(candidates)))
    assert report.blocking == ("PSUM limit of 8 banks at op 'c'",)


def test_pins_that_contradict_each_other_are_named_and_no_others() -> None:
    pins = (
        Pin("x", location="hbm"),
        Pin("va", location="sbuf"),
        Pin("vb", "m", role="F"),
        Pin("va", location="hbm"),
    )
    report = solve(chain(), constraints=pins)
    assert report.status is Status.INFEASIBLE
    assert report.blocking == (str(Pin("va", location="sbuf")), str(Pin("va", location="hbm")))


def test_a_pin_that_no_candidate_can_meet_is_named() -> None:
    wrong = Pin("va", "m", role="F", tile=128)
    report = solve(chain(), constraints=[Pin("vb", "m", role="F"), wrong])
    assert report.blocking == (str(wrong),)
    assert str(wrong) == "value 'va' has axis 'm' in role F and has axis 'm' in tiles of 128"


def test_a_pin_against_a_limit_names_both() -> None:
    # At b: 16 bytes of its own, 32 of va, and 64 of vb while it is turned.
    problem = chain(sbuf_limit_bytes=100)
    assert solve(problem).status is Status.OPTIMAL
    report = solve(problem, constraints=[Pin("va", location="sbuf"), Pin("vb", location="sbuf")])
    assert report.status is Status.INFEASIBLE
    assert set(report.blocking) == {
        "SBUF limit of 100 bytes per partition at op 'b'",
        str(Pin("va", location="sbuf")),
        str(Pin("vb", location="sbuf")),
    }


def test_candidates_that_cannot_be_put_together_are_reported_by_their_ops() -> None:
    first, second, third = chain().candidates
    unserved = replace(second, reads=(Port("va", "diagonal", None),))
    report = solve(chain(candidates=(first, unserved, third)))
    assert report.blocking == ("op 'b' must run",)


def test_a_pinned_location_is_kept() -> None:
    report = solve(chain(), constraints=[Pin("va", location="hbm")])
    assert report.solution is not None
    assert report.solution.stored == ("out", "va")
    assert all(value != "va" for value, _ in report.solution.kept)


def test_a_pin_on_an_unknown_value_is_an_error() -> None:
    with pytest.raises(ProblemError, match="no value is named 'nothing'"):
        solve(chain(), constraints=[Pin("nothing", location="hbm")])


def test_a_malformed_problem_is_an_error() -> None:
    with pytest.raises(ProblemError, match="op 'c': no candidate runs it"):
        solve(chain(candidates=chain().candidates[:2]))


@pytest.mark.parametrize("time_limit", [0.0, -1.0])
def test_no_time_at_all_is_an_error(time_limit: float) -> None:
    with pytest.raises(ValueError, match="time_limit is"):
        solve(chain(), time_limit=time_limit)


def test_reports_survive_json() -> None:
    for problem in (*map(small_problem, range(15)), chain(), layered_problem(12, seed=1)):
        report = solve(problem, time_limit=2)
        assert Report.from_json(report.to_json()) == report


def test_the_terms_of_a_report_add_up() -> None:
    report = solve(layered_problem(20, seed=7))
    assert report.terms is not None
    steps = report.terms.steps
    assert report.objective_ns == sum(step.ns for step in steps)
    assert all(step.ns == step.overhead_ns + max(step.busy.values()) for step in steps)
    for resource, ns in report.terms.busy.items():
        assert ns == sum(step.busy.get(resource, 0) for step in steps)
    assert report.terms.hbm_bytes == sum(step.hbm_bytes for step in steps)
    assert report.terms.peak_sbuf_bytes == max(step.sbuf_bytes for step in steps)
    assert report.variables > 100
    assert report.constraints > 100


def test_the_greedy_plan_of_a_report_is_the_plan_by_hand() -> None:
    problem = layered_problem(20, seed=7)
    report = solve(problem)
    plan = greedy(problem)
    assert plan is not None
    assert report.greedy == evaluate(problem, plan)
    assert report.terms is not None
    assert rank(report.terms) <= rank(report.greedy)


def test_the_package_imports_without_the_optimiser_and_solving_says_what_is_missing() -> None:
    script = (
        "import sys; sys.modules['ortools'] = None\n"
        "import solver, solver.synthetic\n"
        "problem = solver.synthetic.small_problem(1)\n"
        "try:\n    solver.solve(problem)\n"
        "except RuntimeError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "OR-Tools is not installed" in done.stdout

"""The independent verdict: it accepts what the solver answers and nothing that differs from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest

from solver import Pin, Problem, Report, Solution, check, evaluate, solve
from solver.report import Source
from solver.synthetic import layered_problem, small_problem


@cache
def solved() -> tuple[tuple[Problem, Report], ...]:
    """Problems with a plan for each, small and odd ones and a larger one."""
    problems = [*map(small_problem, range(30)), layered_problem(12, seed=2, candidates_per_op=6)]
    answers = [(problem, solve(problem, time_limit=2)) for problem in problems]
    return tuple((p, r) for p, r in answers if r.solution is not None)


def plans() -> Iterator[tuple[Problem, Report, Solution]]:
    for problem, report in solved():
        assert report.solution is not None
        yield problem, report, report.solution


def without(items: tuple[object, ...], index: int) -> tuple[object, ...]:
    return items[:index] + items[index + 1 :]


def test_every_answer_is_accepted_with_its_cost() -> None:
    for problem, report, solution in plans():
        assert check(problem, solution, claimed_ns=report.objective_ns) == []
        assert evaluate(problem, solution) == report.terms


@pytest.mark.parametrize("field", ["picked", "stored", "kept", "conversions", "sources"])
def test_leaving_anything_out_is_rejected(field: str) -> None:
    tried = 0
    for problem, _, solution in plans():
        items = getattr(solution, field)
        for index in range(len(items)):
            assert check(problem, replace(solution, **{field: without(items, index)}))
            tried += 1
    assert tried >= 5


@pytest.mark.parametrize("field", ["picked", "stored", "kept", "conversions", "sources"])
def test_an_entry_that_is_there_twice_is_rejected(field: str) -> None:
    for problem, _, solution in plans():
        items = getattr(solution, field)
        if items:
            assert check(problem, replace(solution, **{field: (*items, items[0])}))


@pytest.mark.parametrize(
    ("field", "entry", "message"),
    [
        ("picked", "nobody", "picked 'nobody': no candidate has that name"),
        ("stored", "nothing", "stored 'nothing': no value has that name"),
        ("kept", ("nothing", "A"), "kept 'nothing': no value of that name can be kept"),
        ("conversions", ("nothing", "A", "B"), "the problem has no such conversion"),
        ("sources", Source("nobody", "nothing", "A", "hbm"), "no picked candidate has that read"),
    ],
)
def test_an_unknown_name_is_rejected(field: str, entry: object, message: str) -> None:
    for problem, _, solution in plans():
        items = (*getattr(solution, field), entry)
        assert message in "\n".join(check(problem, replace(solution, **{field: items})))


def test_picked_candidates_in_another_order_are_rejected() -> None:
    for problem, _, solution in plans():
        if len(solution.picked) > 1:
            backwards = replace(solution, picked=solution.picked[::-1])
            assert check(problem, backwards) == [
                "the picked candidates are not in the order of the ops"
            ]


def test_picking_a_candidate_of_other_ops_is_rejected() -> None:
    for problem, _, solution in plans():
        ops_of = {candidate.name: candidate.ops for candidate in problem.candidates}
        for other in problem.candidates:
            if other.ops != ops_of[solution.picked[0]]:
                swapped = replace(solution, picked=(other.name, *solution.picked[1:]))
                assert check(problem, swapped)


def test_storing_a_graph_input_is_rejected() -> None:
    for problem, _, solution in plans():
        (name, *_) = [value.name for value in problem.values if value.producer is None]
        faults = check(problem, replace(solution, stored=(*solution.stored, name)))
        assert faults == [f"stored {name!r}: a graph input is in HBM already"]


def test_keeping_a_copy_that_nothing_makes_is_rejected() -> None:
    tried = 0
    for problem, _, solution in plans():
        ports = {
            (port.value, port.layout)
            for candidate in problem.candidates
            if candidate.name in solution.picked
            for port in candidate.writes
        }
        for value in problem.values:
            for layout in value.resident_bytes:
                copy = (value.name, layout)
                if copy not in ports and copy not in solution.kept:
                    faults = check(problem, replace(solution, kept=(*solution.kept, copy)))
                    assert "no conversion makes it" in "\n".join(faults)
                    tried += 1
    assert tried > 20


def test_a_conversion_whose_copy_is_not_kept_is_rejected() -> None:
    tried = 0
    for problem, _, solution in plans():
        for conversion in problem.conversions:
            key = (conversion.value, conversion.source, conversion.target)
            if (conversion.value, conversion.target) not in solution.kept:
                more = replace(solution, conversions=(*solution.conversions, key))
                assert "the copy is not kept" in "\n".join(check(problem, more))
                tried += 1
    assert tried > 20


def test_a_conversion_from_a_layout_that_is_not_written_is_rejected() -> None:
    tried = 0
    for problem, _, solution in plans():
        for value, source, target in solution.conversions:
            for other in problem.conversions:
                if (other.value, other.target) == (value, target) and other.source != source:
                    changed = set(solution.conversions) - {(value, source, target)}
                    changed.add((value, other.source, target))
                    swapped = replace(solution, conversions=tuple(sorted(changed)))
                    tried += 1
                    faults = check(problem, swapped)
                    if other.source != "hbm":
                        assert "does not write layout" in "\n".join(faults)
                    elif value not in solution.stored and not value.startswith("in"):
                        assert "the value is not in HBM" in "\n".join(faults)
    assert tried > 0


def test_reading_from_where_the_value_is_not_is_rejected() -> None:
    tried = 0
    for problem, _, solution in plans():
        inputs = {value.name for value in problem.values if value.producer is None}
        for index, source in enumerate(solution.sources):
            in_hbm = source.value in inputs or source.value in solution.stored
            if source.place == "sbuf" and in_hbm:
                continue
            flipped = replace(source, place="hbm" if source.place == "sbuf" else "sbuf")
            sources = (*without(solution.sources, index), flipped)
            assert check(problem, replace(solution, sources=sources))
            tried += 1
    assert tried > 20


def test_a_wrong_claim_of_cost_is_rejected() -> None:
    for problem, report, solution in plans():
        assert report.objective_ns is not None
        faults = check(problem, solution, claimed_ns=report.objective_ns - 1)
        assert f"the objective is {report.objective_ns} ns" in "\n".join(faults)


def test_one_byte_less_of_sbuf_than_the_peak_is_rejected() -> None:
    for problem, report, solution in plans():
        assert report.terms is not None
        limit = report.terms.peak_sbuf_bytes - 1
        faults = check(replace(problem, sbuf_limit_bytes=limit), solution)
        assert f"the limit is {limit}" in "\n".join(faults)


def test_one_bank_less_of_psum_than_the_peak_is_rejected() -> None:
    for problem, report, solution in plans():
        assert report.terms is not None
        if report.terms.peak_psum_banks:
            limit = report.terms.peak_psum_banks - 1
            faults = check(replace(problem, psum_limit_banks=limit), solution)
            assert f"PSUM banks, the limit is {limit}" in "\n".join(faults)


def test_pins_that_the_plan_keeps_are_accepted_and_others_rejected() -> None:
    tried = 0
    for problem, report, solution in plans():
        for dim in report.dims:
            kept = Pin(dim.value, dim.axis, dim.role, dim.tile)
            assert check(problem, solution, constraints=[kept]) == []
            broken = replace(kept, tile=dim.tile + 1)
            assert check(problem, solution, constraints=[broken]) == [f"{broken}: does not hold"]
            tried += 1
    assert tried > 20


def test_a_pinned_location_that_the_plan_does_not_keep_is_rejected() -> None:
    tried = 0
    for problem, _, solution in plans():
        homeless = [Pin(value, location="hbm") for value, _ in solution.kept]
        streamed = [Pin(s.value, location="sbuf") for s in solution.sources if s.place == "hbm"]
        for pin in homeless + streamed:
            assert check(problem, solution, constraints=[pin]) == [f"{pin}: does not hold"]
            tried += 1
    assert tried > 20

"""The Python interface: compile, run, emit, write; and what it says when the input is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import nkigen_lite
import solver
from cost_models import ProfileError, load_target, targets
from nkigen_lite.commands.stages import STAGES
from nkigen_lite.errors import InvalidInput, InvalidOp, NoPlan, NotSupported, TraceError
from nkigen_lite.report.timeline import report_of

SECONDS = ("trace_s", "build_s", "solve_s", "lower_s")


def gate(x: np.ndarray, w: np.ndarray, *, scale: float = 1.0) -> np.ndarray:
    y = x @ w
    return y / (1.0 + np.exp(-scale * y))


def biased(x: np.ndarray) -> np.ndarray:
    return x + np.linspace(-1, 1, x.shape[1]).astype(np.float32)


def normalised(x: np.ndarray) -> np.ndarray:
    e = np.exp(x)
    return e / np.sum(e, axis=-1, keepdims=True)


def _gate(**options: Any) -> nkigen_lite.Compiled:
    return nkigen_lite.compile(gate, "40x96:f32", "96x72:f32", **options)


@pytest.fixture(scope="module")
def compiled() -> nkigen_lite.Compiled:
    return _gate()


def _arrays(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal((40, 96)), rng.standard_normal((96, 72)) / 10
    return x.astype(np.float32), w.astype(np.float32)


# --- compiling and running -----------------------------------------------------------------------


def test_a_compiled_kernel_computes_what_the_function_does(compiled: nkigen_lite.Compiled) -> None:
    x, w = _arrays()
    np.testing.assert_allclose(compiled(x, w), gate(x, w), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(compiled(x=x, w=w), compiled(x, w))


def test_running_by_name_gives_outputs_by_name(compiled: nkigen_lite.Compiled) -> None:
    x, w = _arrays()
    outputs = compiled.run({"x": x, "w": w})
    assert list(outputs) == ["output"]
    np.testing.assert_array_equal(outputs["output"], compiled(x, w))


@pytest.mark.parametrize(
    "spec", ["40x96:f32", ((40, 96), "f32"), np.zeros((40, 96), np.float32)], ids=type
)
def test_specs_may_be_text_pairs_or_arrays(spec: Any) -> None:
    kernel = nkigen_lite.compile(biased, spec)
    assert str(kernel.graph.inputs[0].type) == "<40x96xf32>"


def test_specs_may_go_by_name() -> None:
    kernel = nkigen_lite.compile(gate, w="96x72:f32", x="40x96:f32", scale=2.0)
    x, w = _arrays()
    np.testing.assert_allclose(kernel(x, w), gate(x, w, scale=2.0), rtol=1e-4, atol=1e-4)


def test_a_decorated_kernel_compiles_under_its_own_name() -> None:
    kernel = nkigen_lite.compile(nkigen_lite.kernel(name="shift")(biased), "8x8:f32")
    assert kernel.report.kernel == "shift"
    assert "def shift(" in kernel.emit()


def test_results_come_in_the_containers_of_the_function() -> None:
    def both(x: np.ndarray) -> dict[str, Any]:
        return {"sum": x.sum(axis=1), "parts": (x + 1, x > 0)}

    x = _arrays()[0]
    result = nkigen_lite.compile(both, x)(x)
    assert list(result) == ["sum", "parts"]
    np.testing.assert_allclose(result["sum"], x.sum(axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(result["parts"][0], x + 1)
    np.testing.assert_array_equal(result["parts"][1], x > 0)


def test_arrays_that_the_function_brings_are_bound_and_written(tmp_path: Path) -> None:
    kernel = nkigen_lite.compile(biased, "8x16:f32")
    x = np.zeros((8, 16), np.float32)
    np.testing.assert_array_equal(kernel(x), biased(x))
    (name,) = kernel.constants
    nkigen_lite.write_outputs(kernel, tmp_path)
    with np.load(tmp_path / "constants.npz") as saved:
        np.testing.assert_array_equal(saved[name], kernel.constants[name])


def test_bf16_results_are_bf16() -> None:
    x, w = (a.astype(ml_dtypes.bfloat16) for a in _arrays())
    got = nkigen_lite.compile(gate, x, w)(x, w)
    assert got.dtype == ml_dtypes.bfloat16
    wide = gate(x.astype(np.float32), w.astype(np.float32))
    assert np.abs(got.astype(np.float32) - wide).max() <= 3.1e-2 * np.abs(wide).max()


def test_watch_sees_every_stage_once_and_in_order() -> None:
    seen: dict[str, str] = {}
    kernel = nkigen_lite.compile(biased, "8x16:f32", watch=seen.__setitem__)
    assert list(seen) == list(STAGES)
    assert seen["trace"] == kernel.graph.dump()
    assert seen["plan"] == kernel.plan.to_json()
    assert seen["nki"] == kernel.nki.dump()


def test_same_input_and_seed_give_the_same_plan_and_report() -> None:
    first, second = _gate(seed=3), _gate(seed=3)
    untimed = {name: 0.0 for name in SECONDS}
    assert first.plan == second.plan
    assert replace(first.report, **untimed) == replace(second.report, **untimed)
    assert first.emit() == second.emit()
    assert first.problem.to_json() == second.problem.to_json()


def test_the_problem_replays_without_the_compiler(compiled: nkigen_lite.Compiled) -> None:
    replayed = solver.solve(solver.Problem.from_json(compiled.problem.to_json()))
    assert replayed.objective_ns == compiled.report.objective_ns


def test_a_short_time_limit_still_gives_a_legal_plan() -> None:
    kernel = _gate(time_limit=1e-3)
    x, w = _arrays()
    assert kernel.report.status in ("optimal", "feasible")
    assert kernel.report.best_bound_ns <= kernel.report.objective_ns
    np.testing.assert_allclose(kernel(x, w), gate(x, w), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("target", targets())
def test_every_profile_compiles(target: str) -> None:
    assert _gate(target=target).report.target == target


def test_a_target_with_replaced_numbers_changes_the_prediction() -> None:
    slow = load_target("trn2", {"dma.load_cap_gbps": 31.0, "dma.store_cap_gbps": 31.0})
    assert _gate(target=slow).report.predicted_us > _gate().report.predicted_us


def test_pins_are_respected() -> None:
    free = nkigen_lite.compile(normalised, "40x96:f32")
    inside = next(value.name for value in free.plan.values if value.kind == "temp")
    assert free.plan.value(inside).location != "hbm"
    pins = [nkigen_lite.constrain(inside, location="hbm")]
    pinned = nkigen_lite.compile(normalised, "40x96:f32", constraints=pins)
    assert pinned.plan.value(inside).location == "hbm"
    assert pinned.report.objective_ns > free.report.objective_ns


def test_the_plan_knows_its_values(compiled: nkigen_lite.Compiled) -> None:
    assert compiled.plan.value("x").shape == (40, 96)
    with pytest.raises(KeyError):
        compiled.plan.value("nothing")


def test_written_files_say_what_the_compilation_said(
    compiled: nkigen_lite.Compiled, tmp_path: Path
) -> None:
    written = nkigen_lite.write_outputs(compiled, tmp_path / "a" / "b")
    names = ["kernel.py", "plan.json", "report.json", "problem.json", "solved.json"]
    assert [path.name for path in written] == names
    kernel, plan, report, problem, solved = (path.read_text(encoding="utf-8") for path in written)
    assert solver.Problem.from_json(problem) == compiled.problem
    assert solver.Report.from_json(solved) == compiled.answer
    assert kernel == compiled.emit("nki")
    compile(kernel, "kernel.py", "exec")
    assert json.loads(plan) == json.loads(compiled.plan.to_json())
    assert json.loads(report) == compiled.report.to_dict()


def test_emitted_source_says_that_its_time_is_predicted(compiled: nkigen_lite.Compiled) -> None:
    line = compiled.emit().splitlines()[2]
    assert line.startswith("For trn2. Predicted ")
    assert "not measured" in line


# --- simulating ----------------------------------------------------------------------------------


def test_simulating_a_kernel_gives_the_time_that_its_report_says(
    compiled: nkigen_lite.Compiled,
) -> None:
    timeline = compiled.simulate()
    assert timeline.events == ()
    assert report_of(timeline) == compiled.report.timeline


def test_a_simulation_records_as_many_events_as_asked(compiled: nkigen_lite.Compiled) -> None:
    every = compiled.simulate(record=10_000)
    assert len(every.events) == every.instructions + every.transfers
    assert compiled.simulate(record=5).events == every.events[:5]
    assert all(0 <= e.start_ns <= e.end_ns <= every.time_ns for e in every.events)


def test_recording_events_does_not_change_the_time() -> None:
    kernel = nkigen_lite.compile(normalised, "4096x512:f32")
    assert kernel.simulate(record=500).time_ns == kernel.simulate().time_ns


# --- errors --------------------------------------------------------------------------------------


def test_a_call_with_another_shape_names_both_shapes(compiled: nkigen_lite.Compiled) -> None:
    wrong = np.zeros((41, 96), np.float32)
    with pytest.raises(
        InvalidInput, match=r"for x: got \(41, 96\) but the graph declares \(40, 96\)"
    ):
        compiled(wrong, _arrays()[1])


def test_a_call_without_an_array_names_it(compiled: nkigen_lite.Compiled) -> None:
    with pytest.raises(InvalidInput, match="no array is given for 'w'"):
        compiled(_arrays()[0])


def test_a_run_without_an_array_names_it(compiled: nkigen_lite.Compiled) -> None:
    with pytest.raises(InvalidInput, match="Missing input: w"):
        compiled.run({"x": _arrays()[0]})


def test_a_call_with_too_many_arguments_says_how_many_it_takes(
    compiled: nkigen_lite.Compiled,
) -> None:
    with pytest.raises(InvalidInput, match="got 3 positional arguments but takes 2"):
        compiled(*_arrays(), 1)


@pytest.mark.parametrize("limit", [0, -1.0, float("nan"), float("inf"), "5", True])
def test_a_time_limit_that_is_no_number_of_seconds_is_refused(limit: Any) -> None:
    with pytest.raises(InvalidInput, match="must be a finite number of seconds above 0"):
        _gate(time_limit=limit)


@pytest.mark.parametrize("seed", [-1, 2**31, 1.5, "a"])
def test_a_seed_that_the_solver_cannot_take_is_refused(seed: Any) -> None:
    with pytest.raises(InvalidInput, match=r"seed is .* but must be an int from 0"):
        _gate(seed=seed)


def test_a_target_that_is_neither_name_nor_profile_is_refused() -> None:
    with pytest.raises(InvalidInput, match="target is 3 but must be"):
        _gate(target=3)


@pytest.mark.parametrize(
    "constraints", [None, "x", ["x"], nkigen_lite.constrain("x", tile=1, axis="a0")]
)
def test_constraints_that_are_none_are_refused(constraints: Any) -> None:
    with pytest.raises(InvalidInput, match=r"constraints is .* must be a list of what constrain"):
        nkigen_lite.compile(lambda x: x, "4x8:f32", constraints=constraints)


@pytest.mark.parametrize(
    ("option", "said"),
    [({"name": 3}, "name is 3 but"), ({"watch": None}, "watch is None but must be a function")],
)
def test_a_name_and_a_watch_that_are_none_are_refused(option: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=f"compile: {said}"):
        nkigen_lite.compile(lambda x: x, "4x8", **option)


@pytest.mark.parametrize("inputs", [None, [1.0]])
def test_inputs_that_are_not_by_name_are_refused(
    compiled: nkigen_lite.Compiled, inputs: Any
) -> None:
    with pytest.raises(InvalidInput, match="must map names to arrays"):
        compiled.run(inputs)


@pytest.mark.parametrize("order", [None, "other", -1, 1.5, [1]])
def test_an_order_that_is_none_is_refused(compiled: nkigen_lite.Compiled, order: Any) -> None:
    given = {v.name: np.ones(v.type.shape, np.float32) for v in compiled.graph.inputs}
    with pytest.raises(InvalidInput, match=r"order is .* but must be 'program' or a seed"):
        compiled.run_checked(given, order)


@pytest.mark.parametrize(
    ("spec", "said"),
    [("1000000000x100", "are x <1000000000x100xf32>"), ("4611686018427387904x4", "no array has")],
)
def test_arrays_that_no_memory_holds_are_refused(spec: str, said: str) -> None:
    with pytest.raises((NoPlan, InvalidInput), match=said):
        nkigen_lite.compile(lambda x: x + 1, spec)


def test_complex_and_text_arrays_are_refused(compiled: nkigen_lite.Compiled) -> None:
    x, w = _arrays()
    for wrong in (x.astype(np.complex64), x.astype(str)):
        with pytest.raises(InvalidInput, match="Type mismatch for x"):
            compiled(wrong, w)


def test_a_compiled_kernel_describes_itself(compiled: nkigen_lite.Compiled) -> None:
    assert "predicted" in compiled.describe()
    assert "simulated" in compiled.describe()


def test_an_unknown_target_lists_the_known_ones() -> None:
    with pytest.raises(ProfileError, match=r"one of .*trn1, trn2, trn3.*did you mean 'trn2'"):
        _gate(target="trn22")


def test_an_unknown_form_to_emit_is_refused(compiled: nkigen_lite.Compiled) -> None:
    with pytest.raises(InvalidInput, match="form is 'cuda' but must be 'nki'"):
        compiled.emit("cuda")


def test_a_parameter_without_a_spec_is_named() -> None:
    with pytest.raises(InvalidInput, match="nothing is given for parameter 'w'"):
        nkigen_lite.compile(gate, "40x96:f32")


def test_a_spec_without_a_parameter_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'v'"):
        nkigen_lite.compile(gate, "40x96:f32", v="96x72:f32")


def test_shapes_that_do_not_fit_are_told_with_the_line() -> None:
    with pytest.raises(InvalidOp, match=r"96 in .* but 95 in .*\n  at .*test_api.py:\d+"):
        nkigen_lite.compile(gate, "40x96:f32", "95x72:f32")


def test_numpy_functions_without_meaning_are_refused_with_advice() -> None:
    with pytest.raises(TraceError, match=r"numpy.sort: has no tensor_ir meaning"):
        nkigen_lite.compile(lambda x: np.sort(x), "4x4:f32")


def test_integers_cannot_be_multiplied_on_the_pe_array() -> None:
    with pytest.raises(NotSupported, match="not one that the PE array multiplies"):
        nkigen_lite.compile(lambda a, b: a @ b, "8x8:i32", "8x8:i32")


def test_contradicting_pins_are_named() -> None:
    pins = [nkigen_lite.constrain("x", location=place) for place in ("hbm", "sbuf")]
    with pytest.raises(
        NoPlan, match="hold together: value 'x' lives in HBM only; value 'x' is kept in SBUF"
    ) as caught:
        _gate(constraints=pins)
    assert caught.value.report.status is solver.Status.INFEASIBLE


def test_a_folder_that_cannot_be_made_is_named(
    compiled: nkigen_lite.Compiled, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="file cannot be written"):
        nkigen_lite.write_outputs(compiled, tmp_path / "file")


def test_public_names_are_these() -> None:
    assert nkigen_lite.__all__ == sorted(nkigen_lite.__all__)
    assert {"compile", "Compiled", "kernel", "write_outputs"} <= set(nkigen_lite.__all__)
    assert len(nkigen_lite.__all__) <= 15
    assert all(hasattr(nkigen_lite, name) for name in nkigen_lite.__all__)

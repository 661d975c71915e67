"""Weights that the kernel takes in another order, into which the host brings them once."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from nki_stand_in import stand_in
from test_emit_examples import assert_reads_well

import nkigen_lite
from nkigen_lite.api import Compiled
from nkigen_lite.errors import InvalidInput
from nkigen_lite.tensor_ir.passes.axes import Axis, Storage
from nkigen_lite.tensor_ir.passes.layout_solver import Plan
from nkigen_lite.tensor_ir.passes.packed import Packed, packing_of

BF16 = ml_dtypes.bfloat16


def gated(x: Any, w: dict[str, Any], down: Any) -> Any:
    up = x @ w["up"].T
    return (np.maximum(up, 0) * (x @ w["gate"].T)) @ down.T


SPECS = "128x512:bf16", {"up": "1024x512:bf16", "gate": "1024x512:bf16"}, "512x1024:bf16"


@pytest.fixture(scope="module")
def kernel() -> Compiled:
    return nkigen_lite.compile(gated, *SPECS, prepack=["w", "down"], time_limit=2.0)


def arrays(kernel: Compiled, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {v.name: v.type.shape for v in kernel.graph.inputs}
    return {name: (rng.standard_normal(s) / 8).astype(BF16) for name, s in shapes.items()}


def wanted(given: dict[str, np.ndarray]) -> np.ndarray:
    x, up, gate, down = (given[n].astype(np.float32) for n in ("x", "w_up", "w_gate", "down"))
    return np.asarray(gated(x, {"up": up, "gate": gate}, down))


def assert_near(found: Any, given: dict[str, np.ndarray]) -> None:
    want = wanted(given)
    assert np.abs(np.asarray(found).astype(np.float32) - want).max() < 0.02 * np.abs(want).max()


def test_weights_are_packed_where_that_is_faster(kernel: Compiled) -> None:
    plain = nkigen_lite.compile(gated, *SPECS, time_limit=2.0)
    assert kernel.report.unpacked_us == plain.report.predicted_us
    assert kernel.report.predicted_us < 0.9 * plain.report.predicted_us
    assert kernel.report.simulated_us < 0.9 * plain.report.simulated_us
    assert plain.report.unpacked_us is None
    assert plain.plan.packed == ()


def test_a_packed_kernel_takes_what_the_function_takes(kernel: Compiled) -> None:
    given = arrays(kernel)
    assert {p.value for p in kernel.plan.packed} == {"w_up", "w_gate", "down"}
    assert_near(kernel.run(given)["output"], given)
    assert_near(kernel.run_checked(given, 1)["output"], given)


def test_a_block_of_a_packed_weight_is_one_run_for_each_partition(kernel: Compiled) -> None:
    taken = kernel.pack(arrays(kernel))
    assert taken["x"].shape == (128, 512)
    for packing in kernel.plan.packed:
        *_, rows, tiles, others = packing.shape
        assert rows == 128
        assert tiles * others * np.dtype(BF16).itemsize >= 2048
        assert taken[packing.argument].shape == packing.shape


def test_the_plan_and_the_report_tell(kernel: Compiled) -> None:
    assert Plan.from_json(kernel.plan.to_json()) == kernel.plan
    text = kernel.describe()
    assert "Weights that the host packs, once" in text
    assert "w_gate_packed" in text


def test_the_emitted_file_packs_each_weight_once(kernel: Compiled) -> None:
    text = kernel.emit()
    assert_reads_well(text)
    given = arrays(kernel)
    names: dict[str, Any] = {"__name__": "emitted"}
    with stand_in():
        exec(compile(text, "<emitted>", "exec"), names)
        run = names["run_gated"]
        assert_near(run(**given, simulate=True), given)
        before = dict(names["IN_ORDER"])
        other = {**given, "down": arrays(kernel, 1)["down"]}
        assert_near(run(**other, simulate=True), other)
        after = names["IN_ORDER"]
        assert after["w_up_packed"] is before["w_up_packed"]
        assert after["down_packed"] is not before["down_packed"]
        with pytest.raises(ValueError, match=r"w_up has shape \(512, 1024\) but must have"):
            run(**{**given, "w_up": given["w_up"].T})


def clashing(x: Any, nl: Any, nl_: Any) -> Any:
    return x @ nl.T + nl_


def test_a_packed_weight_has_a_name_of_its_own() -> None:
    specs = "128x128:bf16", "128x128:bf16", "128:bf16"
    text = nkigen_lite.compile(clashing, *specs, prepack=["nl"], time_limit=2.0).emit()
    assert "def run_clashing(x, nl__, nl_, simulate=False):" in text


@pytest.mark.parametrize("names", [["y"], [0], [["w"]], "w", None, 3])
def test_weights_that_are_none_are_refused(names: Any) -> None:
    with pytest.raises(InvalidInput, match="compile: prepack "):
        nkigen_lite.compile(gated, *SPECS, prepack=names)


def test_what_gains_nothing_stays_as_it_is() -> None:
    kernel = nkigen_lite.compile(lambda x: x + 1, "256x256", prepack=["x"])
    assert kernel.plan.packed == ()
    assert [v.name for v in kernel.nki.inputs] == ["x", "output_out"]


@pytest.mark.parametrize("blocks", [(512, 384), (256, 384), (128, 96), (512, 1)])
@pytest.mark.parametrize("position", [0, 1])
def test_packing_moves_every_element_to_its_block(position: int, blocks: tuple[int, int]) -> None:
    axes = Axis("a", 512), Axis("b", 384)
    storage = Storage("w", nkigen_lite.parse_spec(":f32").dtype, axes, "input", (512, 384))
    sizes = dict(zip(axes, blocks, strict=True))
    packed = Packed.of(storage, axes[position], 128, sizes)
    if blocks[position] % 128:
        assert packed is None
        return
    assert packed is not None
    array = np.arange(512 * 384).reshape(512, 384)
    made = packing_of(storage, packed).pack(array)
    sizes_of_first = [slice(0, n) for n in blocks]
    first = made.reshape(-1, blocks[0] * blocks[1])[0]
    assert set(first) == set(array[tuple(sizes_of_first)].ravel())

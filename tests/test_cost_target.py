"""Profiles: what they state, how they load, and what a wrong one is told."""

from __future__ import annotations

import copy
import doctest
import json
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

import cost_models
from benchmarks.measured.instructions import rows as instruction_rows
from cost_models import ProfileError, Target, load_target, targets
from cost_models.schema import STATUSES, fields

Document = dict[str, Any]


def document(name: str) -> Document:
    text = (resources.files("cost_models") / "profiles" / f"{name}.json").read_text("utf-8")
    loaded: Document = json.loads(text)
    return loaded


def saved(folder: Path, content: Document | str) -> Path:
    path = folder / "mine.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_built_in_targets_are_the_three_generations_and_inferentia2() -> None:
    assert targets() == ["inf2", "trn1", "trn2", "trn3"]


@pytest.mark.parametrize("name", targets())
def test_every_quantity_states_unit_source_and_status(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    for path, (kind, rule) in fields().items():
        quantity = target.provenance(path)
        section, field = path.split(".")
        assert quantity.value == getattr(getattr(target, section), field)
        assert type(quantity.value) is kind
        assert quantity.unit == rule.unit
        assert quantity.source
        assert quantity.status in STATUSES
        assert (quantity.source == "no source") == (quantity.status == "assumed")


def test_the_document_of_profiles_names_every_target_group_status_and_field() -> None:
    text = (Path(__file__).parents[1] / "docs" / "profiles.md").read_text("utf-8")
    short = {f"cycles_per_row_{dtype}" for dtype in ("f16", "tf32", "fp8", "f32")}
    names = {part for path in fields() for part in path.split(".")} - short
    missing = {name for name in {*names, *targets(), *STATUSES} if f"`{name}`" not in text}
    assert missing == set()


@pytest.mark.parametrize("name", targets())
def test_numbers_that_no_document_states_say_how_they_came(name: str) -> None:
    target = load_target(name)
    unexplained = [
        path
        for path in fields()
        if target.provenance(path).status in ("inferred", "calibrated", "assumed")
        and not target.provenance(path).note
    ]
    assert unexplained == []


@pytest.mark.parametrize("name", targets())
def test_calibrated_numbers_name_the_rows_they_were_fitted_on(name: str) -> None:
    target = load_target(name)
    notes = {path: target.provenance(path).note for path in target.calibrated()}
    assert all(note.startswith("fitted on one row: ") for note in notes.values()), notes
    for path in fields():
        assert (path in notes) == (target.provenance(path).status == "calibrated")


def test_trn1_dma_caps_are_what_the_hoisted_tutorial_matmul_reaches() -> None:
    # bf16 4096x8192 @ 8192x8192: lhsT once, rhs once per 128 rows of the output, 42.96 ms.
    m, k, n = 4096, 8192, 8192
    moved_bytes = 2 * (m * k + (m // 128) * k * n + m * n)
    target = load_target("trn1")
    assert target.calibrated() == [
        "dma.load_cap_gbps",
        "dma.store_cap_gbps",
    ]
    assert target.dma.load_cap_gbps == pytest.approx(moved_bytes / 42.96e6, rel=1e-3)
    assert target.dma.store_cap_gbps == target.dma.load_cap_gbps
    assert "272" in target.provenance("dma.load_cap_gbps").note


def test_inf2_is_the_core_of_trn1_with_other_links() -> None:
    inf2, trn1 = load_target("inf2"), load_target("trn1")
    different = [
        path for path in fields() if inf2.provenance(path).value != trn1.provenance(path).value
    ]
    assert different == ["chip.link_gbps"]
    assert inf2.calibrated() == trn1.calibrated() != []
    for path in inf2.calibrated():
        assert inf2.provenance(path) == trn1.provenance(path)


def test_trn2_load_cap_is_the_middle_of_the_published_load_bursts() -> None:
    (burst,) = [row for row in instruction_rows() if row.calibrates == "dma.load_cap_gbps"]
    cap = load_target("trn2").provenance("dma.load_cap_gbps")
    assert cap.value == (burst.low + burst.high) // 2
    assert (cap.status, burst.device) == ("inferred", "trn2")
    assert f"{burst.low:.0f} to {burst.high:.0f}" in cap.note


@pytest.mark.parametrize("name", ["trn1", "inf2"])
def test_no_measurement_of_trn1_is_called_one_of_inf2(name: str) -> None:
    statuses = {load_target(name).provenance(path).status for path in fields()}
    assert ("measured" in statuses) == (name == "trn1")


@pytest.mark.parametrize(
    ("name", "total_kib", "usable_kib", "status"),
    [
        ("inf2", 192, 176, "documented"),
        ("trn1", 192, 176, "documented"),
        ("trn2", 224, 208, "inferred"),
        ("trn3", 256, 240, "assumed"),
    ],
)
def test_sbuf_sizes_carry_their_choice_and_the_alternative(
    name: str, total_kib: int, usable_kib: int, status: str
) -> None:
    target = load_target(name)
    assert target.memory.sbuf_bytes_per_partition == total_kib * 1024
    assert target.memory.sbuf_usable_bytes_per_partition == usable_kib * 1024
    usable = target.provenance("memory.sbuf_usable_bytes_per_partition")
    assert usable.status == status
    assert "alternative" in usable.note


def test_assumed_lists_exactly_the_assumed_fields() -> None:
    target = load_target("trn3")
    assert "memory.sbuf_usable_bytes_per_partition" in target.assumed()
    assert all(target.provenance(path).status == "assumed" for path in target.assumed())
    assert "dma.queues" not in target.assumed()


def test_a_target_is_frozen_hashable_and_survives_pickling() -> None:
    target = load_target("trn2")
    with pytest.raises(FrozenInstanceError):
        target.name = "other"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(target)) == target
    assert hash(target) == hash(load_target("trn2"))


def test_an_override_changes_one_number_and_says_so() -> None:
    target = load_target("trn2", {"dma.queues": 8, "dma.descriptor_ns": 10})
    assert target.dma.queues == 8
    assert type(target.dma.descriptor_ns) is float
    assert target.dma.bytes_per_ns == load_target("trn2").dma.bytes_per_ns
    quantity = target.provenance("dma.queues")
    assert (quantity.source, quantity.status) == ("override", "assumed")
    assert quantity.note.startswith("replaces 16 (documented: aws-neuron-sdk")
    assert "dma.queues" in target.assumed()
    assert target != load_target("trn2")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"dma.queue": 8}, r"field 'dma\.queue' is unknown; did you mean 'dma\.queues'\?"),
        ({"dma.engines": 0}, r"dma\.queues is 0 but must be above 0"),
        ({"queues": 8}, r"field 'queues' is unknown; did you mean 'dma\.queues'\?"),
        ({"tensor.queues": 8}, r"field 'tensor\.queues' is unknown; did you mean 'dma\.queues'\?"),
        ({"pe.cold_rate": 1}, r"'pe\.cold_rate' is unknown; did you mean 'tensor\.cold_rate'\?"),
        ({"act.act_table_load_ns": 1}, r"did you mean 'scalar\.table_load_ns'\?"),
        ({"xyzzy": 1}, r"field 'xyzzy' is unknown$"),
        ({"dma.queues": 0}, r"dma\.queues is 0 but must be above 0 \(count\)"),
        ({"dma.queues": -1}, r"dma\.queues is -1 but must be above 0"),
        ({"dma.queues": 8.5}, r"dma\.queues is 8\.5 but must be a whole number"),
        ({"dma.queues": True}, r"dma\.queues is True but must be a whole number"),
        ({"dma.queues": "8"}, r"dma\.queues is '8' but must be a whole number"),
        ({"dma.descriptor_ns": -0.1}, r"dma\.descriptor_ns is -0\.1 but must be 0 or more \(ns\)"),
        ({"dma.descriptor_ns": float("nan")}, r"is nan but must be a finite number"),
        ({"dma.descriptor_ns": None}, r"is None but must be a finite number"),
        ({"scalar.runs_tensor_ops": 1}, r"runs_tensor_ops is 1 but must be true or false"),
        ({"tensor.cold_rate": 1.5}, r"tensor\.cold_rate is 1\.5 but must be <= 1"),
        (
            {"memory.sbuf_usable_bytes_per_partition": 229377},
            r"is 229377 but must be at most memory\.sbuf_bytes_per_partition, 229376",
        ),
        ({"memory.psum_banks": 9}, r"is 18432 but must be at most memory\.psum_bytes_per"),
    ],
)
def test_a_wrong_override_is_told_the_rule(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        load_target("trn2", overrides)


def test_a_copied_profile_loads_by_path(tmp_path: Path) -> None:
    mine = document("trn2")
    mine["name"] = "mine"
    mine["dma"]["queues"]["value"] = 32
    path = saved(tmp_path, mine)
    assert load_target(path).dma.queues == 32
    assert load_target(str(path)).name == "mine"


def _misspell_field(d: Document) -> None:
    d["dma"]["ques"] = d["dma"].pop("queues")


EDITS: list[tuple[Callable[[Document], object], str]] = [
    (lambda d: d["dma"].pop("queues"), r"dma\.queues is missing but every profile must state it"),
    (lambda d: d.pop("launch"), r"launch\.preamble_ns is missing"),
    (_misspell_field, r"field 'dma\.ques' is unknown; did you mean 'dma\.queues'\?"),
    (lambda d: d.update(memories={}), r"group 'memories' is unknown .*did you mean 'memory'\?"),
    (lambda d: d.update(dma=3), r"dma is 3 but must be a JSON object"),
    (lambda d: d["dma"].update(queues=16), r"dma\.queues is 16 but must be a JSON object"),
    (lambda d: d["dma"]["queues"].update(value=-1), r"dma\.queues is -1 but must be above 0"),
    (lambda d: d["dma"]["queues"].update(value="16"), r"'16' but must be a whole number"),
    (lambda d: d["dma"]["queues"].update(unit="ns"), r"unit is 'ns' but must be 'count'"),
    (lambda d: d["dma"]["queues"].update(source=""), r"dma\.queues source is '' but must be text"),
    (lambda d: d["dma"]["queues"].pop("source"), r"dma\.queues has no source"),
    (
        lambda d: d["dma"]["queues"].update(status="document"),
        r"status is 'document' but must be one of documented, .*, assumed; did you mean 'docum",
    ),
    (lambda d: d["dma"]["queues"].update(notes=""), r"key 'notes' .*did you mean 'note'\?"),
    (lambda d: d.update(name=""), r"name is '' but must be a non-empty string"),
]


@pytest.mark.parametrize(("edit", "message"), EDITS)
def test_a_wrong_profile_is_told_the_field_and_the_rule(
    tmp_path: Path, edit: Callable[[Document], object], message: str
) -> None:
    wrong = copy.deepcopy(document("trn2"))
    edit(wrong)
    path = saved(tmp_path, wrong)
    with pytest.raises(ProfileError, match=message) as caught:
        load_target(path)
    assert str(path) in str(caught.value)


def test_a_malformed_file_is_told_the_line(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="line 2 is not JSON"):
        load_target(saved(tmp_path, '{"name": "x",\n oops}'))


def test_a_profile_that_is_no_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"the profile is \[\] but must be a JSON object"):
        load_target(saved(tmp_path, "[]"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"nowhere\.json: the profile cannot be read: No such"):
        load_target(tmp_path / "nowhere.json")


def test_an_unknown_name_lists_the_names_and_the_near_one() -> None:
    with pytest.raises(
        ProfileError, match=r"'trn22' .*inf2, trn1, trn2, trn3.*; did you mean 'trn2'\?"
    ):
        load_target("trn22")


def test_provenance_of_an_unknown_field_suggests_the_near_one() -> None:
    target: Target = load_target("trn1")
    with pytest.raises(ProfileError, match=r"did you mean 'clock\.vector_ghz'"):
        target.provenance("clock.vektor_ghz")


def test_the_example_of_the_package_docstring_runs() -> None:
    result = doctest.testmod(cost_models)
    assert result.attempted == 4
    assert result.failed == 0


@pytest.mark.parametrize("value", [1e-300, 1e300])
def test_a_number_that_no_field_can_mean_is_refused(value: float) -> None:
    with pytest.raises(ProfileError, match=r"dma\.load_cap_gbps is .* but must be between"):
        load_target("trn2", {"dma.load_cap_gbps": value})


@pytest.mark.parametrize("text", ["[" * 100_000, '{"name": 1' + "0" * 5000 + "}"])
def test_a_file_that_no_profile_can_be_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "odd.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError, match=r"odd\.json"):
        load_target(file)


def test_an_override_may_use_the_vendors_word_for_a_field() -> None:
    assert load_target("trn2", {"dma.engines": 8}) == load_target("trn2", {"dma.queues": 8})

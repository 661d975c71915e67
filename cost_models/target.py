"""Hardware profiles: loading them from data, checking them, and where each number comes from."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final

from .errors import ProfileError, did_you_mean
from .schema import (
    SECTIONS,
    STATUSES,
    Chip,
    Clock,
    Dma,
    GpSimdEngine,
    Launch,
    Memory,
    Quantity,
    Rule,
    ScalarEngine,
    Sync,
    TensorEngine,
    VectorEngine,
    fields,
)

_VENDOR_NAMES: Final[Mapping[str, str]] = {
    "dma.engines": "dma.queues",
    "dma.rings": "dma.queues",
    "dma.start_ns": "dma.first_byte_load_ns",
    "memory.banks": "memory.psum_banks",
    "memory.hbm_gbps": "memory.hbm_chip_gbps",
    "scalar.act_table_load_ns": "scalar.table_load_ns",
}
"""Fields by the words that the vendor's documents have for them."""
_VENDOR_GROUPS: Final[Mapping[str, str]] = {
    "act": "scalar",
    "activation": "scalar",
    "dve": "vector",
    "pe": "tensor",
    "pool": "gpsimd",
    "psum": "memory",
    "sbuf": "memory",
}
_QUANTITY_KEYS: Final = ("value", "unit", "source", "status", "note")
# Beyond these no field of a profile makes sense, and sums of times lose their precision.
_LEAST, _MOST = 1e-9, 1e15
_TYPE_NAMES: Final[Mapping[type[Any], str]] = {
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
}


@dataclass(frozen=True, slots=True)
class Target:
    """One NeuronCore as plain numbers, grouped as in its profile.

    Two targets are equal when their names and numbers are; provenance does not count.
    """

    name: str
    chip: Chip
    memory: Memory
    clock: Clock
    tensor: TensorEngine
    vector: VectorEngine
    scalar: ScalarEngine
    gpsimd: GpSimdEngine
    dma: Dma
    sync: Sync
    launch: Launch
    _quantities: Mapping[str, Quantity] = field(repr=False, compare=False)

    def provenance(self, path: str) -> Quantity:
        """Value, unit, source, status and note of a field such as ``"dma.queues"``.

        Raises ProfileError for an unknown field.
        """
        _check_known(self.name, path)
        return self._quantities[path]

    def assumed(self) -> list[str]:
        """The fields that no source states, in reading order."""
        return self._with_status("assumed")

    def calibrated(self) -> list[str]:
        """The fields that were fitted to published kernel times, in reading order."""
        return self._with_status("calibrated")

    def _with_status(self, status: str) -> list[str]:
        return [path for path, q in self._quantities.items() if q.status == status]


def targets() -> list[str]:
    """Names of the built-in profiles, sorted."""
    folder = resources.files(__package__) / "profiles"
    return sorted(
        f.name.removesuffix(".json") for f in folder.iterdir() if f.name.endswith(".json")
    )


def load_target(
    name_or_path: str | os.PathLike[str], overrides: Mapping[str, object] | None = None
) -> Target:
    """The target of a built-in name (see :func:`targets`) or of a profile file.

    A string with a path separator or the ending ``.json`` is a path. To add a profile, copy a
    built-in one, edit it, and pass its path. ``overrides`` maps fields to values, as in
    ``{"dma.queues": 8}``, by our word for a field or the vendor's ("dma.engines"); they are checked
    like the profile and get the status "assumed".

    Raises ProfileError, naming the field, its value and the rule, for anything that is not as
    :mod:`cost_models.schema` says.
    """
    who, text = _read(name_or_path)
    document = _parse(who, text)
    quantities = _quantities(who, document)
    for given, value in (overrides or {}).items():
        path = _VENDOR_NAMES.get(given, given)
        quantities[path] = _overridden(who, path, value, quantities)
    target = _build(_name(who, document), quantities)
    _check_sizes(who, target)
    return target


def _read(name_or_path: str | os.PathLike[str]) -> tuple[str, str]:
    """(what to call the profile in messages, its text)."""
    given = os.fspath(name_or_path)
    is_path = not isinstance(name_or_path, str) or given.endswith(".json") or os.sep in given
    if is_path:
        try:
            return given, Path(given).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ProfileError(f"{given}: the profile cannot be read: {reason}") from None
    known = targets()
    if given not in known:
        raise ProfileError(
            f"target name is {given!r} but must be one of {', '.join(known)}, or the path of a"
            f" .json profile{did_you_mean(given, known)}"
        )
    file = resources.files(__package__) / "profiles" / f"{given}.json"
    return given, file.read_text(encoding="utf-8")


def _parse(who: str, text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ProfileError(
            f"{who}: line {error.lineno} is not JSON: {error.msg} (column {error.colno})"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"{who}: the profile cannot be read: {error}") from None
    return _object(who, "the profile", document)


def _object(who: str, what: str, found: object) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ProfileError(f"{who}: {what} is {found!r} but must be a JSON object")
    return found


def _name(who: str, document: Mapping[str, Any]) -> str:
    name = document.get("name")
    if not isinstance(name, str) or not name:
        raise ProfileError(f"{who}: name is {name!r} but must be a non-empty string")
    return name


def _quantities(who: str, document: Mapping[str, Any]) -> dict[str, Quantity]:
    """Every field of the profile in schema order, checked."""
    found: dict[str, object] = {}
    for section, content in document.items():
        if section == "name":
            continue
        if section not in SECTIONS:
            raise ProfileError(
                f"{who}: group {section!r} is unknown but must be one of"
                f" {', '.join(SECTIONS)}{did_you_mean(section, SECTIONS)}"
            )
        for key, value in _object(who, section, content).items():
            _check_known(who, f"{section}.{key}")
            found[f"{section}.{key}"] = value
    for path in fields():
        if path not in found:
            raise ProfileError(f"{who}: {path} is missing but every profile must state it")
    return {path: _quantity(who, path, found[path]) for path in fields()}


def _check_known(who: str, path: str) -> None:
    if path not in fields():
        raise ProfileError(f"{who}: field {path!r} is unknown{_suggestion(path)}")


def _suggestion(path: str) -> str:
    """``"; did you mean 'x'?"``: the vendor's word, the name in its group, or the nearest name."""
    group, _, name = path.rpartition(".")
    translated = f"{_VENDOR_GROUPS.get(group, group)}.{name}"
    translated = _VENDOR_NAMES.get(translated, translated)
    same_name = [known for known in fields() if known.split(".")[1] == name]
    if translated in fields():
        return f"; did you mean {translated!r}?"
    if len(same_name) == 1:
        return f"; did you mean {same_name[0]!r}?"
    return did_you_mean(translated, fields())


def _quantity(who: str, path: str, found: object) -> Quantity:
    entry = _object(who, path, found)
    for key in entry:
        if key not in _QUANTITY_KEYS:
            raise ProfileError(
                f"{who}: {path} has the key {key!r} but its keys are"
                f" {', '.join(_QUANTITY_KEYS)}{did_you_mean(key, _QUANTITY_KEYS)}"
            )
    for key in _QUANTITY_KEYS[:-1]:
        if key not in entry:
            raise ProfileError(f"{who}: {path} has no {key} but every quantity must state it")
    for key in ("unit", "source", "status", "note"):
        text = entry.get(key, "")
        if not isinstance(text, str) or (not text and key != "note"):
            raise ProfileError(f"{who}: {path} {key} is {text!r} but must be text")
    kind, rule = fields()[path]
    if entry["unit"] != rule.unit:
        raise ProfileError(f"{who}: {path} unit is {entry['unit']!r} but must be {rule.unit!r}")
    if entry["status"] not in STATUSES:
        raise ProfileError(
            f"{who}: {path} status is {entry['status']!r} but must be one of"
            f" {', '.join(STATUSES)}{did_you_mean(entry['status'], STATUSES)}"
        )
    value = _value(who, path, entry["value"], kind, rule)
    return Quantity(value, rule.unit, entry["source"], entry["status"], entry.get("note", ""))


def _value(who: str, path: str, value: object, kind: type[Any], rule: Rule) -> float | int | bool:
    """The value in the field's own Python type, or ProfileError."""
    accepted = (int, float) if kind is float else kind
    fits = isinstance(value, accepted) and isinstance(value, bool) == (kind is bool)
    if not fits or not isinstance(value, (int, float)) or not abs(value) < math.inf:
        raise ProfileError(f"{who}: {path} is {value!r} but must be {_TYPE_NAMES[kind]}")
    if value < 0 or (rule.positive and value == 0):
        limit = "above 0" if rule.positive else "0 or more"
        raise ProfileError(f"{who}: {path} is {value!r} but must be {limit} ({rule.unit})")
    if value and not _LEAST <= value <= _MOST:
        raise ProfileError(
            f"{who}: {path} is {value!r} but must be between {_LEAST:g} and {_MOST:g} ({rule.unit})"
        )
    return float(value) if kind is float else value


def _overridden(who: str, path: str, value: object, quantities: Mapping[str, Quantity]) -> Quantity:
    _check_known(who, path)
    kind, rule = fields()[path]
    old = quantities[path]
    return Quantity(
        value=_value(who, path, value, kind, rule),
        unit=old.unit,
        source="override",
        status="assumed",
        note=f"replaces {old.value} ({old.status}: {old.source})",
    )


def _build(name: str, quantities: Mapping[str, Quantity]) -> Target:
    groups: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for path, quantity in quantities.items():
        section, key = path.split(".")
        groups[section][key] = quantity.value
    records: dict[str, Any] = {s: record(**groups[s]) for s, record in SECTIONS.items()}
    return Target(name=name, _quantities=quantities, **records)


def _check_sizes(who: str, target: Target) -> None:
    """Rules between fields: what is usable, or made of banks, must fit its memory."""
    m = target.memory
    if m.sbuf_usable_bytes_per_partition > m.sbuf_bytes_per_partition:
        raise ProfileError(
            f"{who}: memory.sbuf_usable_bytes_per_partition is"
            f" {m.sbuf_usable_bytes_per_partition} but must be at most"
            f" memory.sbuf_bytes_per_partition, {m.sbuf_bytes_per_partition}"
        )
    if m.psum_banks * m.psum_bank_bytes > m.psum_bytes_per_partition:
        raise ProfileError(
            f"{who}: memory.psum_banks x memory.psum_bank_bytes is"
            f" {m.psum_banks * m.psum_bank_bytes} but must be at most"
            f" memory.psum_bytes_per_partition, {m.psum_bytes_per_partition}"
        )
    if target.tensor.cold_rate > 1:
        raise ProfileError(f"{who}: tensor.cold_rate is {target.tensor.cold_rate} but must be <= 1")

"""JSON for the solver's records: one encoder and one decoder, driven by the field types.

A record is a frozen dataclass whose fields are ints, floats, strings, booleans, enums, other
records, `X | None`, tuples and mappings with string keys.  Tuples are JSON arrays, records and
mappings are JSON objects.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import types
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

R = TypeVar("R")


class DecodeError(ValueError):
    """The JSON does not describe the record; the message starts with the path of the field."""


def encode(item: Any) -> Any:
    """`item` as JSON-ready lists, dicts and scalars; mappings sorted by key, so that equal records
    give equal text."""
    if dataclasses.is_dataclass(item):
        return {f.name: encode(getattr(item, f.name)) for f in dataclasses.fields(item)}
    if isinstance(item, enum.Enum):
        return item.value
    if isinstance(item, Mapping):
        return {key: encode(item[key]) for key in sorted(item)}
    if isinstance(item, (tuple, list)):
        return [encode(part) for part in item]
    return item


def decode(kind: type[R], data: Any, path: str) -> R:
    """The record of class `kind` that `data` describes.

    Raises `DecodeError`, naming the field by its path, where a field is missing, unknown or of
    another type.
    """
    read: Callable[[Any, str], R] = _reader(cast(Hashable, kind))
    return read(data, path)


def to_text(record: Any) -> str:
    """The record as JSON text; equal records give equal text."""
    return json.dumps(encode(record), indent=1)


def from_text(kind: type[R], text: str, path: str, error: type[Exception]) -> R:
    """The record that `to_text` wrote; `path` names it in messages.

    Raises `error`, naming the field at fault, where the text is no JSON or describes no such
    record.
    """
    try:
        return decode(kind, json.loads(text), path)
    except (DecodeError, json.JSONDecodeError) as wrong:
        raise error(str(wrong)) from wrong


@cache
def _reader(kind: Any) -> Callable[[Any, str], Any]:
    """The function that reads one JSON item of type `kind`."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _record_reader(kind)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _optional_reader(kind)
    if origin is Literal:
        return _choice_reader(get_args(kind), lambda item: item)
    if origin is tuple:
        return _tuple_reader(get_args(kind))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_reader(get_args(kind)[1])
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _choice_reader(tuple(member.value for member in kind), kind)
    return _scalar_reader(kind)


def _record_reader(kind: type) -> Callable[[Any, str], Any]:
    hints = get_type_hints(kind)
    fields = dataclasses.fields(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields}
    missing = dataclasses.MISSING
    optional = {f.name for f in fields if (f.default, f.default_factory) != (missing, missing)}

    def read(data: Any, path: str) -> Any:
        if not isinstance(data, dict):
            raise DecodeError(f"{path}: is {_named(data)}, must be an object")
        for key in data:
            if key not in readers:
                raise DecodeError(f"{path}.{key}: unknown field of {kind.__name__}")
        for name in readers:
            if name not in data and name not in optional:
                raise DecodeError(f"{path}.{name}: missing")
        return kind(**{key: readers[key](item, f"{path}.{key}") for key, item in data.items()})

    return read


def _optional_reader(kind: Any) -> Callable[[Any, str], Any]:
    (inner,) = (_reader(part) for part in get_args(kind) if part is not types.NoneType)
    return lambda data, path: None if data is None else inner(data, path)


def _choice_reader(
    choices: tuple[Any, ...], make: Callable[[Any], Any]
) -> Callable[[Any, str], Any]:
    def read(data: Any, path: str) -> Any:
        if data not in choices:
            allowed = ", ".join(str(choice) for choice in choices)
            raise DecodeError(f"{path}: is {data!r}, must be one of {allowed}")
        return make(data)

    return read


def _tuple_reader(parts: tuple[Any, ...]) -> Callable[[Any, str], Any]:
    each = _reader(parts[0]) if parts[-1] is Ellipsis else None
    readers = [] if each else [_reader(part) for part in parts]

    def read(data: Any, path: str) -> Any:
        if not isinstance(data, list) or (readers and len(data) != len(readers)):
            wanted = f"a list of {len(readers)}" if readers else "a list"
            raise DecodeError(f"{path}: is {_named(data)}, must be {wanted}")
        chosen = [each] * len(data) if each else readers
        return tuple(
            reader(item, f"{path}[{index}]")
            for index, (reader, item) in enumerate(zip(chosen, data, strict=True))
        )

    return read


def _mapping_reader(item_kind: Any) -> Callable[[Any, str], Any]:
    reader = _reader(item_kind)

    def read(data: Any, path: str) -> Any:
        if not isinstance(data, dict):
            raise DecodeError(f"{path}: is {_named(data)}, must be an object")
        return {key: reader(item, f"{path}.{key}") for key, item in data.items()}

    return read


def _scalar_reader(kind: type) -> Callable[[Any, str], Any]:
    def read(data: Any, path: str) -> Any:
        if kind is float and type(data) is int:
            return float(data)
        if type(data) is not kind:
            raise DecodeError(f"{path}: is {_named(data)}, must be of type {kind.__name__}")
        return data

    return read


def _named(data: Any) -> str:
    return f"{data!r}" if isinstance(data, (str, int, float, bool)) else f"a {type(data).__name__}"

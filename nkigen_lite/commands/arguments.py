"""From words of the command line to the arguments of ``compile``."""

from __future__ import annotations

import argparse
import ast
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from inspect import BoundArguments
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from cost_models import Target, load_target
from nkigen_lite.commands.stages import ALL, STAGES
from nkigen_lite.core.dtypes import Array, DType, parse_dtype, round_to
from nkigen_lite.errors import InvalidInput
from nkigen_lite.frontend import arguments, load_function, parse_spec
from nkigen_lite.nki_ir.checked import Order
from nkigen_lite.tensor_ir.types import TensorType

Pair = tuple[str, str]


def pair(text: str) -> Pair:
    """``NAME=VALUE`` as a pair; what argparse calls for ``--arg``, ``--static`` and ``--set``."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name.strip(), value.strip()


def seconds(text: str) -> float:
    """A time above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def seed(text: str) -> int:
    """A whole number from 0 to 2**31 - 1, which is what CP-SAT takes."""
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2**31 - 1")
    return int(text)


def order(text: str) -> Order:
    """``program``, or a seed."""
    return "program" if text == "program" else seed(text)


def count(text: str) -> int:
    """A whole number from 1 to a million."""
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 1000000")
    return int(text)


def stage(text: str) -> str:
    """A stage's name, or ``all``."""
    names = [*STAGES, ALL]
    if text not in names:
        near = get_close_matches(text, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(names)}{hint}")
    return text


@dataclass(frozen=True, slots=True)
class Request:
    """A function and what it is to be compiled for.

    Attributes:
        function: as the user wrote it.
        bound: per parameter a TensorType, an array, or a static value.
    """

    function: Callable[..., Any]
    bound: BoundArguments

    def with_arrays(self, arrays: Mapping[str, Array]) -> BoundArguments:
        """The same with an array in place of each of these parameters."""
        return BoundArguments(self.bound.signature, {**self.bound.arguments, **arrays})


def request(
    where: str, specs: list[Pair], statics: list[Pair], given: Mapping[str, Array] | None = None
) -> Request:
    """What ``FILE:FUNC``, ``--arg``, ``--static`` and the arrays of ``--inputs`` say together.

    Where an array and a spec have one name, the array must have the spec's shape and is rounded to
    its type.

    Raises:
        InvalidInput: the function cannot be loaded, or a name, spec or file is wrong.
    """
    function = load_function(where)
    found: dict[str, Any] = dict(given or {})
    for name, text in specs:
        spec = _spec(name, text)
        found[name] = as_type(name, found[name], spec) if name in found else spec
    _add_statics(found, statics)
    _refuse_untyped(found)
    signature = arguments.signature_of(function)
    return Request(function, arguments.bind(where, signature, (), found, partial=True))


def named_arguments(specs: list[Pair], statics: list[Pair]) -> dict[str, Any]:
    """What ``--arg`` and ``--static`` say, for ``sweep``: specs stay text, as they may have names
    for extents and element types.

    Raises:
        InvalidInput: a file cannot be read, or a parameter is given in both ways.
    """
    found: dict[str, Any] = {}
    for name, text in specs:
        typed = text if ":" in text else f"{text}:f32"
        found[name] = _spec(name, text) if text.startswith("@") else typed
    _add_statics(found, statics)
    return found


def _add_statics(found: dict[str, Any], statics: list[Pair]) -> None:
    """Add what ``--static`` says to the arrays; refuse a parameter that is given in both ways."""
    for name, text in statics:
        if name in found:
            raise InvalidInput(f"--static {name}: {name!r} is given as an array, too")
        found[name] = literal(text)


def target_of(name: str, settings: list[Pair]) -> Target:
    """The profile of that name or path with the fields of ``--set`` replaced.

    Raises:
        ProfileError: there is no such profile or field, or a value is not one for its field.
    """
    return load_target(name, {field: number(text) for field, text in settings})


def load_arrays(path: str) -> dict[str, Array]:
    """The arrays of an .npz file by name.

    Raises:
        InvalidInput: it cannot be read.
    """
    found = _load(path)
    if isinstance(found, np.ndarray):
        raise InvalidInput(f"{path}: holds one array but must be an .npz with an array per name")
    return found


def as_type(name: str, array: Any, spec: Any) -> Array:
    """``array`` rounded to the type of ``spec``, whose shape it must have.

    Numpy's files keep bf16 and fp8 arrays as bytes without a type; ``spec`` says which it is.
    """
    kind = spec if isinstance(spec, TensorType) else parse_spec(spec)
    found = np.asarray(array)
    if found.shape != kind.shape:
        raise InvalidInput(f"{name!r}: the array has shape {found.shape} but --arg says {kind}")
    return _typed(name, found, kind.dtype)


def _typed(name: str, array: Array, dtype: DType) -> Array:
    if _is_untyped(array):
        if array.dtype.itemsize != dtype.itemsize:
            raise InvalidInput(
                f"{name!r}: the file's elements have {array.dtype.itemsize} bytes but {dtype} has "
                f"{dtype.itemsize}"
            )
        return array.view(dtype.np)
    return round_to(array, dtype)


def _is_untyped(array: Array) -> bool:
    """Whether the elements are plain bytes; the dtypes of ml_dtypes have numpy's kind V as well."""
    return array.dtype.type is np.void


def _refuse_untyped(found: Mapping[str, Any]) -> None:
    """Refuse arrays whose element type the file did not keep."""
    for name, value in found.items():
        if isinstance(value, np.ndarray) and _is_untyped(value):
            shape = "x".join(map(str, value.shape)) or "scalar"
            raise InvalidInput(
                f"{name!r}: numpy's files do not keep the type of its {value.dtype.itemsize}-byte "
                f"elements; say it: --arg {name}={shape}:bf16 (or @file.npy:bf16)"
            )


def _spec(name: str, text: str) -> TensorType | Array:
    """A spec, or with ``@`` the array in a file: ``@x.npy``, ``@x.npy:bf16``."""
    if not text.startswith("@"):
        try:
            return parse_spec(text)
        except InvalidInput as error:
            raise InvalidInput(f"--arg {name}: {error}") from None
    path, colon, last = text[1:].rpartition(":")
    if colon and not Path(text[1:]).is_file():
        return _typed(name, _one_array(path), parse_dtype(last))
    return _one_array(text[1:])


def _one_array(path: str) -> Array:
    found = _load(path)
    if not isinstance(found, np.ndarray):
        raise InvalidInput(f"{path}: holds several arrays; pass the file with --inputs")
    return found


def _load(path: str) -> Array | dict[str, Array]:
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            return {name: found[name] for name in found.files}
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, BadZipFile):
        raise InvalidInput(f"{path}: is not an .npy or .npz file of plain arrays") from None


def literal(text: str) -> Any:
    """A Python literal, or else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def number(text: str) -> object:
    """A number, ``true`` or ``false``; anything else is left for the profile to refuse."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text

"""What the user's program calls an array that it brings along."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array, DType, round_to
from nkigen_lite.core.location import user_frames

_OF_VALUES = re.compile(r"[a-z]\d+|const_\d+")  # names that graphs give values, or inputs
_MOST_ELEMENTS = 1 << 24  # that are compared


def variable_of(array: Array, rounded: Array, dtype: DType) -> str | None:
    """The variable that holds an array, or an array that is the same once it is rounded.

    Args:
        array: what the program computes with.
        rounded: the same as ``dtype``.
        dtype: what it is rounded to.
    """
    for frame in user_frames():
        variables = frame.f_locals
        named = [n for n in variables if variables[n] is array]
        named = named or [n for n in variables if _is_alike(variables[n], rounded, dtype)]
        named = named or _globals_that_are(array, frame.f_globals)
        usable = [n for n in named if n.isidentifier() and not _OF_VALUES.fullmatch(n)]
        if usable:
            return usable[-1]
    return None


def _is_alike(value: Any, rounded: Array, dtype: DType) -> bool:
    if type(value) is not np.ndarray or value.dtype.kind not in "fiub":
        return False
    if value.shape != rounded.shape or value.size > _MOST_ELEMENTS:
        return False
    with np.errstate(all="ignore"):
        return round_to(value, dtype).tobytes() == rounded.tobytes()


def _globals_that_are(array: Array, variables: Mapping[str, Any]) -> list[str]:
    return [name for name, value in list(variables.items()) if value is array]

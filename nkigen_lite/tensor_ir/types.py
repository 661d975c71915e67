"""The type of a tensor_ir value: a shape and an element type, no hardware."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Self

from nkigen_lite.core.dtypes import DType

_TEXT = re.compile(r"<((?:[1-9]\d*x)*)([a-z][a-z0-9_]*)>\Z")


@dataclass(frozen=True, slots=True)
class TensorType:
    """A whole tensor: ``shape`` (outermost dimension first) and ``dtype``; rank 0 is a scalar."""

    shape: tuple[int, ...]
    dtype: DType

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def num_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.num_elements * self.dtype.itemsize

    def __str__(self) -> str:
        return f"<{''.join(f'{n}x' for n in self.shape)}{self.dtype}>"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The type that ``text`` prints as, or None."""
        match = _TEXT.match(text)
        if match is None or match[2] not in {d.value for d in DType}:
            return None
        return cls(tuple(int(n) for n in match[1].split("x") if n), DType(match[2]))

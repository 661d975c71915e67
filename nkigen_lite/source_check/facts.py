"""The vendor's published facts as data, and the names that source may use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from nkigen_lite.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Token:
    """``nl.add`` and the like: an operation that an instruction is told to compute."""

    name: str

    def __repr__(self) -> str:
        return f"nl.{self.name}"


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an enum of ``nki.isa``: ``nisa.engine.vector``."""

    kind: str
    name: str

    def __repr__(self) -> str:
        return f"nisa.{self.kind}.{self.name}"


@dataclass(frozen=True, slots=True)
class Dtype:
    """An element type of ``nki.language``."""

    name: str
    bytes: int

    @property
    def is_integer(self) -> bool:
        return "int" in self.name or self.name == "bool_"

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"nl.{self.name}"


@dataclass(frozen=True, slots=True)
class Region:
    """A memory: ``nl.sbuf``, ``nl.psum``, ``nl.hbm`` or ``nl.shared_hbm``."""

    name: str

    def __repr__(self) -> str:
        return f"nl.{self.name}"

    @property
    def on_chip(self) -> bool:
        return self.name in ("sbuf", "psum")


@dataclass(frozen=True, slots=True)
class Register:
    """A number that is known at run time only; equal to all others, as nothing of it is known."""


@dataclass(frozen=True, slots=True)
class Groups:
    """``ncc.ReplicaGroup(...)``: ranks that exchange with each other."""

    ranks: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """A target as the kernel sees it.

    Attributes:
        generation: 2 (trn1, inf2), 3 (trn2) or 4 (trn3).
        sbuf_bytes: of SBUF in each partition, the whole of it.
        moving_bytes: what a matmul's destination may take of one partition's PSUM.
        matmul_dtypes: what a matmul may write.
    """

    name: str
    generation: int
    partitions: int
    sbuf_bytes: int
    psum_banks: int
    psum_bank_bytes: int
    moving_bytes: int
    matmul_dtypes: tuple[str, ...]


@cache
def published() -> Mapping[str, Any]:
    """The contents of ``facts.json``."""
    text = files(__package__).joinpath("facts.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def checked_targets() -> tuple[str, ...]:
    """The targets whose limits are known."""
    return tuple(published()["targets"])


def limits_of(target: str) -> Limits:
    """The limits of a target by name.

    Raises:
        InvalidInput: nothing is published about that target.
    """
    known = published()["targets"]
    if target not in known:
        raise InvalidInput(
            f"check: target is {target!r} but must be one of {', '.join(sorted(known))}"
        )
    row = known[target]
    return Limits(name=target, **{**row, "matmul_dtypes": tuple(row["matmul_dtypes"])})


@cache
def dtypes() -> Mapping[str, Dtype]:
    """Element types by their names."""
    return {name: Dtype(name, size) for name, size in published()["dtype_bytes"].items()}


@cache
def language() -> Mapping[str, Any]:
    """What ``nl.<name>`` is, for every name of ``nki.language``."""
    facts = published()
    found: dict[str, Any] = {name: Token(name) for name in facts["language"]}
    found |= dtypes()
    found |= {name: Region(name) for name in facts["regions"]}
    return found


@cache
def enums() -> Mapping[str, Mapping[str, Member]]:
    """The enums of ``nki.isa`` with their members."""
    return {
        kind: {name: Member(kind, name) for name in names}
        for kind, names in published()["enums"].items()
    }

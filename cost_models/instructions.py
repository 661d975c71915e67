"""One compute instruction as plain data, what it costs, and the tables activations need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from .errors import PriceError, did_you_mean

FLOATS_16BIT: Final = frozenset({"bf16", "f16"})
FLOATS_8BIT: Final = frozenset({"fp8_e4m3", "fp8_e4m3_ieee", "fp8_e5m2", "fp8_e3m4"})
DTYPE_BYTES: Final = {
    "f32": 4,
    "tf32": 4,
    "bf16": 2,
    "f16": 2,
    **dict.fromkeys(sorted(FLOATS_8BIT), 1),
    "i32": 4,
    "i16": 2,
    "i8": 1,
    "u32": 4,
    "u16": 2,
    "u8": 1,
    "bool": 1,
}
MEMORIES: Final = ("sbuf", "psum")

TABLE_SETS: Final[Mapping[str, tuple[str, ...]]] = {
    "exp": ("exp", "tanh"),
    "softplus": ("softplus",),
    "sigmoid": ("sigmoid", "tanh", "erf", "arctan"),
    "sqrt": ("sqrt",),
    "log": ("log",),
    "log_exp": ("log", "exp"),
    "trig": ("sin", "arctan"),
    "gelu": ("gelu", "gelu_dx", "tanh"),
    "gelu_apprx_tanh": ("gelu_apprx_tanh", "tanh"),
    "gelu_apprx_sigmoid": ("gelu_apprx_sigmoid", "tanh"),
    "reciprocal": ("reciprocal",),
    "rsqrt": ("rsqrt",),
    "mish": ("mish",),
    "erf_dx": ("erf_dx",),
    "silu": ("silu", "tanh", "sin"),
    "silu_dx": ("silu_dx", "tanh", "sin"),
    "gelu_apprx_sigmoid_dx": ("gelu_apprx_sigmoid_dx", "tanh"),
}
"""Table sets of the Scalar engine, which holds one at a time, and the functions of each.

Source: the set roster of the vendor's compiler (act_info.json of neuronx-cc 2.24, 21 sets, as
listed in a public study of it), under the names of nki.language; sets whose functions NKI does not
offer are left out. A trn2 trace agrees on five of them: exp, sigmoid, silu, softplus and rsqrt
each cause a load (KevGomes1403/nki-moe-megakernel nki_kernels/specs/deltanet_decode_opt.md). That
other generations group functions alike is assumed.
"""
TABLE_FREE: Final = frozenset({"abs", "copy", "identity", "prelu", "relu", "sign", "square"})
"""Functions that every set holds; same sources."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """``count`` equal instructions that run back to back on one engine.

    ``rows`` is the number of partitions touched (at most 128; it does not change the price).
    ``elems`` is the number of elements per partition of the longest operand; for matmul the free
    size of the moving operand, for nc_transpose on the tensor engine the rows that move through,
    for topk what a group of 16 partitions selects from.
    ``dtypes`` and ``memories`` tell the full-size operands, destination first, then the sources in
    the order of the instruction (predicate before data); one value per partition, as a bias or
    scale tile has, is told by ``pointer`` alone. ``contiguous`` is False when the innermost free
    dimension of some operand is strided. ``function`` is an activation's function under its name
    in nki.language, or "zero" for a memset to zero. ``columns`` is the free size of the stationary
    operand of a matmul or of a transpose on the tensor engine, or how many values a topk selects; 0
    when unknown.

    More operations have prices than nki_ir has ops: it cannot express the others yet.

    Raises PriceError for sizes below 1, unknown dtypes or memories, or unequal operand lists.
    """

    op: str
    engine: str
    rows: int
    elems: int
    dtypes: tuple[str, ...]
    memories: tuple[str, ...]
    pointer: bool = False
    contiguous: bool = True
    count: int = 1
    function: str = ""
    columns: int = 0

    def __post_init__(self) -> None:
        if self.columns < 0:
            raise PriceError(f"{self.op}: columns is {self.columns} but must be 0 or more")
        for what, size in (("rows", self.rows), ("elems", self.elems), ("count", self.count)):
            if size < 1:
                raise PriceError(f"{self.op}: {what} is {size} but must be at least 1")
        for dtype in self.dtypes:
            if dtype not in DTYPE_BYTES:
                raise PriceError(
                    f"{self.op}: dtype is {dtype!r} but must be one of {', '.join(DTYPE_BYTES)}"
                    f"{did_you_mean(dtype, DTYPE_BYTES)}"
                )
        for memory in self.memories:
            if memory not in MEMORIES:
                raise PriceError(
                    f"{self.op}: memory is {memory!r} but must be one of {', '.join(MEMORIES)}"
                )
        if not self.dtypes or len(self.dtypes) != len(self.memories):
            raise PriceError(
                f"{self.op}: it has {len(self.dtypes)} dtypes and {len(self.memories)} memories"
                " but must have one of each per operand, the destination included"
            )


@dataclass(frozen=True, slots=True)
class Price:
    """Predicted times of an :class:`Instruction`.

    ``interval_ns`` is how long the engine is taken, so that the next instruction can start;
    ``latency_ns`` runs from the start to the mark that lets a consumer start.
    """

    interval_ns: float
    latency_ns: float


def activation_table(function: str, loaded: str | None = None) -> str | None:
    """The table set that is loaded when the Scalar engine evaluates ``function``.

    None for functions that every set holds: they need no load. ``loaded``, the set in place, is
    the answer if it holds the function; otherwise the first set of :data:`TABLE_SETS` that does.
    A function that no source puts in a set is assumed to have a set of its own.

    >>> activation_table("exp"), activation_table("tanh", loaded="silu")
    ('exp', 'silu')
    """
    if not function or function in TABLE_FREE:
        return None
    if loaded is not None and function in TABLE_SETS.get(loaded, (loaded,)):
        return loaded
    return next((name for name, held in TABLE_SETS.items() if function in held), function)

"""Times that no arrangement of given work can beat, one per resource."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from .dma import peak_gbps
from .engine_rates import matmul_cycles_per_row
from .errors import PriceError
from .schema import fields as profile_fields
from .target import Target

_ENGINES: Final = ("vector", "scalar", "gpsimd")
_ELEMS_PER_CYCLE: Final[Mapping[str, Callable[[float], float]]] = {
    "elems/cycle": lambda rate: rate,
    "cycles/elem": lambda cycles: 1 / cycles,
}
"""The units of those profile fields that are rates, and their value in elements per cycle."""


@dataclass(frozen=True, slots=True)
class Work:
    """What must be done, whatever the plan. Elements are counted over all partitions.

    ``hbm_bytes`` are the bytes that DMA must move from or to HBM; ``hbm_load_bytes`` of them are
    read (leave it 0 when unknown). ``macs`` maps the dtype of the sources to multiply-adds.
    ``vector_elems``, ``scalar_elems`` and ``gpsimd_elems`` can run on that engine alone,
    ``any_elems`` on any of the three.

    Raises PriceError for a negative amount, or more bytes read than moved.
    """

    hbm_bytes: int = 0
    macs: Mapping[str, int] = field(default_factory=dict)
    vector_elems: int = 0
    scalar_elems: int = 0
    gpsimd_elems: int = 0
    any_elems: int = 0
    hbm_load_bytes: int = 0

    def __post_init__(self) -> None:
        amounts: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        amounts |= {f"macs[{dtype}]": count for dtype, count in amounts.pop("macs").items()}
        for what, amount in amounts.items():
            if amount < 0:
                raise PriceError(f"work: {what} is {amount} but must be 0 or more")
        if self.hbm_load_bytes > self.hbm_bytes:
            raise PriceError(
                f"work: hbm_load_bytes is {self.hbm_load_bytes} but must be at most hbm_bytes,"
                f" {self.hbm_bytes}"
            )


@dataclass(frozen=True, slots=True)
class Bounds:
    """Lower bounds in ns per resource; ``resource`` is the one with the largest, ``ns``.

    The resources are hbm (all DMA traffic), hbm_load (its loads), tensor, vector, scalar, gpsimd,
    and elementwise (the last three engines together); of a given stream of instructions also
    critical_path (:func:`cost_models.simulate.bounds_of`).
    """

    by_resource: Mapping[str, float]
    resource: str
    ns: float


def peak_elems_per_ns(target: Target, engine: str) -> float:
    """Elements per ns over all partitions at the best rate of any instruction of an engine.

    ``engine`` is vector, scalar or gpsimd. The best rate is the largest in the engine's group of
    the profile, so it holds for every profile.
    """
    group = getattr(target, engine)
    per_cycle = max(
        _ELEMS_PER_CYCLE[rule.unit](getattr(group, path.split(".")[1]))
        for path, (_, rule) in profile_fields().items()
        if path.startswith(f"{engine}.") and rule.unit in _ELEMS_PER_CYCLE
    )
    ghz: float = getattr(target.clock, f"{engine}_ghz")
    return target.memory.partitions * per_cycle * ghz


def peak_macs_per_ns(target: Target, dtype: str) -> float:
    """Multiply-adds per ns of the PE array, with sources of a dtype.

    Raises PriceError for a dtype that the array does not multiply.
    """
    tensor = target.tensor
    cells = tensor.pe_rows * tensor.pe_cols
    return cells * target.clock.tensor_ghz / matmul_cycles_per_row(target, (dtype,))


def bounds(target: Target, work: Work) -> Bounds:
    """Lower bounds on the predicted time of ``work``, from the same rates as the prices.

    HBM bytes / DMA cap; multiply-adds / (PE cells x clock / cycles per row); elements / best
    rate. Overheads, latencies and dependencies are left out, so each bound holds for any plan
    that is priced with this package. Ties go to the first resource in reading order.

    Raises PriceError for a dtype that the PE array does not multiply.
    """
    dma = target.dma
    elems = dict(
        zip(_ENGINES, (work.vector_elems, work.scalar_elems, work.gpsimd_elems), strict=True)
    )
    rates = {engine: peak_elems_per_ns(target, engine) for engine in _ENGINES}
    by_resource = {
        "hbm": work.hbm_bytes / peak_gbps(target),
        "hbm_load": work.hbm_load_bytes / dma.load_cap_gbps,
        "tensor": sum(n / peak_macs_per_ns(target, dtype) for dtype, n in work.macs.items()),
        **{engine: elems[engine] / rates[engine] for engine in _ENGINES},
        "elementwise": (sum(elems.values()) + work.any_elems) / sum(rates.values()),
    }
    resource = max(by_resource, key=lambda name: by_resource[name])
    return Bounds(by_resource, resource, by_resource[resource])

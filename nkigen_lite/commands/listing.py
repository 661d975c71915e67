"""``targets``: the hardware profiles and where each of their numbers comes from."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, fields, is_dataclass

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from cost_models import Quantity, Target, load_target, targets
from cost_models.roofline import peak_macs_per_ns
from nkigen_lite.commands import terminal
from nkigen_lite.report.figures import size
from nkigen_lite.report.tables import Column, render, table

_INDENT = 4
_TERA = 1000  # flops per ns in a teraflop per second


def targets_command(args: argparse.Namespace) -> int:
    """List the profiles; with a name, or with ``--assumed``, their numbers."""
    chosen = [load_target(args.name)] if args.name else [load_target(n) for n in targets()]
    detailed = bool(args.name) or args.assumed
    found = {t.name: quantities(t, assumed=args.assumed) for t in chosen}
    if args.json:
        data = [
            {"name": t.name, **_main(t)}
            if not detailed
            else {"name": t.name, "quantities": {p: asdict(q) for p, q in found[t.name].items()}}
            for t in chosen
        ]
        terminal.write(json.dumps(data[0] if args.name else data, indent=1) + "\n")
        return 0
    items: list[RenderableType] = []
    if detailed:
        for target in chosen:
            items += _details(target, found[target.name], assumed=args.assumed)
    else:
        items.append(_overview(chosen))
    terminal.write(
        render(items, terminal.width(), colour=terminal.colour(), encoding=terminal.encoding())
    )
    return 0


def quantities(target: Target, *, assumed: bool = False) -> dict[str, Quantity]:
    """Every number of a profile by ``group.field``, in reading order; or those assumed."""
    paths = [
        f"{group.name}.{field.name}"
        for group in fields(target)
        if is_dataclass(record := getattr(target, group.name))
        for field in fields(record)
    ]
    found = {path: target.provenance(path) for path in paths}
    return {path: q for path, q in found.items() if q.status == "assumed" or not assumed}


def _main(target: Target) -> dict[str, float]:
    """What people compare targets by; derived from the profile's numbers."""
    memory = target.memory
    return {
        "cores_per_chip": target.chip.cores,
        "link_gbps": target.chip.link_gbps,
        "partitions": memory.partitions,
        "sbuf_usable_bytes_per_partition": memory.sbuf_usable_bytes_per_partition,
        "psum_banks": memory.psum_banks,
        "bf16_tflops": 2 * peak_macs_per_ns(target, "bf16") / _TERA,
        "f32_tflops": 2 * peak_macs_per_ns(target, "f32") / _TERA,
        "dma_queues": target.dma.queues,
        "hbm_load_gbps": target.dma.load_cap_gbps,
        "hbm_store_gbps": target.dma.store_cap_gbps,
        "calibrated": len(target.calibrated()),
        "assumed": len(target.assumed()),
    }


def _overview(chosen: list[Target]) -> RenderableType:
    columns = (
        Column("target"),
        Column("cores", right=True, drop=3),
        Column("link GB/s", right=True, drop=4),
        Column("partitions", right=True, drop=7),
        Column("SBUF/part.", right=True),
        Column("PSUM banks", right=True, drop=6),
        Column("bf16 TFLOPS", right=True),
        Column("f32 TFLOPS", right=True, drop=5),
        Column("DMA queues", right=True, drop=8),
        Column("load GB/s", right=True, drop=1),
        Column("store GB/s", right=True, drop=2),
        Column("calibrated", right=True, drop=2),
        Column("assumed", right=True, drop=1),
    )
    rows = []
    for target in chosen:
        main = _main(target)
        rows.append(
            (
                target.name,
                f"{main['cores_per_chip']}",
                f"{main['link_gbps']:g}",
                f"{main['partitions']}",
                size(main["sbuf_usable_bytes_per_partition"]),
                f"{main['psum_banks']}",
                f"{main['bf16_tflops']:.1f}",
                f"{main['f32_tflops']:.1f}",
                f"{main['dma_queues']}",
                f"{main['hbm_load_gbps']:g}",
                f"{main['hbm_store_gbps']:g}",
                f"{main['calibrated']}",
                f"{main['assumed']}",
            )
        )
    return table(columns, rows, terminal.width())


def _details(target: Target, found: dict[str, Quantity], *, assumed: bool) -> list[RenderableType]:
    """A line per number, and its source and note below it."""
    total = len(quantities(target))
    what = f"{len(found)} of {total} numbers are assumed" if assumed else f"{total} numbers"
    items: list[RenderableType] = [Text(f"{target.name}: {what}", style="bold")]
    for path, q in found.items():
        items.append(Text(f"{path} = {_value(q.value)} {q.unit} ({q.status})"))
        said = f"{q.source}; {q.note}" if q.note else q.source
        items.append(Padding(Text(said, style="dim"), (0, 0, 0, _INDENT)))
    return items


def _value(value: float) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else f"{value:.10g}"

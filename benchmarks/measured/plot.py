"""A scatter plot of predicted over published times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from .compare import NS_PER_UNIT, Comparison


def save(
    kernels: Sequence[Comparison], single: Sequence[Comparison], path: Path, band: float
) -> None:
    """Write the plot of both data sets to a file, in the format of its name's ending.

    Rates are left out. Errors of up to ``band`` are shaded.

    Raises:
        ValueError: no time to plot, or matplotlib has no such format.
        OSError: the file cannot be written.
    """
    single = [c for c in single if c.unit in NS_PER_UNIT]
    if not (kernels or single):
        raise ValueError("plot: there is no time to plot")
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "validate", "svg.fonttype": "none"}):
        figure, axes = plt.subplots(figsize=(7, 6), layout="constrained")
        times = [t for c in (*kernels, *single) for t in _us(c)]
        span = [min(times) / 1.5, max(times) * 1.5]
        axes.fill_between(
            span,
            [t * (1 - band) for t in span],
            [t * (1 + band) for t in span],
            color="0.9",
            label=f"within {band:.0%}",
        )
        axes.plot(span, span, color="0.5", linewidth=0.8)
        for label, found, marker in (
            ("instructions and DMAs", single, "."),
            *(
                (f"kernels, {d}", [c for c in kernels if c.judged and c.device == d], "o")
                for d in _devices(kernels)
            ),
            ("kernels: shown, not judged", [c for c in kernels if not c.judged], "x"),
        ):
            if found:
                published, predicted = zip(*map(_us, found), strict=True)
                axes.scatter(published, predicted, s=14, marker=marker, label=label)
        axes.set(xscale="log", yscale="log", xlim=span, ylim=span)
        axes.set(xlabel="published measurement (µs)", ylabel="predicted (µs)")
        axes.legend(loc="upper left", frameon=False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        plt.close(figure)


def _us(c: Comparison) -> tuple[float, float]:
    """Published and predicted time in us."""
    return c.published * NS_PER_UNIT[c.unit] / 1000, c.predicted * NS_PER_UNIT[c.unit] / 1000


def _devices(kernels: Sequence[Comparison]) -> list[str]:
    return sorted({c.device for c in kernels})

"""A scatter plot of predicted over published times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from .compare import Comparison

BAND = 0.25
"""The errors that are shaded."""


def save(kernels: Sequence[Comparison], single: Sequence[Comparison], path: Path) -> None:
    """Write the plot of both data sets to a file, in the format of its name's ending.

    Raises:
        ValueError: nothing to plot, or matplotlib has no such format.
        OSError: the file cannot be written.
    """
    if not (kernels or single):
        raise ValueError("plot: there are no rows to plot")
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "validate", "svg.fonttype": "none"}):
        figure, axes = plt.subplots(figsize=(7, 6), layout="constrained")
        times = [t for c in (*kernels, *single) for t in (c.published_us, c.predicted_us)]
        span = [min(times) / 1.5, max(times) * 1.5]
        axes.fill_between(
            span,
            [t * (1 - BAND) for t in span],
            [t * (1 + BAND) for t in span],
            color="0.9",
            label=f"within {BAND:.0%}",
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
                axes.scatter(
                    [c.published_us for c in found],
                    [c.predicted_us for c in found],
                    s=14,
                    marker=marker,
                    label=label,
                )
        axes.set(xscale="log", yscale="log", xlim=span, ylim=span)
        axes.set(xlabel="published measurement (µs)", ylabel="predicted (µs)")
        axes.legend(loc="upper left", frameon=False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        plt.close(figure)


def _devices(kernels: Sequence[Comparison]) -> list[str]:
    return sorted({c.device for c in kernels})

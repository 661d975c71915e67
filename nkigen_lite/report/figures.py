"""Numbers as people read them."""

from __future__ import annotations

_BINARY = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def size(nbytes: float) -> str:
    """Bytes in binary units: ``31.3 MiB``."""
    for unit, name in _BINARY:
        if nbytes >= unit:
            return f"{_short(nbytes / unit)} {name}"
    return f"{nbytes:.0f} B"


def micros(us: float) -> str:
    """Microseconds to ten nanoseconds, very long times to whole ones: ``177.80``, ``12,345``."""
    return f"{us:,.0f}" if us >= 10_000 else f"{us:.2f}"


def duration(ns: float) -> str:
    """A short time in the unit that suits it: ``820 ns``, ``3.95 us``."""
    return f"{ns:.3g} ns" if ns < 999.5 else f"{micros(ns / 1000)} us"


def percent(part: float) -> str:
    """A share of one as a percentage: ``98.4%``; small ones do not become nothing: ``<0.1%``."""
    if 0 < part < 0.001:
        return "<0.1%"
    return f"{part:.1%}"


def difference(of: float, to: float) -> str:
    """How much more than ``to`` ``of`` is, with its sign: ``+35.3%``, ``-2.0%``."""
    return f"{of / to - 1:+.1%}" if to else "-"


def ratio(of: float, to: float) -> str:
    """``of`` in multiples of ``to``: ``2.90x``."""
    return f"{of / to:.2f}x" if to else "-"


def scientific(number: float) -> str:
    """An error: ``4.7e-07``; whole numbers as they are."""
    return f"{number:.0f}" if number.is_integer() else f"{number:.1e}"


def bar(part: float, width: int) -> str:
    """A bar of at most ``width`` blocks for a share of one; what is not nothing shows."""
    blocks = round(min(max(part, 0.0), 1.0) * width)
    return "█" * max(blocks, 1 if part > 0 else 0)


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 1000 else f"{number:.1f}"

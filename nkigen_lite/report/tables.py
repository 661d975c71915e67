"""Tables that fit the terminal: columns shrink, then the least important ones are left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TypeVar

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

# What a terminal without these characters shows instead, one for one, so that columns stay in line.
_PLAIN = str.maketrans(
    {"·": "|", "…": "~", "█": "#", "▓": "+", "▒": ":", "░": ".", "─": "-", "≤": "<", "—": "-"}
)
LEAST_WIDTH = 40
"""Characters of the narrowest text: what is asked to be narrower is that wide."""
T = TypeVar("T")
_GAP = 2  # blanks between columns: one of padding, one of the box's divider
_NARROWEST = 6
_NOTHING = ("", "-")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: at its head.
        right: whether its cells are aligned to the right.
        least: the fewest characters in which it still says something; None: it never shrinks.
        drop: columns with a higher number are left out first; those with 0 always stay.
    """

    title: str
    right: bool = False
    least: int | None = None
    drop: int = 0


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> Table:
    """A rich table of ``rows``, at most ``width`` characters wide unless its headings need more.

    Columns that say nothing in any row are left out, unless they always stay.
    """
    useful = [
        i
        for i, c in enumerate(columns)
        if not c.drop or any(row[i] not in _NOTHING for row in rows)
    ]
    columns = [columns[i] for i in useful]
    rows = [[row[i] for i in useful] for row in rows]
    natural = [
        max([len(column.title), *(len(row[i]) for row in rows)]) for i, column in enumerate(columns)
    ]
    widths = _fit(columns, natural, width)
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, _GAP - 1, 0, 0))
    for i, size in widths.items():
        column = columns[i]
        made.add_column(
            column.title,
            justify="right" if column.right else "left",
            width=size,
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in rows:
        made.add_row(*(Text(row[i]) for i in widths))
    return made


def _fit(columns: Sequence[Column], natural: Sequence[int], width: int) -> dict[int, int]:
    """The columns that stay, by index, and their widths.

    First those that may shrink do, down to their least width; then columns are left out; and where
    even that is not enough, those that are left shrink to less.
    """
    kept = list(range(len(columns)))
    while True:
        widths = {i: natural[i] for i in kept}
        excess = sum(widths.values()) + _GAP * (len(kept) - 1) - width
        droppable = [i for i in kept if columns[i].drop]
        excess = _shrink(columns, widths, excess, None)
        if excess > 0 and not droppable:
            _shrink(columns, widths, excess, _NARROWEST)
        if excess <= 0 or not droppable:
            return widths
        kept.remove(max(droppable, key=lambda i: columns[i].drop))


def _shrink(
    columns: Sequence[Column], widths: dict[int, int], excess: int, floor: int | None
) -> int:
    """Take ``excess`` characters off the columns that may shrink, the widest first; what is left
    of it. They keep ``floor`` characters, or with None their least width."""
    for i in sorted(widths, key=lambda i: -widths[i]):
        least = columns[i].least
        if excess > 0 and least is not None:
            cut = min(excess, max(0, widths[i] - (least if floor is None else floor)))
            widths[i] -= cut
            excess -= cut
    return excess


def render(
    items: Sequence[RenderableType], width: int, *, colour: bool = False, encoding: str = "utf-8"
) -> str:
    """``items`` one below the other as text; with ``colour``, with terminal colour codes.

    Characters that ``encoding`` lacks are replaced one for one.
    """
    buffer = StringIO()
    console = Console(
        file=buffer,
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        legacy_windows=False,
        soft_wrap=False,
    )
    for item in items:
        console.print(item)
    lines = [line.rstrip() for line in buffer.getvalue().splitlines()]
    return encodable("\n".join(lines) + "\n", encoding)


def encodable(text: str, encoding: str) -> str:
    """``text`` with what ``encoding`` cannot say replaced, character by character."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        plain = text.translate(_PLAIN)
        return plain.encode(encoding, "replace").decode(encoding)
    return text


def shortened(
    items: Sequence[T], limit: int | None, weight: Callable[[T], float]
) -> tuple[list[T], list[T]]:
    """The ``limit`` heaviest items and the others, both in their order; None: all of them."""
    if limit is None or len(items) <= limit:
        return list(items), []
    order = sorted(range(len(items)), key=lambda i: (-weight(items[i]), i))
    chosen = set(order[:limit])
    shown = [item for i, item in enumerate(items) if i in chosen]
    return shown, [item for i, item in enumerate(items) if i not in chosen]

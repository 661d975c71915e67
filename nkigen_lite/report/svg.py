"""What drawings as SVG share: a page that is light or dark as the reader prefers, boxes, text."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement

_STYLE = """
.back { fill: #ffffff } .grid { stroke: #dddddd } .lane { fill: #f4f4f4 }
text { font-family: system-ui, 'DejaVu Sans', sans-serif; font-size: 12px; fill: #222222 }
.title { font-size: 15px; font-weight: bold } .label { font-size: 10px; pointer-events: none }
.event { stroke: #222222; stroke-opacity: 0.55; stroke-width: 0.5 }
@media (prefers-color-scheme: dark) {
  .back { fill: #16181d } .grid { stroke: #3a3d45 } .lane { fill: #20232a }
  text { fill: #e4e4e4 } .event { stroke: #16181d; stroke-opacity: 1 }
}
"""


def document(width: int, height: int, style: str) -> Element:
    """An empty page with a background; ``style`` is added to its style sheet."""
    root = Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=str(width),
        height=str(height),
    )
    SubElement(root, "style").text = _STYLE + style
    rect(root, "back", 0, 0, width, height)
    return root


def rect(root: Element, kind: str, x: float, y: float, width: float, height: float) -> Element:
    size = {"x": px(x), "y": px(y), "width": px(width), "height": px(height)}
    return SubElement(root, "rect", {"class": kind, **size})


def text(
    root: Element, x: float, y: float, text: str, kind: str = "", anchor: str = "start"
) -> None:
    how = {"class": kind} if kind else {}
    if anchor != "start":
        how["text-anchor"] = anchor
    made = SubElement(root, "text", {**how, "x": px(x), "y": px(y)})
    made.text = legible(text)


def legible(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def px(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")

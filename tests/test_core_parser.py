"""Text that is not well formed is refused with its line and what was expected."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nkigen_lite.core import parse
from nkigen_lite.errors import InvalidInput, InvalidMatmul, InvalidOp, NkigenError
from nkigen_lite.nki_ir.rows import NKI
from nkigen_lite.tensor_ir.rows import TENSOR

GOOD = """graph @g(
  %x: <4x2xf32>
) {
  %y: <2xf32> = reduce(%x) {axis=(0,), kind="max"}
  return y=%y
}"""

# what is put in place of what, the line, what is wrong
MISTAKES = [
    ("graph @g", "grph @g", 1, "found 'grph' but expected 'graph'"),
    ("graph @g", "graph g", 1, "found 'g' but expected '@'"),
    ("@g(", "@3(", 1, "found '3' but expected a name"),
    ("@g(", "@g[", 1, "found '[' but expected a name, number, string"),
    ("%x: <4x2xf32>", "x: <4x2xf32>", 2, "found 'x' but expected '%'"),
    ("%x: <4x2xf32>", "%x <4x2xf32>", 2, "found '<4x2xf32>' but expected ':'"),
    ("%x: <4x2xf32>", "%x: f32", 2, "found 'f32' but expected a type"),
    ("%x: <4x2xf32>", "%x: <4x2xf33>", 2, "found '<4x2xf33>' but expected a type"),
    ("%x: <4x2xf32>", "%x: <0x2xf32>", 2, "found '<0x2xf32>' but expected a type"),
    ("%x: <4x2xf32>", "%x: <4x2xf32> %z: <f32>", 2, "found '%' but expected ',' or ')'"),
    ("%x: <4x2xf32>", "%x: <4xf32>, %x: <4xf32>", 2, "%x is defined twice"),
    ("\n) {", "\n)", 4, "found '%' but expected '{'"),
    ("%y: <2xf32> = reduce", "%y: <2xf32> reduce", 4, "found 'reduce' but expected '='"),
    ("%y: <2xf32> = reduce", "%y: <2xf32>, = reduce", 4, "expected an op or 'return'"),
    ("%y: <2xf32> = reduce", "%x: <2xf32> = reduce", 4, "%x is defined twice"),
    ("%y: <2xf32> = reduce", "%y: <f32>, %y: <2xf32> = reduce", 4, "%y is defined twice"),
    ("= reduce(%x)", "= reduce %x", 4, "found '%' but expected '('"),
    ("= reduce(%x)", "= reduce(%z)", 4, "%z is used before it is defined"),
    ("= reduce(%x)", "= reduce(x)", 4, "found 'x' but expected '%'"),
    ("= reduce(%x)", "= reduce(%x %x)", 4, "found '%' but expected ',' or ')'"),
    ("axis=(0,)", "axis:(0,)", 4, "found ':' but expected '='"),
    ("axis=(0,)", "axis=zero", 4, "found 'zero' but expected a literal"),
    ("axis=(0,)", "axis=%x", 4, "found '%' but expected a literal"),
    ("axis=(0,)", "axis=(0 1)", 4, "found '1' but expected ',' or ')'"),
    ("axis=(0,)", "axis=(0,), axis=(1,)", 4, "'axis' is given twice"),
    ("axis=(0,)", "axis=(0", 4, "found 'kind' but expected a literal"),
    ('kind="max"}', 'kind="max}', 4, "found '\"max}' but expected a name, number"),
    ('kind="max"', 'kind="\\q"', 4, "but expected a string as in JSON"),
    ('kind="max"', 'kind="max" keepdims=true', 4, "found 'keepdims' but expected ',' or '}'"),
    ('kind="max"}', 'kind="max"} at "f.py"', 5, "found 'return' but expected ':'"),
    ('kind="max"}', 'kind="max"} at "f.py":x', 4, "found 'x' but expected a line number"),
    ("return y=%y", "return y=%q", 5, "%q is used before it is defined"),
    ("return y=%y", "return y=%y, y=%x", 5, "'y' is given twice"),
    ("return y=%y", "return %y", 5, "found '%' but expected a name"),
    ("return y=%y", "", 6, "found '}' but expected an op or 'return'"),
    ("=%y\n}", "=%y\n", 6, "found the end of the text but expected ',' or '}'"),
    ("=%y\n}", "=%y\n} more", 6, "found 'more' but expected the end of the text"),
    ("=%y\n}", "=%y\n} ;", 6, "found ';' but expected a name, number, string or type"),
]


def test_the_text_that_the_mistakes_start_from_is_good() -> None:
    assert parse(GOOD, TENSOR).verify() == []


@pytest.mark.parametrize(("old", "new", "line", "sentence"), MISTAKES)
def test_mistake_is_refused_with_its_line(old: str, new: str, line: int, sentence: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(InvalidInput) as caught:
        parse(GOOD.replace(old, new), TENSOR)
    message = str(caught.value)
    assert message.startswith(f"parse: line {line}: ")
    assert sentence in message


def test_empty_text_is_refused() -> None:
    with pytest.raises(InvalidInput, match="line 1: found the end of the text but expected 'graph"):
        parse("", TENSOR)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("reduce(", "reduse(", "tensor_ir: unknown opcode 'reduse'; did you mean 'reduce'?"),
        ("(0,)", "(2,)", "reduce: axis 2 is out of range for rank 2"),
        ("%y: <2xf32>", "%y: <4xf32>", "results are ['<4xf32>'] but its row makes ['<2xf32>']"),
        ("kind=", "kine=", "reduce: attribute 'kine' is not one of axis, kind, keepdims"),
        ("axis=(0,), ", "", "reduce: attribute 'axis' is missing"),
        ("(%x)", "()", "reduce: got 0 operands but takes 1"),
    ],
)
def test_an_op_against_its_row_is_refused_with_the_rule_and_line(
    old: str, new: str, sentence: str
) -> None:
    with pytest.raises(InvalidOp, match=re.escape(sentence)) as caught:
        parse(GOOD.replace(old, new), TENSOR)
    assert str(caught.value).endswith("\n  in line 4 of the text")


def test_the_class_of_the_error_stays() -> None:
    text = "graph @g(%a: <4xf32>) { %y: <f32> = matmul(%a) return }"
    with pytest.raises(InvalidOp, match="takes 2"):
        parse(text, TENSOR)
    text = "graph @g(%a: <4xf32>, %b: <3xf32>) { %y: <f32> = matmul(%a, %b) return }"
    with pytest.raises(InvalidMatmul, match="contraction dim mismatch"):
        parse(text, TENSOR)


def test_a_region_sees_the_values_around_it_and_not_the_other_way_round() -> None:
    text = """graph @k(%x: tile<8x4xf32@hbm>) {
      fori_loop() {extent=2} with
        body=graph @i(%i: tile<i32@reg>) {
          %t: tile<8x4xf32@sbuf> = alloc() {shape=(8, 4), dtype=f32, memory="sbuf"}
          dma_copy(%t, %x)
          return
        }
      end
      memset(%t) {value=0.0}
      return
    }"""
    with pytest.raises(InvalidInput, match="line 9: %t is used before it is defined"):
        parse(text, NKI)
    assert parse(text.replace("memset(%t) {value=0.0}", ""), NKI).verify() == []


def test_a_malformed_slice_is_refused_like_any_type() -> None:
    text = (
        "graph @k(%x: tile<8xf32@hbm>) { %y: tile<4xf32@hbm> = slice(%x) {slices=slice<a>} return }"
    )
    with pytest.raises(InvalidInput, match="line 1: found 'slice<a>' but expected a type"):
        parse(text, NKI)


@settings(max_examples=150)
@given(st.integers(0, len(GOOD)), st.integers(0, 6), st.text("%@(){}=,:<>x4 \n\"'", max_size=4))
def test_damaged_text_fails_with_one_of_the_projects_errors(at: int, cut: int, new: str) -> None:
    text = GOOD[:at] + new + GOOD[at + cut :]
    refused, found = "", None
    try:
        found = parse(text, TENSOR)
    except NkigenError as error:
        refused = str(error)
    assert re.search(r"line \d", refused) if found is None else found.verify() == []

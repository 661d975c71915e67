"""Predicted times against published ones of single instructions and DMAs.

The rows, with their sources, are in benchmarks/measured/instructions.json.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from benchmarks.measured.instructions import (
    UNITS,
    InstructionRow,
    error,
    outside,
    predicted,
    rows,
)
from cost_models import Instruction, PriceError, instruction_price, load_target
from cost_models.schema import fields

TOLERANCE = 0.05
TRN2 = load_target("trn2")
DATA = Path(__file__).parents[1] / "benchmarks" / "measured" / "instructions.json"


def name(row: InstructionRow) -> str:
    cold = " cold" if row.cold else ""
    return f"{row.device} {row.published_as} {row.elems}{cold} {row.what}"


@pytest.mark.parametrize("row", [r for r in rows() if not r.listed_miss], ids=name)
def test_predictions_are_near_the_published_times(row: InstructionRow) -> None:
    assert abs(outside(row)) <= TOLERANCE, (predicted(row), row)


@pytest.mark.parametrize("row", [r for r in rows() if r.listed_miss], ids=name)
def test_listed_misses_are_misses_or_were_used_for_calibration(row: InstructionRow) -> None:
    assert abs(outside(row)) > TOLERANCE or row.calibrates, (predicted(row), row)


def test_rows_that_no_constant_was_read_from_are_met_as_well() -> None:
    judges = [row for row in rows() if not row.calibrates]
    assert len(judges) >= 40
    assert median(abs(error(row)) for row in judges) <= 0.05
    assert median(abs(error(row)) for row in judges if not row.listed_miss) <= 0.02


def test_the_data_set_is_read_whole() -> None:
    records = json.loads(DATA.read_text("utf-8"))["rows"]
    assert len(rows(unpriced=True)) == len(records)
    assert len(rows()) == sum(record["priced"] for record in records)


def test_every_row_says_where_it_comes_from_and_what_it_was_used_for() -> None:
    for row in rows(unpriced=True):
        assert row.source
        assert row.low <= row.value <= row.high
        assert row.what in UNITS
        assert row.calibrates == "" or row.calibrates in fields()


def test_no_row_is_listed_twice() -> None:
    keys = [(name(r), r.engine, r.dtypes, r.memories, r.source) for r in rows(unpriced=True)]
    assert len(keys) == len(set(keys))


def test_an_unpriced_row_has_no_prediction() -> None:
    unpriced = next(row for row in rows(unpriced=True) if row.op == "event_semaphore")
    with pytest.raises(PriceError):
        predicted(unpriced)


def test_errors_are_from_the_value_and_from_the_nearer_end_of_the_range() -> None:
    row = next(r for r in rows() if r.op == "table_load" and r.device == "trn2")
    found = [
        (round(error(r), 3), round(outside(r), 3))
        for low, value, high in ((1200, 1250, 1400), (900, 1000, 1200), (1500, 1600, 1800))
        for r in [replace(row, value=value, low=low, high=high)]
    ]
    assert predicted(row) == 1305
    assert found == [(0.044, 0), (0.305, 0.087), (-0.184, -0.13)]


def test_a_long_matmul_chain_runs_at_the_published_kernel_rate() -> None:
    # aws-neuron-sdk nki/img/how-to/v5-*.png: 28.16 ms for 32,768 f32 matmuls of 512 rows.
    memories = ("psum", "sbuf", "sbuf")
    chain = Instruction("matmul", "tensor", 128, 512, ("f32",) * 3, memories, count=32768)
    assert instruction_price(TRN2, chain).interval_ns == pytest.approx(28.16e6, rel=TOLERANCE)

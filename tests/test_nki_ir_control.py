"""Registers, loops with bounds that run time decides, and branches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from emit_agreement import assert_agrees

from cost_models import load_target
from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.core.parser import parse
from nkigen_lite.core.structure import structurally_equal
from nkigen_lite.errors import InvalidInput, InvalidOp
from nkigen_lite.nki_ir import Builder, MemorySpace, ds, insert_deallocs, run
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.nki_ir.rows import NKI
from nkigen_lite.nki_ir.simulate import simulate_kernel
from nkigen_lite.nki_ir.verify import problems

F32, I32 = DType.F32, DType.I32
TRN2 = load_target("trn2")
Array = np.ndarray[Any, np.dtype[Any]]
X = np.arange(32, dtype=np.float32).reshape(8, 4) + 1


class Rows(Builder):
    """A builder with x (8, 4) and a word in HBM, and y (8, 4), which starts as zeros."""

    def __init__(self) -> None:
        super().__init__("k")
        self.x = self.add_input("x", (8, 4))
        self.word = self.add_input("word", (1, 1), I32)
        self.y = self.add_input("y_out", (8, 4))
        zeros = self.memset(self.alloc((8, 4), F32), value=0.0)
        self.dma_copy(self.y, zeros)
        self.set_outputs({"y": self.y})
        self.register = self.register_load(self.register_alloc(name="held"), self.word)

    def copy_row(self, at: Value) -> None:
        """y[at] = x[at]."""
        row = self.alloc((1, 4), F32)
        self.dma_scatter(self.y, self.dma_gather(row, self.x, at), at)

    def fill(self, value: float, row: int = 0) -> None:
        """y[row] = value."""
        tile = self.memset(self.alloc((1, 4), F32), value=value)
        self.dma_copy(self.slice(self.y, [ds(row, 1), ds(0, 4)]), tile)


def result(graph: Graph, held: int) -> Array:
    """What the kernel writes; the emitted one and the one read back from text write the same."""
    word = np.full((1, 1), held, np.int32)
    assert_agrees(graph, {"x": X, "word": word})
    text = graph.dump()
    parsed = parse(text, NKI)
    assert parsed.dump() == text
    assert structurally_equal(graph, parsed)
    return run(parsed, {"x": X.copy(), "word": word, "y_out": np.zeros((8, 4), np.float32)})["y"]


def dynamic(step: int = 1, expected: int = 1) -> Rows:
    b = Rows()
    b.dynamic_loop("i", b.register, lambda b, i: b.copy_row(i), step=step, expected_trips=expected)
    return b


@pytest.mark.parametrize("bound", [0, 1, 5, 8])
@pytest.mark.parametrize("step", [1, 3])
def test_a_dynamic_loop_runs_up_to_what_its_register_holds(bound: int, step: int) -> None:
    wanted = np.zeros_like(X)
    wanted[0:bound:step] = X[0:bound:step]
    np.testing.assert_array_equal(result(dynamic(step).graph, bound), wanted)


def counting_down() -> Rows:
    """While the word is not zero: y[word] = x[word]; word = word - 1."""
    b = Rows()
    word = b.alloc((1, 1), I32, name="word_tile")
    b.register_store(word, b.register)

    def body(b: Rows) -> None:
        b.copy_row(b.register)
        b.tensor_scalar_arith(word, word, op0="subtract", imm0=1.0)
        b.register_load(b.register, word)

    b.while_loop("countdown", b.register, body, expected_trips=4, most_trips=9)
    return b


@pytest.mark.parametrize("held", [0, 1, 7])
def test_a_while_loop_runs_until_its_register_holds_zero(held: int) -> None:
    wanted = np.zeros_like(X)
    wanted[1 : held + 1] = X[1 : held + 1]
    np.testing.assert_array_equal(result(counting_down().graph, held), wanted)


def test_a_while_loop_that_does_not_end_is_given_up() -> None:
    b = Rows()
    b.while_loop("forever", b.register, lambda b: b.fill(1.0), most_trips=10)
    with pytest.raises(InvalidInput, match="more than 10 trips but that is most_trips"):
        run(b.graph, {"x": X, "word": np.ones((1, 1), np.int32), "y_out": np.zeros_like(X)})


def branch(with_otherwise: bool = True, likely: str = "then") -> Rows:
    b = Rows()
    attrs: dict[str, Any] = {"likely": likely}
    if with_otherwise:
        attrs["otherwise"] = lambda b: b.fill(-2.0)
    b.if_else(b.register, lambda b: b.fill(3.0, row=1), **attrs)
    return b


@pytest.mark.parametrize("with_otherwise", [True, False])
@pytest.mark.parametrize("held", [0, 1])
def test_a_register_of_0_or_1_chooses_a_branch(held: int, with_otherwise: bool) -> None:
    made = result(branch(with_otherwise).graph, held)
    assert set(made[1]) == {3.0 * held}
    assert set(made[0]) == {-2.0 * (1 - held) * with_otherwise}


def test_a_register_that_is_no_truth_value_chooses_nothing() -> None:
    inputs = {"x": X, "word": np.full((1, 1), 2, np.int32), "y_out": np.zeros_like(X)}
    with pytest.raises(InvalidInput, match="%held holds 2 but must hold 0 or 1"):
        run(branch().graph, inputs)


def test_a_loop_index_chooses_a_branch_while_the_kernel_is_traced() -> None:
    b = Rows()

    def body(b: Rows, i: Value) -> None:
        b.if_else(i, lambda b: b.fill(3.0, row=1), lambda b: b.fill(4.0, row=2))

    b.fori_loop("i", 2, 1, body)
    text = assert_agrees(b.graph, {"x": X, "word": np.zeros((1, 1), np.int32)})
    assert "        if i > 0:\n" in text
    assert "        else:\n" in text
    np.testing.assert_array_equal(result(b.graph, 0)[:3, 0], [0, 3, 4])


def test_registers_move_between_each_other_and_take_indices() -> None:
    b = Rows()
    other = b.register_move(b.register_alloc(), b.register)

    def body(b: Rows, i: Value) -> None:
        b.copy_row(b.register_move(b.register_alloc(), i))

    b.fori_loop("i", 2, 1, body)
    b.copy_row(other)
    b.copy_row(b.register_move(b.register_alloc(), value=6))
    b.copy_row(b.register_alloc(7))
    wanted = np.zeros_like(X)
    wanted[[0, 1, 4, 6, 7]] = X[[0, 1, 4, 6, 7]]
    np.testing.assert_array_equal(result(b.graph, 4), wanted)


def test_loops_are_written_as_functions_that_nki_runs() -> None:
    text = assert_agrees(dynamic(step=2).graph, {"x": X, "word": np.full((1, 1), 3, np.int32)})
    assert "    def i(i_1):\n" in text
    assert "    nl.fori_loop(0, held, i, step=2)\n" in text
    text = assert_agrees(counting_down().graph, {"x": X, "word": np.ones((1, 1), np.int32)})
    assert "    def countdown(held):\n" in text
    assert "        return held\n    nl.while_loop(held, countdown)\n" in text


@pytest.mark.parametrize("trips", [3, 7])
def test_the_simulator_takes_the_trips_that_are_expected(trips: int) -> None:
    def transfers(count: int) -> int:
        made = simulate_kernel(dynamic(expected=count).graph, TRN2, record=1000)
        return sum(e.unit == "dma" for e in made.events)

    assert transfers(trips) - transfers(1) == 2 * (trips - 1)


def test_the_simulator_takes_the_branch_that_is_likely() -> None:
    times = {
        likely: simulate_kernel(branch(False, likely).graph, TRN2).time_ns
        for likely in ("then", "otherwise")
    }
    assert times["otherwise"] < times["then"]


def test_buffers_of_regions_are_freed_and_count_against_the_capacity() -> None:
    b = Rows()
    for _ in range(2):
        b.if_else(
            b.register,
            lambda b: b.memset(b.alloc((1, 3000), F32), value=0.0),
            lambda b: b.memset(b.alloc((1, 3000), F32), value=1.0),
        )
    limits = Limits(partitions=128, sbuf_bytes=13000, psum_banks=8, psum_bank_bytes=2048)
    assert problems(b.graph, limits) == []
    assert insert_deallocs(b.graph) == 5  # the zeros of y, and one in each region
    assert problems(b.graph, limits) == []
    b.dynamic_loop("i", b.register, lambda b, i: b.memset(b.alloc((1, 4000), F32), value=0.0))
    assert "16000 bytes per partition are live" in problems(b.graph, limits)[0]


ILLEGAL: dict[str, tuple[Callable[[Rows], object], str]] = {
    "a loop up to a tile": (
        lambda b: b.dynamic_loop("i", b.word, lambda b, i: None),
        "is not a register",
    ),
    "an index in a slice of a dynamic loop": (
        lambda b: b.dynamic_loop("i", b.register, lambda b, i: b.slice(b.x, [ds(i, 1), ds(0, 4)])),
        "names an operand that is not an index",
    ),
    "no expected trip": (
        lambda b: b.dynamic_loop("i", b.register, lambda b, i: None, expected_trips=0),
        "expected_trips is 0 but must be at least 1",
    ),
    "a step of zero": (
        lambda b: b.dynamic_loop("i", b.register, lambda b, i: None, step=0),
        "step is 0 but must be at least 1",
    ),
    "a loop that moves its index": (
        lambda b: b.dynamic_loop("i", b.register, lambda b, i: b.register_move(i, value=3)),
        "the body writes its index",
    ),
    "a condition in hbm": (
        lambda b: b.if_else(b.word, lambda b: None),
        "if_else: operand 0 is in hbm but must be in reg",
    ),
    "a likely branch that is none": (
        lambda b: b.if_else(b.register, lambda b: None, likely="else"),
        "likely is 'else' but must be one of then, otherwise",
    ),
    "a while loop over an index": (
        lambda b: b.fori_loop("i", 2, 1, lambda b, i: b.while_loop("w", i, lambda b: None)),
        "is not a register",
    ),
    "two values": (
        lambda b: b.register_move(b.register, b.register, value=1),
        "the value is 1 with 1 operands but must be one of the two",
    ),
    "no value": (
        lambda b: b.register_move(b.register),
        "the value is None with 0 operands but must be one of the two",
    ),
    "many elements": (
        lambda b: b.register_load(b.register, b.x),
        "is not one element of an integer type",
    ),
    "a word in psum": (
        lambda b: b.register_store(b.alloc((1, 1), I32, MemorySpace.PSUM), b.register),
        "operand 0 is in psum but must be in hbm or sbuf",
    ),
}


@pytest.mark.parametrize("name", ILLEGAL)
def test_control_flow_refuses(name: str) -> None:
    build, sentence = ILLEGAL[name]
    with pytest.raises(InvalidOp, match=sentence):
        build(Rows())

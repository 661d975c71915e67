"""The stand-in refuses what NKI refuses, so that agreement with it means something."""

from __future__ import annotations

import sys
import textwrap
from typing import Any

import numpy as np
import pytest
from nki_stand_in import IllegalKernel, run_emitted, stand_in

Array = np.ndarray[Any, np.dtype[Any]]

HEAD = "import nki\nimport nki.isa as nisa\nimport nki.language as nl\n\n\n"
TILES = """
s = nl.ndarray((64, 40), dtype=nl.float32, buffer=nl.sbuf)
t = nl.ndarray((64, 40), dtype=nl.float32, buffer=nl.sbuf)
narrow = nl.ndarray((64, 40), dtype=nl.bfloat16, buffer=nl.sbuf)
whole = nl.ndarray((64, 40), dtype=nl.int32, buffer=nl.sbuf)
column = nl.ndarray((64, 1), dtype=nl.float32, buffer=nl.sbuf)
p = nl.ndarray((40, 40), dtype=nl.float32, buffer=nl.psum)
q = nl.ndarray((64, 40), dtype=nl.float32, buffer=nl.psum)
r = nl.ndarray((64, 40), dtype=nl.float32, buffer=nl.psum)
nisa.memset(dst=s, value=1.0)
nisa.memset(dst=t, value=2.0)
nisa.memset(dst=narrow, value=0.5)
nisa.memset(dst=whole, value=3)
nisa.memset(dst=column, value=4.0)
nisa.memset(dst=q, value=5.0)
nisa.memset(dst=r, value=6.0)
"""


def kernel(*lines: str, returned: str = "x") -> str:
    body = textwrap.indent("\n".join([TILES.strip(), *lines, f"return {returned}"]), "    ")
    return f"{HEAD}def kernel(x):\n{body}\n\n\nkernel = nki.jit(kernel)\n"


def result(*lines: str) -> Array:
    """What ``s`` holds after the lines."""
    store = (
        "y = nl.ndarray((64, 40), dtype=nl.float32, buffer=nl.shared_hbm)",
        "nisa.dma_copy(dst=y, src=s)",
    )
    (made,) = run_emitted(kernel(*lines, *store, returned="y"), [np.zeros((64, 40), np.float32)])
    return made


REFUSED = {
    "unwritten source": (
        "u = nl.ndarray((64, 40), dtype=nl.float32, buffer=nl.sbuf)\n"
        "nisa.tensor_copy(dst=s, src=u)",
        "nothing has written",
    ),
    "partly written source": (
        "u = nl.ndarray((64, 40), dtype=nl.float32, buffer=nl.sbuf)\n"
        "nisa.memset(dst=u[0:64, 0:39], value=0.0)\n"
        "nisa.tensor_copy(dst=s, src=u)",
        "nothing has written",
    ),
    "accumulating on a memset": (
        "nisa.nc_matmul(dst=q[0:40, 0:40], stationary=s, moving=t, accumulate=True)",
        "which no matmul has written",
    ),
    "matmul that does not say whether it adds": (
        "nisa.nc_matmul(dst=p, stationary=s, moving=t)",
        "accumulate is always said",
    ),
    "matmul into sbuf": (
        "nisa.nc_matmul(dst=s[0:40, 0:40], stationary=s, moving=t, accumulate=False)",
        "matmul of",
    ),
    "matmul of two element types": (
        "nisa.nc_matmul(dst=p, stationary=s, moving=narrow, accumulate=False)",
        "multiplies",
    ),
    "matmul across banks": (
        "u = nl.ndarray((40, 520), dtype=nl.float32, buffer=nl.psum)\n"
        "nisa.nc_matmul(dst=u[0:40, 480:520], stationary=s, moving=t, accumulate=False)",
        "not inside one bank",
    ),
    "two operands in psum": (
        "nisa.tensor_tensor(dst=s, data1=q, data2=r, op=nl.add)",
        "both read from psum",
    ),
    "gpsimd on psum": (
        "nisa.memset(dst=q, value=0.0, engine=nisa.engine.gpsimd)",
        "gpsimd does not reach",
    ),
    "dma on psum": ("nisa.dma_copy(dst=q, src=x)", "does not reach psum"),
    "compute on hbm": ("nisa.tensor_copy(dst=s, src=x)", "is in hbm"),
    "partition start": ("nisa.memset(dst=s[16:32, 0:40], value=0.0)", "starts at partition 16"),
    "partition counts": (
        "nisa.activation(dst=s, op=nl.exp, data=t, bias=column[0:32, 0:1])",
        "per-partition operand",
    ),
    "narrow per-partition operand": (
        "nisa.tensor_scalar(dst=s, data=t, op0=nl.add, operand0=narrow[0:64, 0:1])",
        "is not float32",
    ),
    "shapes that broadcast": (
        "nisa.tensor_tensor(dst=s, data1=t, data2=column, op=nl.add)",
        "shapes of",
    ),
    "partition broadcast": ("s[0:1, 0:40].broadcast(0, 64)", "partitions have no broadcast view"),
    "partition permute": ("s.permute((1, 0))", "stays first"),
    "reshape over partitions": ("s.reshape((32, 80))", "changes the partition dimension"),
    "reshape that needs a copy": (
        "s.reshape((64, 5, 8))[0:64, 0:5, 0:4].reshape((64, 20))",
        "needs a copy",
    ),
    "slice out of bounds": ("nisa.memset(dst=s[0:64, 0:41], value=0.0)", "slice 0:41"),
    "index out of bounds": ("nisa.memset(dst=s[0:64, 40], value=0.0)", "index 40"),
    "write through a broadcast": (
        "nisa.tensor_copy(dst=s[0:64, 0:1].broadcast(1, 40), src=t)",
        "writes through a broadcast view",
    ),
    "reduction of a leading dimension": (
        "nisa.tensor_reduce(dst=column, op=nl.add, data=s.reshape((64, 5, 8)), axis=1)",
        "reduces axes",
    ),
    "reduction with another shape": (
        "nisa.tensor_reduce(dst=column, op=nl.add, data=s.reshape((64, 5, 8)), axis=(1, 2))",
        "values for",
    ),
    "float predicate": (
        "nisa.tensor_copy_predicated(dst=s, src=t, predicate=t)",
        "predicate is",
    ),
    "predicated copy of another type": (
        "mask = nl.ndarray((64, 40), dtype=nl.uint8, buffer=nl.sbuf)\n"
        "nisa.memset(dst=mask, value=1)\n"
        "nisa.tensor_copy_predicated(dst=narrow, src=t, predicate=mask)",
        "copied over",
    ),
    "int for a float tile": ("nisa.memset(dst=s, value=1)", "memset of"),
    "float for an int tile": ("nisa.memset(dst=whole, value=1.0)", "memset of"),
    "bit operation on floats": (
        "nisa.tensor_tensor(dst=s, data1=s, data2=t, op=nl.bitwise_and)",
        "bitwise_and of",
    ),
    "comparison on the scalar engine": (
        "nisa.tensor_scalar(dst=s, data=t, op0=nl.less, operand0=0.0, engine=nisa.engine.scalar)",
        "on the scalar engine",
    ),
    "engine by number": ("nisa.tensor_copy(dst=s, src=t, engine=1)", "engine=1"),
    "op by name": ("nisa.activation(dst=s, op='exp', data=t)", "op='exp'"),
    "another fill than the least number": (
        "nisa.range_select(dst=s, on_true_tile=t, comp_op0=nl.less, comp_op1=nl.less, "
        "bound0=column, bound1=column, on_false_value=0.0)",
        "fills 0.0",
    ),
    "selection by uint32": (
        "mask = nl.ndarray((64, 40), dtype=nl.uint32, buffer=nl.sbuf)\n"
        "nisa.memset(dst=mask, value=1)\n"
        "nisa.select_reduce(dst=s, predicate=mask, on_true=t, on_false=0.0)",
        "predicate <",
    ),
    "selection with a result and no reduction": (
        "mask = nl.ndarray((64, 40), dtype=nl.uint8, buffer=nl.sbuf)\n"
        "nisa.memset(dst=mask, value=1)\n"
        "nisa.select_reduce(dst=s, predicate=mask, on_true=t, on_false=0.0, reduce_res=column)",
        "reduce_res goes with a reduce",
    ),
    "running sum of int32": (
        "nisa.tensor_scalar_cumulative(dst=whole, src=whole, op0=nl.add, op1=nl.add, imm0=0.0)",
        "cumulative over",
    ),
    "scan of two psum tiles": (
        "nisa.tensor_tensor_scan(dst=s, data0=q, data1=r, initial=0.0, op0=nl.add, op1=nl.add)",
        "both read from psum",
    ),
    "largest of four": (
        "nisa.max8(dst=s[0:64, 0:8], src=t[0:64, 0:4])",
        "searches",
    ),
    "gather by int32": (
        "nisa.nc_n_gather(dst=s, data=t, indices=whole)",
        "gathers by",
    ),
    "shuffle with 31 numbers": (
        "nisa.nc_stream_shuffle(dst=s, src=t, shuffle_mask=[0] * 31)",
        "mask",
    ),
    "transpose of another permutation": (
        "nisa.dma_transpose(dst=p[0:40, 0:40], src=x[0:40, 0:40], axes=(1, 0))",
        "transposes into",
    ),
    "row that the table has not": (
        "at = nl.ndarray((64, 1), dtype=nl.int32, buffer=nl.sbuf)\n"
        "nisa.memset(dst=at, value=64)\n"
        "nisa.dma_copy(dst=s, src=x.ap(pattern=[[40, 64], [1, 40]], vector_offset=at))",
        "an index is out of bounds",
    ),
    "two kinds of offsets": (
        "at = nl.ndarray((64, 1), dtype=nl.int32, buffer=nl.sbuf)\n"
        "nisa.memset(dst=at, value=0)\n"
        "nisa.dma_copy(dst=s, src=x.ap(pattern=[[40, 64], [1, 40]], vector_offset=at, "
        "scalar_offset=at))",
        "one of scalar_offset and vector_offset",
    ),
    "dma that converts by hardware": (
        "nisa.dma_copy(dst=narrow, src=x, dge_mode=nisa.dge_mode.hwdge)",
        "hardware converts",
    ),
    "loop up to a tile": (
        "def body(i):\n    pass\nnl.fori_loop(0, whole, body)",
        "loop from 0 to",
    ),
    "loop that writes its index": (
        "def body(i):\n    nisa.register_move(dst=i, src=7)\nnl.fori_loop(0, 3, body)",
        "a loop's index is written",
    ),
    "loop without its next register": (
        "def body(r):\n    pass\nnl.while_loop(nisa.register_alloc(x=1), body)",
        "returns its next register",
    ),
    "register from psum": (
        "nisa.register_load(dst=nisa.register_alloc(), src=q[0:1, 0:1])",
        "loads <",
    ),
    "tiles of 48 rows": (
        "nisa.nc_matmul(dst=p, stationary=s, moving=t, accumulate=False, "
        "tile_position=(0, 0), tile_size=(48, 128))",
        "tile \\(48, 128\\)",
    ),
    "number with the reciprocal square root": (
        "nisa.tensor_scalar(dst=s, data=t, op0=nl.rsqrt, operand0=1.0, engine=nisa.engine.gpsimd)",
        "of two operands",
    ),
    "iota of another size": ("nisa.iota(dst=whole, pattern=[[1, 39]])", "pattern .* for"),
    "transpose into sbuf": (
        "u = nl.ndarray((40, 64), dtype=nl.float32, buffer=nl.sbuf)\n"
        "nisa.nc_transpose(dst=u, data=s)",
        "into",
    ),
    "tile of 129 partitions": (
        "u = nl.ndarray((129, 4), dtype=nl.float32, buffer=nl.sbuf)",
        "on chip",
    ),
    "tile of rank 1": ("u = nl.ndarray((64,), dtype=nl.float32, buffer=nl.sbuf)", "on chip"),
    "psum tile of nine banks": (
        "u = nl.ndarray((64, 4608), dtype=nl.float32, buffer=nl.psum)",
        "too many bytes",
    ),
    "dtype as a string": ('u = nl.ndarray((64, 4), dtype="float32", buffer=nl.sbuf)', "of dtype"),
    "try in the body": ("try:\n    pass\nfinally:\n    pass", "Try in a kernel body"),
    "identity test in the body": ("x is x", "Is in a kernel body"),
    "five free dimensions": (
        "u = nl.ndarray((2, 3, 3, 3, 3, 3), dtype=nl.float32, buffer=nl.sbuf)\n"
        "nisa.memset(dst=u[0:2, 0:2, 0:2, 0:2, 0:2, 0:2], value=0.0)",
        "needs 5 free dims",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_stand_in_refuses(name: str) -> None:
    lines, why = REFUSED[name]
    with pytest.raises(IllegalKernel, match=why):
        run_emitted(kernel(lines), [np.zeros((64, 40), np.float32)])


def test_reshape_of_a_window_that_is_one_run_per_partition_is_a_view() -> None:
    made = result("nisa.memset(dst=s[0:64, 0:20].reshape((64, 4, 5))[0:64, 3, 0:5], value=9.0)")
    assert set(made[:, 15:20].ravel()) == {9.0}
    assert set(made[:, :15].ravel()) == {1.0}


@pytest.mark.parametrize(
    "line",
    [
        "nisa.tensor_copy(s, t)",
        "nisa.tensor_copy(dst=s, src=t, mask=t)",
        "nisa.tensor_copy(dst=s)",
        "nisa.activation(dst=s, data=t)",
    ],
)
def test_calls_must_fit_the_signature_by_keyword(line: str) -> None:
    with pytest.raises(TypeError):
        run_emitted(kernel(line), [np.zeros((64, 40), np.float32)])


def test_output_must_be_written_everywhere() -> None:
    lines = (
        "y = nl.ndarray((64, 40), dtype=nl.float32, buffer=nl.shared_hbm)",
        "nisa.dma_copy(dst=y[0:63, 0:40], src=s[0:63, 0:40])",
    )
    with pytest.raises(IllegalKernel, match="nothing has written"):
        run_emitted(kernel(*lines, returned="y"), [np.zeros((64, 40), np.float32)])


@pytest.mark.parametrize("name", ["s", "y"])
def test_output_must_be_in_shared_hbm(name: str) -> None:
    line = "y = nl.ndarray((64, 40), dtype=nl.float32, buffer=nl.hbm)"
    with pytest.raises(IllegalKernel, match="returns <"):
        run_emitted(kernel(line, returned=name), [np.zeros((64, 40), np.float32)])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("nisa.tensor_tensor(dst=s, data1=s, data2=t, op=nl.subtract)", -1),
        ("nisa.tensor_tensor(dst=s, data1=q, data2=t, op=nl.multiply)", 10),
        ("nisa.tensor_scalar(dst=s, data=t, op0=nl.subtract, operand0=5.0)", -3),
        ("nisa.tensor_scalar(dst=s, data=t, op0=nl.subtract, operand0=5.0, reverse0=True)", 3),
        ("nisa.activation(dst=s, op=nl.square, data=t, bias=column, scale=0.5)", 25),
        ("nisa.reciprocal(dst=s, data=t)", 0.5),
        ("nisa.tensor_copy(dst=s, src=whole)", 3),
        ("nisa.tensor_copy(dst=s, src=column.broadcast(1, 40))", 4),
        ("nisa.tensor_tensor(dst=s, data1=s, data2=t, op=nl.less)", 1),
    ],
)
def test_stand_in_computes(line: str, expected: float) -> None:
    np.testing.assert_array_equal(result(line), np.full((64, 40), expected, np.float32))


@pytest.mark.parametrize(("rounding", "expected"), [("truncate", 2), ("nearest", 3)])
def test_floats_become_integers_as_asked(rounding: str, expected: int) -> None:
    lines = (
        "nisa.memset(dst=s, value=2.75)",
        "nisa.tensor_copy(dst=whole, src=s)",
        "y = nl.ndarray((64, 40), dtype=nl.int32, buffer=nl.shared_hbm)",
        "nisa.dma_copy(dst=y, src=whole)",
    )
    source = kernel(*lines, returned="y")
    (made,) = run_emitted(source, [np.zeros((64, 40), np.float32)], rounding=rounding)
    assert set(made.ravel()) == {expected}


def test_integer_stores_saturate() -> None:
    made = result(
        "byte = nl.ndarray((64, 40), dtype=nl.uint8, buffer=nl.sbuf)",
        "nisa.activation(dst=byte, op=nl.copy, data=t, scale=1000.0)",
        "nisa.tensor_copy(dst=s, src=byte)",
    )
    assert set(made.ravel()) == {255.0}


def test_stand_in_is_gone_after_its_block() -> None:
    before = "nki" in sys.modules
    with stand_in():
        assert "nki.isa" in sys.modules
    assert ("nki" in sys.modules) is before

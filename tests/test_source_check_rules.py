"""Rules of the source checker that emitted kernels seldom come near: targets, space, addresses."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from command_line import Run

from nkigen_lite.source_check import Verdict, check_source

INPUTS = {"x": ((128, 64), "float32"), "h": ((128, 64), "bfloat16"), "i": ((128, 1), "uint32")}
PREPARED = """\
y = nl.ndarray((128, 64), dtype=nl.float32, buffer=nl.shared_hbm)
t = nl.ndarray((128, 64), dtype=nl.float32, buffer=nl.sbuf)
n = nl.ndarray((128, 64), dtype=nl.bfloat16, buffer=nl.sbuf)
rows = nl.ndarray((128, 1), dtype=nl.uint32, buffer=nl.sbuf)
column = nl.ndarray((128, 1), dtype=nl.float32, buffer=nl.sbuf)
p = nl.ndarray((64, 64), dtype=nl.float32, buffer=nl.psum)
nisa.dma_copy(dst=t, src=x)
nisa.dma_copy(dst=n, src=h)
nisa.dma_copy(dst=rows, src=i)
nisa.memset(dst=column, value=1.0)
"""
STORE = "nisa.dma_copy(dst=y, src=t)\nreturn y\n"


def source(body: str, *, prepared: str = PREPARED, end: str = STORE) -> str:
    """A file with one kernel over INPUTS."""
    lines = textwrap.indent(prepared + textwrap.dedent(body) + "\n" + end, "    ")
    return f"INPUTS = {INPUTS!r}\n\n\n@nki.jit\ndef kernel(x, h, i):\n{lines}"


def sentences(verdict: Verdict) -> list[str]:
    return [problem.sentence for problem in verdict.problems]


LEGAL = [
    "nisa.tensor_scalar(dst=t, data=t, op0=nl.multiply, operand0=2.0, op1=nl.add, operand1=column)",
    "nisa.activation(dst=t, op=nl.exp, data=t, bias=column, scale=0.5)",
    "nisa.activation(dst=t, op=nl.exp, data=t, reduce_op=nl.add, reduce_res=column,\n"
    "                reduce_cmd=nisa.reduce_cmd.reset_reduce)",
    "nisa.nc_matmul(dst=p, stationary=n, moving=n, accumulate=False)",
    "nisa.iota(dst=t, pattern=[[1, 64]], channel_multiplier=64)",
    "nisa.affine_select(dst=t, pattern=[[-1, 64]], channel_multiplier=1, on_true_tile=t,\n"
    "                   on_false_value=-1.0, cmp_op=nl.greater_equal)",
    "nisa.dma_copy(dst=t, src=x.ap(pattern=[[64, 128], [1, 64]], vector_offset=rows,\n"
    "                              indirect_dim=0))",
    "half = nl.ndarray((64, 128), dtype=nl.bfloat16, buffer=nl.sbuf)\n"
    "nisa.dma_transpose(dst=half, src=h, axes=(1, 0))",
    "top = nl.ndarray((128, 8), dtype=nl.float32, buffer=nl.sbuf)\n"
    "nisa.max8(dst=top, src=t)\n"
    "nisa.nc_match_replace8(dst=t, data=t, vals=top, imm=-1.0)",
    "nisa.tensor_tensor_scan(dst=t, data0=t, data1=t, initial=0.0, op0=nl.multiply, op1=nl.add)",
]


@pytest.mark.parametrize("body", LEGAL)
def test_documented_use_is_legal_on_every_target(body: str) -> None:
    for target in ("trn1", "trn2", "trn3"):
        assert sentences(check_source(source(body), target=target)) == []


ONLY_LATER = {
    "scalar copy": (
        "nisa.tensor_copy(dst=t, src=t, engine=nisa.engine.scalar)",
        ("trn1",),
        "engine is scalar, which on trn1 does not copy",
    ),
    "number as bias": (
        "nisa.activation(dst=t, op=nl.exp, data=t, bias=1.0)",
        ("trn1",),
        "bias is the number 1.0 but on trn1 it must be a tile",
    ),
    "hardware descriptors": (
        "nisa.dma_copy(dst=t, src=x, dge_mode=nisa.dge_mode.hwdge, engine=nisa.engine.sync)",
        ("trn1",),
        "dge_mode is hwdge, which trn1 has not",
    ),
    "range_select": (
        "nisa.range_select(dst=t, on_true_tile=t, comp_op0=nl.less, comp_op1=nl.less,\n"
        "                  bound0=column, bound1=column)",
        ("trn1",),
        "nisa.range_select: trn1 does not have it",
    ),
    "exponential": (
        "nisa.exponential(dst=t, src=t)",
        ("trn1", "trn2"),
        "nisa.exponential: trn2 does not have it",
    ),
    "priority": (
        "nisa.dma_copy(dst=t, src=x, priority=1)",
        ("trn1", "trn2"),
        "priority is 1 but trn2 has none",
    ),
    "bf16 sums": (
        "q = nl.ndarray((64, 64), dtype=nl.bfloat16, buffer=nl.psum)\n"
        "nisa.nc_matmul(dst=q, stationary=n, moving=n, accumulate=False)",
        ("trn1", "trn2"),
        "dst is bfloat16 but trn2 sums in float32",
    ),
    "long products": (
        "wide = nl.ndarray((128, 1024), dtype=nl.bfloat16, buffer=nl.sbuf)\n"
        "q = nl.ndarray((64, 1024), dtype=nl.float32, buffer=nl.psum)\n"
        "nisa.memset(dst=wide, value=0.0)\n"
        "nisa.nc_matmul(dst=q, stationary=n, moving=wide, accumulate=False)",
        ("trn1", "trn2"),
        "moving's free size is 1024 but at most 512",
    ),
}


@pytest.mark.parametrize("name", ONLY_LATER)
def test_what_only_later_targets_have_is_refused_on_earlier_ones(name: str) -> None:
    body, without, sentence = ONLY_LATER[name]
    for target in ("trn1", "trn2", "trn3"):
        found = sentences(check_source(source(body), target=target))
        assert bool(found) == (target in without)
    assert any(
        sentence in said for said in sentences(check_source(source(body), target=without[-1]))
    )


COUNTS = "u = nl.ndarray((128, 64), dtype=nl.int32, buffer=nl.sbuf)\nnisa.memset(dst=u, value=1)\n"
CHOICES = COUNTS.replace("u =", "c =").replace("dst=u", "dst=c").replace("int32", "uint8")
PICKED = "nisa.select_reduce(dst=t, predicate=c, on_true=t, on_false=0.0"
RANGE = (
    "nisa.range_select(dst=t, on_true_tile=t, comp_op0=nl.less, comp_op1=nl.less, bound0=column,\n"
)
PRODUCT = "nisa.nc_matmul(dst=p, stationary=n, moving=n, accumulate=False"
WRONG = {
    "bits of floats": (
        "nisa.tensor_scalar(dst=t, data=t, op0=nl.bitwise_and, operand0=1)",
        "tensor_scalar: dst is float32 but nl.bitwise_and takes integers",
    ),
    "bits and a float": (
        COUNTS + "nisa.tensor_scalar(dst=u, data=u, op0=nl.bitwise_and, operand0=1.0)",
        "operand0 is 1.0 but nl.bitwise_and takes integers",
    ),
    "bits of a sum": (
        COUNTS + "nisa.tensor_scalar(dst=u, data=u, op0=nl.bitwise_and, operand0=1,\n"
        "                   op1=nl.add, operand1=1.0)",
        "one operation is arithmetic and one is on bits",
    ),
    "bits reduced": (
        "nisa.tensor_reduce(dst=column, op=nl.bitwise_and, data=t, axis=1, keepdims=True)",
        "tensor_reduce: dst is float32 but nl.bitwise_and takes integers",
    ),
    "bits on GpSimd": (
        COUNTS + "nisa.tensor_tensor(dst=u, data1=u, data2=u, op=nl.bitwise_or,\n"
        "                   engine=nisa.engine.gpsimd)",
        "engine is gpsimd but nl.bitwise_or runs on vector only",
    ),
    "no operand": (
        "nisa.tensor_scalar(dst=t, data=t, op0=nl.multiply, operand0=None)",
        "operand0 is missing but nl.multiply takes two operands",
    ),
    "operand of nothing": (
        "nisa.tensor_scalar(dst=t, data=t, op0=nl.multiply, operand0=1.0, operand1=2.0)",
        "operand1 is given but op1 is not",
    ),
    "unary of two tiles": (
        "nisa.tensor_tensor(dst=t, data1=t, data2=t, op=nl.rsqrt)",
        "op is nl.rsqrt, which takes one operand",
    ),
    "no comparison": (
        RANGE.replace("comp_op1=nl.less", "comp_op1=nl.exp") + "bound1=column)",
        "comp_op1 is nl.exp but must be a comparison",
    ),
    "filled with zeros": (
        RANGE + "bound1=column, on_false_value=0.0)",
        "on_false_value is 0.0 but must be -3.4028235e+38",
    ),
    "sum of selected": (
        CHOICES + PICKED + ", reduce_op=nl.add, reduce_res=column)",
        "reduce_op is nl.add but must be one of maximum",
    ),
    "selected int32": (
        CHOICES + COUNTS + PICKED.replace("=t", "=u") + ")",
        "on_true is int32, which it may not be",
    ),
    "scan of int32": (
        COUNTS + "nisa.tensor_scalar_cumulative(dst=u, src=u, op0=nl.add, op1=nl.add, imm0=0.0)",
        "src is int32 but must be one of",
    ),
    "float positions": (
        "top = nl.ndarray((128, 8), dtype=nl.float32, buffer=nl.sbuf)\n"
        "nisa.max8(dst=top, src=t)\n"
        "nisa.nc_match_replace8(dst=t, data=t, vals=top, imm=-1.0, dst_idx=top)",
        "dst_idx is float32 but must be one of uint16, uint32",
    ),
    "float rows": (
        "nisa.dma_copy(dst=t, src=x.ap(pattern=[[64, 128], [1, 64]], vector_offset=column,\n"
        "                              indirect_dim=0))",
        "the offset is column (128, 1) float32 in sbuf but must be int32 or uint32",
    ),
    "segments of columns": (
        "nisa.sequence_bounds(dst=t, segment_ids=t)",
        "dst is (128, 64), segment_ids (128, 64) but must be (1, 2, n), (1, n)",
    ),
    "number as truth": (PRODUCT.replace("False", "0") + ")", "accumulate is 0 but must be True"),
    "part without a size": (
        PRODUCT + ", tile_position=(0, 0))",
        "tile_position is (0, 0) and tile_size () but sizes must be 32 or 64 or 128",
    ),
    "product beyond its part": (
        PRODUCT + ", tile_position=(0, 0), tile_size=(64, 64))",
        "the product has 128 rows and 64 columns but tile_size is (64, 64)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_operation_or_operand_that_does_not_fit_is_named(name: str) -> None:
    body, sentence = WRONG[name]
    found = sentences(check_source(source(body)))
    assert any(sentence in said for said in found), found


def test_tiles_that_live_at_once_must_fit_sbuf() -> None:
    body = "".join(
        f"big{i} = nl.ndarray((128, 8192), dtype=nl.float32, buffer=nl.sbuf)\n"
        f"nisa.memset(dst=big{i}, value=0.0)\n"
        for i in range(7)
    )
    used = "".join(f"nisa.memset(dst=big{i}, value=1.0)\n" for i in range(7))
    assert sentences(check_source(source(body))) == []
    found = sentences(check_source(source(body + used)))
    assert found == [
        "sbuf: 229632 bytes of each partition are in use when big6 is made but trn2 has 229376"
    ]


def test_more_than_eight_live_banks_are_refused() -> None:
    products = "".join(
        f"p{i} = nl.ndarray((64, 64), dtype=nl.float32, buffer=nl.psum)\n"
        f"nisa.nc_matmul(dst=p{i}, stationary=n, moving=n, accumulate=False)\n"
        for i in range(9)
    )
    reads = "".join(f"nisa.tensor_copy(dst=t[0:64, 0:64], src=p{i})\n" for i in range(9))
    (found,) = sentences(check_source(source(products + reads)))
    assert found == "psum: 9 banks are in use when p8 is made but trn2 has 8"


def at(address: str) -> str:
    return (
        f"a = nl.ndarray((128, 64), dtype=nl.float32, buffer=nl.sbuf, address=(0, 1024))\n"
        f"b = nl.ndarray((128, 64), dtype=nl.float32, buffer=nl.sbuf, address={address})\n"
        "nisa.memset(dst=a, value=0.0)\n"
        "nisa.memset(dst=b, value=0.0)\n"
        "nisa.tensor_tensor(dst=t, data1=a, data2=b, op=nl.add)\n"
    )


def test_tiles_side_by_side_are_legal() -> None:
    assert sentences(check_source(source(at("(0, 1280)")))) == []


def test_tiles_that_overlap_while_both_live_are_refused() -> None:
    (found,) = sentences(check_source(source(at("(0, 1200)"))))
    assert "b at (0, 1200) overlaps a at (0, 1024), which is still in use" in found


@pytest.mark.parametrize("address", ["1024", "(0, -4)", "(0, 229376)", "(64, 0)"])
def test_address_outside_the_memory_is_refused(address: str) -> None:
    assert "nl.ndarray: " in sentences(check_source(source(at(address))))[0]


def test_scatter_does_not_count_as_writing_every_element() -> None:
    scatter = (
        "nisa.dma_copy(dst=y.ap(pattern=[[64, 128], [1, 64]], vector_offset=rows,\n"
        "                       indirect_dim=0), src=t)\nreturn y\n"
    )
    (found,) = sentences(check_source(source("", end=scatter)))
    assert "8192 of 8192 elements of y are never written" in found


def test_view_that_would_need_a_copy_is_refused() -> None:
    body = "nisa.memset(dst=t.reshape((128, 8, 8))[0:128, 0:8, 0:4].reshape((128, 32)), value=0.0)"
    (found,) = sentences(check_source(source(body)))
    assert "is not one run of memory" in found


def test_more_than_four_free_dimensions_are_refused() -> None:
    body = (
        "w = nl.ndarray((128, 3, 3, 3, 3, 3), dtype=nl.float32, buffer=nl.sbuf)\n"
        "nisa.memset(dst=w[0:128, 0:2, 0:2, 0:2, 0:2, 0:2], value=0.0)"
    )
    (found,) = sentences(check_source(source(body)))
    assert "dst needs 5 free dimensions but at most 4" in found


def test_documented_call_without_rules_of_its_own_is_said_to_be_undecided() -> None:
    verdict = check_source(source("nisa.dropout(dst=t, data=t, prob=0.5)"))
    assert verdict.problems == ()
    assert verdict.undecided == ("nisa.dropout: only its signature and tiles were checked",)


def test_call_without_rules_of_its_own_still_reads_only_what_is_written() -> None:
    body = (
        "u = nl.ndarray((128, 64), dtype=nl.float32, buffer=nl.sbuf)\n"
        "nisa.dropout(dst=t, data=u, prob=0.5)"
    )
    (found,) = sentences(check_source(source(body)))
    assert "data reads 8192 of 8192 elements of u that nothing has written" in found


def test_long_program_is_sampled_and_says_so() -> None:
    body = "for k in range(1000):\n    nisa.memset(dst=t, value=0.0)"
    verdict = check_source(source(body), followed=100)
    assert verdict.problems == ()
    assert "first two and last values only" in verdict.undecided[0]
    assert verdict.calls < 20


def test_sampled_program_is_still_checked_at_its_last_iteration() -> None:
    body = "for k in range(1000):\n    nisa.memset(dst=t[0:128, nl.ds(k, 1)], value=0.0)"
    (found,) = sentences(check_source(source(body), followed=100))
    assert "is sliced 999:1000" in found


def test_command_accepts_a_legal_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "kernel.py"
    path.write_text(source(""), encoding="utf-8")
    code, out, _ = run("check", str(path), "--target", "trn1")
    assert code == 0
    assert f"{path}: kernel on trn1: 5 instructions checked; legal as far as checked" in out


def test_command_names_file_and_line_of_a_problem(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "kernel.py"
    path.write_text(source("nisa.exponential(dst=t, src=t)"), encoding="utf-8")
    code, out, _ = run("check", str(path))
    assert code == 1
    assert f"{path}:16: nisa.exponential: trn2 does not have it\n" in out
    assert "1 problem\n" in out


def test_command_without_a_file_that_it_can_read_fails(run: Run) -> None:
    code, _, err = run("check", "nowhere.py")
    assert code == 1
    assert "nowhere.py cannot be read" in err

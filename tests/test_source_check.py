"""The checker of kernel source: emitted kernels pass, and every way to break one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from nkigen_lite.errors import InvalidInput
from nkigen_lite.source_check import check_file, check_source

GOLDEN = Path(__file__).parent / "golden"
MATMUL = (GOLDEN / "emit_matmul_bias.py").read_text(encoding="utf-8")
SOFTMAX = (GOLDEN / "emit_masked_softmax.py").read_text(encoding="utf-8")

# What breaks: (kernel, text to replace, text instead, part of the sentence).
BROKEN = {
    "wrong keyword": (MATMUL, "stationary=", "lhs=", "nc_matmul: keyword 'lhs' is not one of dst"),
    "missing argument": (MATMUL, "moving=b_tile, ", "", "argument 'moving' is missing"),
    "positional argument": (MATMUL, "dst=out, op=nl.silu", "out, op=nl.silu", "are positional"),
    "unknown function": (
        MATMUL,
        "nisa.nc_matmul(",
        "nisa.nc_matmull(",
        "nisa.nc_matmull is not a function of nki.isa; did you mean nc_matmul?",
    ),
    "enum as int": (
        SOFTMAX,
        "engine=nisa.engine.vector",
        "engine=3",
        "engine is 3 but must be a member of nisa.engine",
    ),
    "enum of another kind": (
        SOFTMAX,
        "engine=nisa.engine.vector",
        "engine=nisa.dge_mode.none",
        "must be a member of nisa.engine",
    ),
    "unknown member": (SOFTMAX, "nisa.engine.vector", "nisa.engine.vectors", "is not a member"),
    "engine that cannot": (
        SOFTMAX,
        "value=-INF, engine=nisa.engine.vector",
        "value=-INF, engine=nisa.engine.scalar",
        "engine is scalar but must be one of vector, gpsimd",
    ),
    "operation as text": (MATMUL, "op=nl.silu", 'op="silu"', "op is 'silu' but must be one of nl"),
    "operation of another kind": (SOFTMAX, "op=nl.maximum", "op=nl.exp", "op is nl.exp but"),
    "unknown name": (MATMUL, "nl.silu", "nl.swoosh", "nl.swoosh is not a name of nki.language"),
    "64-bit type": (MATMUL, "dtype=nl.bfloat16", "dtype=nl.float64", "nl.float64 is not a name"),
    "type as text": (
        MATMUL,
        "dtype=nl.float32, buffer=nl.psum",
        'dtype="float32", buffer=nl.psum',
        "dtype is 'float32' but must be a type of nl",
    ),
    "129 partitions": (
        MATMUL,
        "bias_tile = nl.ndarray((128, 1)",
        "bias_tile = nl.ndarray((129, 1)",
        "bias_tile has 129 partitions but at most 128",
    ),
    "one dimension on chip": (
        MATMUL,
        "bias_tile = nl.ndarray((128, 1)",
        "bias_tile = nl.ndarray((128,)",
        "on chip must have 2 dimensions",
    ),
    "tile beyond sbuf": (
        MATMUL,
        "b_tile = nl.ndarray((128, 512)",
        "b_tile = nl.ndarray((128, 512000)",
        "takes 1024000 bytes of each partition but sbuf of trn2 has 229376",
    ),
    "513 moving columns": (
        MATMUL.replace("512), dtype", "513), dtype").replace("0:512", "0:513"),
        "(512, 512)",
        "(512, 513)",
        "moving's free size is 513 but at most 512",
    ),
    "wrong dst shape": (
        MATMUL,
        "acc = nl.ndarray((128, 512)",
        "acc = nl.ndarray((128, 256)",
        "dst has 128 x 256 elements but the product has 128 x 512",
    ),
    "matmul into sbuf": (
        MATMUL,
        "dtype=nl.float32, buffer=nl.psum",
        "dtype=nl.float32, buffer=nl.sbuf",
        "dst is in sbuf but must be in psum",
    ),
    "sum in bf16": (
        MATMUL,
        "dtype=nl.float32, buffer=nl.psum",
        "dtype=nl.bfloat16, buffer=nl.psum",
        "dst is bfloat16 but trn2 sums in float32",
    ),
    "mixed types": (
        MATMUL,
        "a_tile = nl.ndarray((128, 128), dtype=nl.bfloat16",
        "a_tile = nl.ndarray((128, 128), dtype=nl.float32",
        "float32 and bfloat16 do not multiply with each other",
    ),
    "missing accumulate": (
        MATMUL,
        ", accumulate=(k > 0)",
        "",
        "accumulate is None but must be True or False",
    ),
    "always accumulating": (
        MATMUL,
        "accumulate=(k > 0)",
        "accumulate=True",
        "elements of acc are not written yet: the first product of a sum must have",
    ),
    "never accumulating": (
        MATMUL,
        "accumulate=(k > 0)",
        "accumulate=False",
        "elements of acc hold a sum that nothing has read",
    ),
    "summing on a memset": (
        MATMUL,
        "for k in range(4):",
        "nisa.memset(dst=acc, value=0.0)\n        for k in range(1, 4):",
        "were written by something other than a matmul",
    ),
    "dma from psum": (MATMUL, "src=out)", "src=acc)", "src is in psum but must be in sbuf or hbm"),
    "compute on hbm": (MATMUL, "data=acc", "data=y[0:128, 0:512]", "data is in shared_hbm but"),
    "gpsimd in psum": (
        MATMUL,
        "for k in range(4):",
        "nisa.memset(dst=acc, value=0.0, engine=nisa.engine.gpsimd)\n        for k in range(4):",
        "dst is in psum, which gpsimd cannot reach",
    ),
    "unwritten tile": (
        MATMUL,
        "nisa.dma_copy(dst=bias_tile",
        "nisa.dma_copy(dst=a_copy",
        "a_copy is used but nothing has defined it",
    ),
    "input that is never loaded": (
        SOFTMAX,
        "nisa.dma_copy(dst=x, src=scores[nl.ds(row, 128), 0:300])",
        "pass",
        "elements of x that nothing has written",
    ),
    "tile written in part": (
        SOFTMAX,
        "nisa.dma_copy(dst=x, src=scores[nl.ds(row, 128), 0:300])",
        "nisa.dma_copy(dst=x[0:64, 0:300], src=scores[nl.ds(row, 64), 0:300])",
        "reads 19200 of 38400 elements of x that nothing has written",
    ),
    "output written in part": (
        MATMUL,
        "for m in range(2):",
        "for m in range(1):",
        "65536 of 131072 elements of y are never written",
    ),
    "output on chip": (MATMUL, "return y", "return out", "must be a whole tensor in shared_hbm"),
    "output that is private": (
        MATMUL,
        "buffer=nl.shared_hbm",
        "buffer=nl.hbm",
        "must be a whole tensor in shared_hbm",
    ),
    "no output": (MATMUL, "return y", "pass", "kernel matmul_bias returns nothing"),
    "slice out of bounds": (
        MATMUL,
        "for m in range(2):",
        "for m in range(3):",
        "is sliced 256:384 in dimension 1, whose extent is 256",
    ),
    "step over partitions": (
        SOFTMAX,
        "data=logits, axis",
        "data=logits[0:128:2, 0:300], axis",
        "the step must be 1",
    ),
    "start partition": (
        MATMUL,
        "nisa.dma_copy(dst=bias_tile",
        "nisa.memset(dst=bias_tile[16:32, 0:1], value=0.0)\n        nisa.dma_copy(dst=bias_tile",
        "dst starts at partition 16 but 16 partitions must start at 0 or 32 or 64 or 96",
    ),
    "shapes of a copy": (
        MATMUL,
        "src=b[nl.ds(k * 128, 128), 0:512]",
        "src=b[nl.ds(k * 128, 128), 0:500]",
        "shapes are dst (128, 512), src (128, 500) but must be equal",
    ),
    "partition broadcast": (
        SOFTMAX,
        "data1=x, data2=scale",
        "data1=x, data2=scale[0:1, 0:300].broadcast(0, 128)",
        "is broadcast over partitions, which no view on chip can do",
    ),
    "bias of another shape": (
        MATMUL,
        "bias=bias_tile",
        "bias=bias_tile[0:64, 0:1]",
        "partitions are dst 128, data 128, bias 64 but must be one number",
    ),
    "float predicate": (
        SOFTMAX,
        "dtype=nl.uint8, buffer=nl.sbuf",
        "dtype=nl.float32, buffer=nl.sbuf",
        "predicate is float32 but must be one of uint8",
    ),
    "reduction of partitions": (SOFTMAX, "axis=1", "axis=0", "must be the last free dimensions"),
    "memset of an int": (SOFTMAX, "value=-INF", "value=0", "must be of type float for float32"),
    "tensor operator": (MATMUL, "data=acc", "data=acc + acc", "but tensors have none"),
    "helper of nl": (
        MATMUL,
        "data=acc",
        "data=nl.exp(acc)",
        "nl.exp(...) is called but kernels compute with nki.isa",
    ),
    "assignment to a slice": (
        MATMUL,
        "    return y",
        "    y[0:1, 0:1] = y\n    return y",
        "is assigned to but kernels assign names only",
    ),
    "while": (
        MATMUL,
        "    return y",
        "    while m:\n        pass\n    return y",
        "While is not",
    ),
    "is": (
        MATMUL,
        "accumulate=(k > 0)",
        "accumulate=(k is not 0)",
        "comparison k is not 0 is not one",
    ),
    "loop over a list": (MATMUL, "in range(4)", "in [0, 1]", "is not over a range"),
    "keyword-only parameter": (
        MATMUL,
        "def matmul_bias(aT, b, bias)",
        "def matmul_bias(aT, *, b, bias)",
        "parameters must be plain names without defaults",
    ),
    "argument that hides a module": (
        MATMUL,
        "def matmul_bias(aT, b, bias)",
        "def matmul_bias(aT, b, nl)",
        "matmul_bias calls nl but has another thing of that name",
    ),
    "old package": (
        MATMUL,
        "import nki\n",
        "import neuronxcc.nki\n",
        "kernels use the nki",
    ),
    "unknown shapes": (MATMUL, "INPUTS = {", "SHAPES = {", "the file must define INPUTS"),
    "no kernel": (MATMUL, "@nki.jit\n", "", "nothing in the file is given to"),
    "no python": (MATMUL, "return y", "return return y", "syntax error"),
}


@pytest.mark.parametrize("text", [MATMUL, SOFTMAX], ids=["matmul", "softmax"])
@pytest.mark.parametrize("target", ["trn1", "trn2", "trn3"])
def test_emitted_kernel_is_legal(text: str, target: str) -> None:
    verdict = check_source(text, target=target)
    assert verdict.problems == ()
    assert verdict.undecided == ()
    assert verdict.calls > 20


@pytest.mark.parametrize("name", BROKEN)
def test_broken_kernel_is_named(name: str) -> None:
    text, old, new, sentence = BROKEN[name]
    assert old in text
    verdict = check_source(text.replace(old, new, 1))
    found = [problem.sentence for problem in verdict.problems]
    assert any(sentence in said for said in found), found


@pytest.mark.parametrize("name", BROKEN)
def test_problem_points_at_a_line_of_the_file(name: str) -> None:
    text, old, new, _ = BROKEN[name]
    broken = text.replace(old, new, 1)
    for problem in check_source(broken).problems:
        assert 1 <= problem.line <= len(broken.splitlines())


def test_one_mistake_is_said_once() -> None:
    broken = MATMUL.replace("src=aT[", "src=bias_tile[")
    assert len(check_source(broken).problems) == 1


def test_unknown_target_is_refused() -> None:
    with pytest.raises(InvalidInput, match="target is 'trn9' but must be one of inf2, trn1"):
        check_source(MATMUL, target="trn9")


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"kernel.py cannot be read: No such file"):
        check_file(tmp_path / "kernel.py")

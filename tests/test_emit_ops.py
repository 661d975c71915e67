"""Every row, function and element type has an emission that means the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from emit_agreement import assert_agrees, sample

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.core.numerics import ACTIVATIONS, ARITHMETIC, BITWISE
from nkigen_lite.errors import NotSupported
from nkigen_lite.nki_ir import Builder, MemorySpace, ds
from nkigen_lite.nki_ir.emit.calls import COMPARISONS, NL_DTYPES
from nkigen_lite.nki_ir.emit_nki import emit_nki
from nkigen_lite.nki_ir.rows import NKI, TileOpDef

DOCUMENTED = json.loads((Path(__file__).parent / "signatures.json").read_text(encoding="utf-8"))
ENGINE_ROWS = [row for row in NKI if row.engines]
INTEGERS = [d for d in NL_DTYPES if d.is_integer]
# Where each activation's numpy meaning and hardware table are both defined.
ONLY_POSITIVE = {"log", "sqrt", "rsqrt", "reciprocal"}


def binary(op: str, dtype: DType, result: DType, engine: str = "vector", shape: int = 8) -> Builder:
    b = Builder("k")
    tiles = [b.alloc((16, shape), dtype) for _ in range(2)]
    for tile, name in zip(tiles, "ab", strict=True):
        b.dma_copy(tile, b.add_input(name, (16, shape), dtype))
    dst = b.alloc((16, shape), result)
    if op in BITWISE:
        b.tensor_tensor_bitvec(dst, *tiles, op=op)
    else:
        b.tensor_tensor_arith(dst, *tiles, op=op, engine=engine)
    return stored(b, dst)


def unary(dtype: DType, result: DType) -> tuple[Builder, Value, Value]:
    b = Builder("k")
    src, dst = b.alloc((16, 8), dtype), b.alloc((16, 8), result)
    b.dma_copy(src, b.add_input("x", (16, 8), dtype))
    return b, dst, src


def stored(b: Builder, tile: Value) -> Builder:
    kind = tile.type
    out = b.add_input("y_out", kind.shape, kind.dtype)
    b.dma_copy(out, tile)
    b.set_outputs({"y": out})
    return b


@pytest.mark.parametrize("row", ENGINE_ROWS, ids=lambda row: row.name)
def test_every_row_that_runs_on_an_engine_says_how_nki_writes_it(row: TileOpDef) -> None:
    assert row.nki is not None


@pytest.mark.parametrize("row", [r for r in NKI if r.alias], ids=lambda row: row.name)
def test_every_view_says_how_nki_reads_it(row: TileOpDef) -> None:
    assert row.nki is not None


@pytest.mark.parametrize("op", sorted(ACTIVATIONS))
def test_activation_function_agrees(op: str) -> None:
    b, dst, src = unary(DType.F32, DType.F32)
    b.activation(dst, src, op=op)
    x = np.random.default_rng(1).standard_normal((16, 8)).astype(np.float32)
    assert_agrees(stored(b, dst).graph, {"x": np.abs(x) + 0.1 if op in ONLY_POSITIVE else x})


@pytest.mark.parametrize("op", sorted(ARITHMETIC))
@pytest.mark.parametrize("dtype", [DType.F32, DType.BF16, DType.I32])
def test_arithmetic_between_tensors_agrees(op: str, dtype: DType) -> None:
    engine = "gpsimd" if op == "power" else "vector"
    graph = binary(op, dtype, dtype, engine).graph
    rng = np.random.default_rng(2)
    inputs = {name: np.abs(sample(rng, (16, 8), dtype)) for name in "ab"}
    if op == "power":
        inputs["b"] = (inputs["b"].astype(np.float32) % 3).astype(dtype.np)
    assert_agrees(graph, inputs)


@pytest.mark.parametrize("op", sorted(ARITHMETIC))
def test_arithmetic_with_an_immediate_agrees(op: str) -> None:
    b, dst, src = unary(DType.F32, DType.F32)
    b.tensor_scalar_arith(dst, src, op0=op, imm0=0.5)
    assert_agrees(
        stored(b, dst).graph, {"x": np.abs(np.linspace(-3, 3, 128, dtype="f")).reshape(16, 8)}
    )


@pytest.mark.parametrize("op", sorted(BITWISE))
@pytest.mark.parametrize("dtype", [*INTEGERS, DType.BOOL])
def test_bitwise_operation_agrees(op: str, dtype: DType) -> None:
    assert_agrees(binary(op, dtype, dtype).graph)


@pytest.mark.parametrize("op", sorted(COMPARISONS))
def test_comparison_is_written_to_uint8(op: str) -> None:
    text = assert_agrees(binary(op, DType.F32, DType.BOOL).graph)
    assert "dtype=nl.uint8, buffer=nl.sbuf" in text


@pytest.mark.parametrize("result", NL_DTYPES)
@pytest.mark.parametrize("dtype", NL_DTYPES)
@pytest.mark.parametrize("engine", ["vector", "scalar"])
def test_copy_converts_between_all_element_types(dtype: DType, result: DType, engine: str) -> None:
    b, dst, src = unary(dtype, result)
    b.tensor_copy(dst, src, engine=engine)
    assert_agrees(stored(b, dst).graph)


@pytest.mark.parametrize("dtype", [d for d in NL_DTYPES if d.is_float])
def test_matmul_of_every_float_type_agrees(dtype: DType) -> None:
    b = Builder("k")
    tiles = [b.alloc((64, n), dtype) for n in (24, 40)]
    for tile, name in zip(tiles, "ab", strict=True):
        b.dma_copy(tile, b.add_input(name, tile.type.shape, dtype))
    acc, out = b.alloc((24, 40), DType.F32, MemorySpace.PSUM), b.alloc((24, 40), DType.F32)
    b.matmul(acc, *tiles)
    b.tensor_copy(out, acc)
    assert_agrees(stored(b, out).graph)


@pytest.mark.parametrize("dtype", [DType.F32, DType.BF16, DType.I32])
@pytest.mark.parametrize("shape", [(16, 35), (16, 4, 8)])
def test_statistics_and_their_aggregate_agree(dtype: DType, shape: tuple[int, ...]) -> None:
    b = Builder("k")
    x = b.alloc(shape, dtype)
    b.dma_copy(x, b.add_input("x", shape, dtype))
    stats, both = b.alloc((16, 6), DType.F32), b.alloc((16, 2), DType.F32)
    b.bn_aggr(both, b.bn_stats(stats, x))
    text = assert_agrees(stored(b, both).graph)
    assert "nisa.bn_stats(dst=" in text
    assert "nisa.bn_aggr(dst=" in text


def test_fp8_types_have_the_names_of_their_formats() -> None:
    names = {d: NL_DTYPES[d] for d in (DType.FP8_E4M3, DType.FP8_E4M3_IEEE, DType.FP8_E5M2)}
    assert list(names.values()) == ["float8_e4m3fn", "float8_e4m3", "float8_e5m2"]


def test_every_name_in_emitted_text_is_documented() -> None:
    b, dst, src = unary(DType.F32, DType.F32)
    for op in ACTIVATIONS:
        b.activation(dst, src, op=op)
    for op in ARITHMETIC:
        b.tensor_scalar_arith(dst, src, op0=op, imm0=1.0)
    text = emit_nki(stored(b, dst).graph)
    known = {*DOCUMENTED["language"]["tokens"], *DOCUMENTED["language"]["dtypes"]}
    known |= {"ndarray", "ds", "sbuf", "psum", "hbm", "shared_hbm"}
    assert set(re.findall(r"\bnl\.(\w+)", text)) <= known
    functions = {*DOCUMENTED["functions"], *DOCUMENTED["enums"]}
    assert set(re.findall(r"\bnisa\.(\w+)", text)) <= functions


def test_integers_beyond_24_bits_stay_exact_on_gpsimd() -> None:
    graph = binary("add", DType.I32, DType.I32, "gpsimd").graph
    big = np.full((16, 8), 2**24 + 1, np.int32)
    assert_agrees(graph, {"a": big, "b": np.ones_like(big)})


def test_power_between_tensors_is_sent_to_gpsimd() -> None:
    assert "engine=nisa.engine.gpsimd" in emit_nki(binary("power", DType.F32, DType.F32).graph)


def test_power_of_a_psum_operand_is_not_supported() -> None:
    b = Builder("k")
    dst, a = b.alloc((16, 8), DType.F32), b.alloc((16, 8), DType.F32, MemorySpace.PSUM)
    b.tensor_tensor_arith(dst, a, dst, op="power")
    with pytest.raises(NotSupported, match="power runs on gpsimd but an operand is in psum"):
        emit_nki(stored(b, dst).graph)


def writes_a_number(b: Builder, dst: Value, src: Value) -> None:
    b.activation(dst, src, op="exp")


def writes_a_sum(b: Builder, dst: Value, src: Value) -> None:
    b.tensor_tensor_arith(dst, src, src, op="add")


def writes_a_scaled_copy(b: Builder, dst: Value, src: Value) -> None:
    b.activation(dst, src, op="copy", scale=0.5)


def writes_statistics(b: Builder, dst: Value, src: Value) -> None:
    b.bn_stats(b.slice(dst, [ds(0, 16), ds(0, 6)]), src)


def writes_a_mean(b: Builder, dst: Value, src: Value) -> None:
    stats = b.bn_stats(b.alloc((16, 6), DType.F32), src)
    b.bn_aggr(b.slice(dst, [ds(0, 16), ds(0, 2)]), stats)


def writes_an_iota(b: Builder, dst: Value, src: Value) -> None:
    b.iota(dst, pattern=((1, 8),))


@pytest.mark.parametrize(
    "write",
    [
        writes_a_number,
        writes_a_sum,
        writes_a_scaled_copy,
        writes_statistics,
        writes_a_mean,
        writes_an_iota,
    ],
)
def test_numbers_in_a_bool_tile_are_not_supported(
    write: Callable[[Builder, Value, Value], None],
) -> None:
    b, dst, src = unary(DType.BOOL, DType.BOOL)
    write(b, dst, src)
    with pytest.raises(NotSupported, match=r"writes numbers to the bool tile .* compare with zero"):
        emit_nki(stored(b, dst).graph)


@pytest.mark.parametrize("memory", ["input", "tile"])
def test_element_type_without_a_name_is_not_supported(memory: str) -> None:
    b = Builder("k")
    source = DType.FP8_E3M4 if memory == "input" else DType.F32
    b.add_input("x", (8, 8), source)
    b.alloc((8, 8), DType.FP8_E3M4, name="narrow")
    dst = b.alloc((8, 8), DType.F32)
    b.memset(dst, value=0.0)
    with pytest.raises(NotSupported, match=r"dtype of %\w+ is fp8_e3m4 but nki\.language has no"):
        emit_nki(stored(b, dst).graph)

"""The Kernel Builder back end: the same kernels, from the same rows, on a recording stand-in."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import test_emit_kernels as by_hand
import test_emit_text as goldens
from emit_agreement import made_inside, sample_inputs
from kb_stand_in import Tile, kernel_builder
from nki_stand_in_tensors import NlDtype

import nkigen_lite
from nkigen_lite.core.dtypes import DType, epsilon
from nkigen_lite.core.ir import Graph
from nkigen_lite.errors import InvalidInput, NotSupported, VendorMissing
from nkigen_lite.nki_ir import Builder, run
from nkigen_lite.nki_ir.emit.calls import NL_DTYPES
from nkigen_lite.nki_ir.emit_to_kb import build_kb_kernel
from nkigen_lite.nki_ir.rows import NKI, TileOpDef

Array = np.ndarray[Any, np.dtype[Any]]
KERNELS = [*by_hand.KERNELS, goldens.matmul_bias, goldens.masked_softmax]
# Ops for which no call of the Kernel Builder is known.
WITHOUT_A_CALL = {"bn_stats", "bn_aggr"}
EXAMPLES = {
    "rmsnorm": ("130x96:bf16", "96:bf16"),
    "matmul": ("150x200:bf16", "200x600:bf16"),
    "mlp_swiglu": ("77x96:bf16", "96x160:bf16", "96x160:bf16", "160x96:bf16"),
}


def as_tile(array: Array, dtype: DType) -> Tile:
    stored = array.view(np.uint8) if array.dtype == np.bool_ else array
    return Tile(np.array(stored), NlDtype(NL_DTYPES[dtype]), "hbm")


def assert_agrees(graph: Graph, inputs: Mapping[str, Array] | None = None) -> Any:
    """What the Kernel Builder is made to do computes what the interpreter does; the builder."""
    given = dict(sample_inputs(graph) if inputs is None else inputs)
    given |= {
        v.name: np.zeros(v.type.shape, v.type.dtype.np)
        for v in graph.inputs
        if v.name in made_inside(graph)
    }
    tiles = {v.name: as_tile(given[v.name], v.type.dtype) for v in graph.inputs}
    wanted = run(graph, {name: array.copy() for name, array in given.items()})
    with kernel_builder() as builder:
        build_kb_kernel(graph)(**tiles)
    for name, value in graph.outputs.items():
        if value.name not in tiles:
            continue  # a buffer that the kernel makes itself
        tolerance = 4 * epsilon(value.type.dtype)
        got = tiles[value.name].data.astype(np.float64)
        np.testing.assert_allclose(
            got, wanted[name].astype(np.float64), rtol=tolerance, atol=tolerance
        )
    return builder


@pytest.mark.parametrize("build", KERNELS, ids=lambda build: build.__name__)
def test_kernel_computes_what_the_interpreter_computes(build: Callable[[], Graph]) -> None:
    builder = assert_agrees(build())
    assert builder.isa.calls


@pytest.mark.parametrize("name", EXAMPLES)
def test_compiled_example_computes_what_the_interpreter_computes(name: str) -> None:
    function = getattr(importlib.import_module(f"examples.{name}"), name)
    compiled = nkigen_lite.compile(function, *EXAMPLES[name], time_limit=2.0)
    inputs = sample_inputs(compiled.nki)
    for value in compiled.nki.inputs:
        if value.name in compiled.constants:
            bound = np.asarray(compiled.constants[value.name])
            inputs[value.name] = bound.astype(value.type.dtype.np).reshape(value.type.shape)
    builder = assert_agrees(compiled.nki, inputs)
    assert builder.compiler.live == []


@pytest.mark.parametrize("row", [r for r in NKI if r.engines], ids=lambda row: row.name)
def test_every_row_that_runs_on_an_engine_has_both_back_ends(row: TileOpDef) -> None:
    assert row.nki is not None
    assert row.kb is not None


@pytest.mark.parametrize("name", sorted(WITHOUT_A_CALL))
def test_op_without_a_known_call_is_refused_by_name(name: str) -> None:
    b = Builder("k")
    tiles = {"bn_stats": (6, 8), "bn_aggr": (2, 6)}[name]
    getattr(b, name)(*(b.alloc((16, n), DType.F32) for n in tiles))
    with kernel_builder(), pytest.raises(NotSupported, match=f"emit_to_kb: {name}: no call of"):
        build_kb_kernel(b.graph)()


def test_kernel_has_the_graphs_name_and_a_tensor_for_every_buffer() -> None:
    with kernel_builder() as builder:
        kernel = build_kb_kernel(goldens.matmul_bias())
    assert kernel.__name__ == kernel.__qualname__ == "matmul_bias"
    assert kernel.__annotations__ == dict.fromkeys(("aT", "b", "bias", "y_out"), builder.Tensor)


def test_missing_tensor_is_named() -> None:
    with kernel_builder():
        kernel = build_kb_kernel(goldens.matmul_bias())
        with pytest.raises(InvalidInput, match="@matmul_bias: no tensor is given for aT, b, bias"):
            kernel(y_out=None)


def test_missing_kernel_builder_is_named() -> None:
    with pytest.raises(VendorMissing, match=r"nki\.compiler\.kernel_builder: not"):
        build_kb_kernel(goldens.matmul_bias())


def test_rotating_tile_is_made_once_and_turned_in_later_iterations() -> None:
    builder = assert_agrees(goldens.matmul_bias())
    assert builder.compiler.log.count("alloc 2") == 1
    assert builder.compiler.log.count("rotate") == 1


def test_tiles_other_than_float32_go_through_float32_for_tensor_scalar() -> None:
    b = Builder("k")
    x, y = (b.add_input(n, (16, 8), DType.BF16) for n in ("x", "y_out"))
    tile = b.alloc((16, 8), DType.BF16)
    b.dma_copy(tile, x)
    b.tensor_scalar_arith(tile, tile, op0="subtract", imm0=1.0, reverse0=True)
    b.dma_copy(y, tile)
    b.set_outputs({"y": y})
    builder = assert_agrees(b.graph)
    names = [name for name, _ in builder.isa.calls]
    assert names == ["dma_copy", "tensor_copy", "tensor_scalar_arith", "tensor_copy", "dma_copy"]


def test_reversed_power_is_refused() -> None:
    b = Builder("k")
    x, y = (b.alloc((16, 8), DType.F32) for _ in range(2))
    b.tensor_scalar_arith(y, x, op0="power", imm0=2.0, reverse0=True)
    with kernel_builder(), pytest.raises(NotSupported, match="reversed power"):
        build_kb_kernel(b.graph)()


def test_numbers_do_not_become_bools() -> None:
    b = Builder("k")
    x, y = b.alloc((16, 8), DType.F32), b.alloc((16, 8), DType.BOOL)
    b.tensor_tensor_arith(y, x, x, op="add")
    with kernel_builder(), pytest.raises(NotSupported, match="writes numbers to the bool tile"):
        build_kb_kernel(b.graph)()

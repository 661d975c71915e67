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
from test_emit_tile_ops import built, values
from tile_ops import CASES, IDS

import nkigen_lite
from nkigen_lite.core.dtypes import DType, epsilon
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.errors import InvalidInput, NotSupported, VendorMissing
from nkigen_lite.nki_ir import Builder, ds, run, ts
from nkigen_lite.nki_ir.emit.calls import NL_DTYPES
from nkigen_lite.nki_ir.emit_to_kb import build_kb_kernel
from nkigen_lite.nki_ir.rows import NKI, TileOpDef

Array = np.ndarray[Any, np.dtype[Any]]
KERNELS = [*by_hand.KERNELS, goldens.matmul_bias, goldens.masked_softmax]
# Ops for which no call of the Kernel Builder is known, in any form.
WITHOUT_A_CALL = {
    *("bn_stats", "bn_aggr", "local_gather", "nonzero_with_count", "tensor_scalar_reduce"),
    *("tensor_scalar_cumulative", "affine_select", "range_select", "select", "select_reduce"),
    "activation_accumulate",
}
# Attributes of other ops that only have a call with these values.
SCALED = {"bias": 0.0, "scale": 1.0}
ONLY_FORMS: dict[str, dict[str, Any]] = {
    "matmul": {"perf_mode": "none", "tile_position": ()},
    "tensor_reduce_arith": {"negate": False},
    "copy_predicated": {"reverse": False, "imm": None},
    "activation": SCALED,
    "activation_reduce": SCALED,
    "tensor_tensor_scan": {"reverse0": False, "reverse1": False},
    "tensor_scalar_bitvec": {"op1": None},
    "dma_gather": {"add": False, "oob": "error"},
    "dma_scatter": {"add": False, "oob": "error"},
}


def is_refused(name: str, attrs: Mapping[str, Any]) -> bool:
    only = ONLY_FORMS.get(name, {})
    if name in WITHOUT_A_CALL or any(attrs.get(n, v) != v for n, v in only.items()):
        return True
    return name == "tensor_scalar_arith" and bool({"abs", "rsqrt"} & {*attrs.values()})


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


@pytest.mark.parametrize(("key", "tiles", "attrs", "_wanted"), CASES, ids=IDS)
def test_a_call_means_what_the_row_says_or_is_refused(
    key: tuple[str, str], tiles: list[Any], attrs: dict[str, Any], _wanted: Any
) -> None:
    rng = np.random.default_rng(len(tiles))
    inputs = {f"x{at}": values(rng, key, at, tile) for at, tile in enumerate(tiles)}
    graph = built(key, tiles, attrs).graph
    if is_refused(key[0], attrs):
        with pytest.raises(NotSupported, match=f"emit_to_kb: {key[0]}: "):
            assert_agrees(graph, inputs)
    else:
        assert_agrees(graph, inputs)


def test_bits_of_one_step_have_a_call() -> None:
    tiles: list[Any] = [((8, 40), DType.I32), ((8, 40), DType.I32)]
    bits = {"op0": "bitwise_and", "imm0": 12}
    assert_agrees(built(("tensor_scalar_bitvec", "vector"), tiles, bits).graph)


def test_a_loop_index_chooses_a_branch() -> None:
    b = Builder("k")
    y = b.add_input("y_out", (2, 4), DType.F32)

    def fill(b: Builder, i: Value, value: float) -> None:
        tile = b.memset(b.alloc((1, 4), DType.F32), value=value)
        b.dma_copy(b.slice(y, [ts(i, 1), ds(0, 4)]), tile)

    b.fori_loop(
        "i", 2, 1, lambda b, i: b.if_else(i, lambda b: fill(b, i, 3.0), lambda b: fill(b, i, 4.0))
    )
    b.set_outputs({"y": y})
    assert_agrees(b.graph)


def test_registers_are_refused() -> None:
    b = Builder("k")
    b.if_else(b.register_alloc(1), lambda b: None)
    with kernel_builder(), pytest.raises(NotSupported, match="register_alloc: the Kernel"):
        build_kb_kernel(b.graph)()


@pytest.mark.parametrize("name", ["dma_gather", "dma_scatter"])
def test_rows_move_by_their_numbers(name: str) -> None:
    b = Builder("k")
    table, at = b.add_input("table", (9, 4), DType.F32), b.add_input("at", (8, 1), DType.I32)
    y = b.add_input("y_out", (9, 4) if name == "dma_scatter" else (8, 4), DType.F32)
    indices, rows = b.alloc((8, 1), DType.I32), b.alloc((8, 4), DType.F32)
    b.dma_copy(indices, at)
    if name == "dma_gather":
        b.dma_copy(y, b.dma_gather(rows, table, indices))
    else:
        b.dma_copy(rows, b.slice(table, [ds(0, 8), ds(0, 4)]))
        b.dma_scatter(y, rows, indices)
    b.set_outputs({"y": y})
    numbers = np.array([[3], [0], [8], [1], [2], [5], [7], [4]], np.int32)
    values = np.arange(36, dtype=np.float32).reshape(9, 4)
    assert_agrees(b.graph, {"table": values, "at": numbers})


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

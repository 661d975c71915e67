"""The Kernel Builder back end: the same kernels, from the same rows, on a recording stand-in."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_emit_kernels as by_hand
import test_emit_text as goldens
from emit_agreement import made_inside, sample_inputs
from kb_stand_in import Tile, kb_tiles, kernel_builder
from nki_stand_in_tensors import NlDtype
from test_emit_tile_ops import built, values
from tile_ops import CASES, IDS

import nkigen_lite
from nkigen_lite.core.dtypes import DType, epsilon
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.errors import InvalidInput, NotSupported, VendorMissing
from nkigen_lite.nki_ir import Builder, ds, run, ts
from nkigen_lite.nki_ir.emit.kb import Unknown
from nkigen_lite.nki_ir.emit_to_kb import build_kb_kernel
from nkigen_lite.nki_ir.rows import NKI, TileOpDef

Array = np.ndarray[Any, np.dtype[Any]]
KERNELS = [*by_hand.KERNELS, goldens.matmul_bias, goldens.masked_softmax]
# Ops that no known calls of the Kernel Builder amount to.
REFUSED = {
    "local_gather": "no call of the Kernel Builder is known",
    "nonzero_with_count": "no call of the Kernel Builder is known",
    "collective_permute": "no call of the Kernel Builder is known",
    "rank_id": "no call of the Kernel Builder is known",
    "dynamic_loop": "the Kernel Builder unrolls loops",
    "while_loop": "how the Kernel Builder's loop carries values",
}
# Attributes of other ops that only have a call with these values.
ONLY_FORMS: dict[str, dict[str, Any]] = {
    "matmul": {"perf_mode": "none", "tile_position": ()},
    "dma_gather": {"oob": "error"},
    "dma_scatter": {"oob": "error"},
}
SHIFTS = {"left_shift", "right_shift"}


def is_refused(name: str, attrs: Mapping[str, Any]) -> bool:
    only = ONLY_FORMS.get(name, {})
    if name in REFUSED or any(attrs.get(n, v) != v for n, v in only.items()):
        return True
    if name == "tensor_tensor_scan" and attrs.get("reverse1"):
        return bool(attrs["op1"] == "subtract")
    return name == "tensor_scalar_bitvec" and bool(SHIFTS & {*attrs.values()})


EXAMPLES = {
    "rmsnorm": ("130x96:bf16", "96:bf16"),
    "matmul": ("150x200:bf16", "200x600:bf16"),
    "mlp_swiglu": ("77x96:bf16", "96x160:bf16", "96x160:bf16", "160x96:bf16"),
}


def assert_agrees(graph: Graph, inputs: Mapping[str, Array] | None = None) -> Any:
    """What the Kernel Builder is made to do computes what the interpreter does; the builder."""
    given = dict(sample_inputs(graph) if inputs is None else inputs)
    tiles = kb_tiles(graph, given)
    buffers = {
        v.name: np.zeros(v.type.shape, v.type.dtype.np)
        for v in graph.inputs
        if v.name in made_inside(graph)
    }
    wanted = run(graph, {**{name: array.copy() for name, array in given.items()}, **buffers})
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
        with pytest.raises(NotSupported, match=f"emit_to_kb: (@k: )?{key[0]}: "):
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


def number(b: Builder, name: str, dtype: DType, memory: str) -> Value:
    """An element of an input in HBM or of a tile that holds it."""
    given = b.add_input(name, (1, 1), dtype)
    return given if memory == "hbm" else b.dma_copy(b.alloc((1, 1), dtype), given)


@pytest.mark.parametrize("memory", ["hbm", "sbuf"])
@pytest.mark.parametrize("dtype", [DType.I32, DType.U16])
def test_registers_are_tiles_of_one_number(dtype: DType, memory: str) -> None:
    b = Builder("k")
    out = b.add_input("y_out", (1, 1), dtype)
    register, other = b.register_alloc(), b.register_alloc(3)
    b.register_load(register, number(b, "x", dtype, memory))
    b.register_move(other, register)
    kept = out if memory == "hbm" else b.alloc((1, 1), dtype)
    b.register_store(kept, other)
    if kept is not out:
        b.dma_copy(out, kept)
    b.set_outputs({"y": out})
    assert assert_agrees(b.graph, {"x": np.full((1, 1), 7, dtype.np)}).compiler.live[2:] == []


@pytest.mark.parametrize("held", [0, 1])
def test_a_register_chooses_a_branch(held: int) -> None:
    b = Builder("k")
    y = b.add_input("y_out", (1, 4), DType.F32)

    def fill(b: Builder, value: float) -> None:
        tile = b.memset(b.alloc((1, 4), DType.F32), value=value)
        b.dma_copy(y, tile)

    register = b.register_alloc(held)
    b.if_else(register, lambda b: fill(b, 3.0), lambda b: fill(b, 4.0))
    b.set_outputs({"y": y})
    assert_agrees(b.graph)


@pytest.mark.parametrize("memory", ["register", "hbm tile"])
@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("name", ["dma_gather", "dma_scatter"])
def test_a_block_of_rows_is_found_from_one_offset(name: str, dim: int, memory: str) -> None:
    b = Builder("k")
    table = b.add_input("table", (9, 8), DType.F32)
    at = number(b, "at", DType.I32, "sbuf")
    where = at if memory != "register" else b.register_alloc()
    if where is not at:
        b.register_load(where, at)
    shape = (4, 8) if dim == 0 else (9, 4)
    rows = b.alloc(shape, DType.F32)
    y = b.add_input("y_out", (9, 8) if name == "dma_scatter" else shape, DType.F32)
    if name == "dma_gather":
        b.dma_copy(y, b.dma_gather(rows, table, where, dim=dim))
    else:
        b.dma_copy(rows, b.slice(table, [ds(0, n) for n in shape]))
        b.dma_scatter(y, rows, where, dim=dim)
    b.set_outputs({"y": y})
    given = np.arange(72, dtype=np.float32).reshape(9, 8)
    assert_agrees(b.graph, {"table": given, "at": np.full((1, 1), 3, np.int32)})


def test_a_block_of_a_transposed_table_is_refused() -> None:
    b = Builder("k")
    table = b.permute(b.add_input("table", (9, 8), DType.F32), (1, 0))
    b.dma_gather(b.alloc((2, 9), DType.F32), table, b.register_alloc(1))
    tile = Tile(np.zeros((9, 8), np.float32), NlDtype("float32"), "hbm")
    with (
        kernel_builder(),
        pytest.raises(NotSupported, match=r"%.* is a view that moves dimensions"),
    ):
        build_kb_kernel(b.graph)(table=tile)


@pytest.mark.parametrize("name", ["dynamic_loop", "while_loop"])
def test_loops_that_a_register_decides_are_refused(name: str) -> None:
    b = Builder("k")
    if name == "dynamic_loop":
        b.dynamic_loop("i", b.register_alloc(1), lambda b, i: None)
    else:
        b.while_loop("k", b.register_alloc(1), lambda b: None)
    with (
        kernel_builder(),
        pytest.raises(NotSupported, match=f"emit_to_kb: @k: {name}: {REFUSED[name]}"),
    ):
        build_kb_kernel(b.graph)


@pytest.mark.parametrize("name", ["all_reduce", "all_gather", "reduce_scatter", "all_to_all"])
def test_collectives_are_given_the_vendors_groups(name: str) -> None:
    b = Builder("k")
    x, y = (b.add_input(n, (4, 6), DType.F32) for n in ("x", "y_out"))
    getattr(b, name)(y, x, replica_groups=((0,),))
    b.set_outputs({"y": y})
    builder = assert_agrees(b.graph)
    ((made, keywords),) = builder.isa.calls
    assert made == name
    assert ("reduce_op" in keywords, "cc_dim" in keywords) == (
        "reduce" in name,
        name != "all_reduce",
    )


def test_collectives_of_other_reductions_are_refused() -> None:
    b = Builder("k")
    x, y = (b.add_input(n, (4, 6), DType.F32) for n in ("x", "y_out"))
    b.all_reduce(y, x, replica_groups=((0,),), op="maximum")
    b.set_outputs({"y": y})
    with pytest.raises(NotSupported, match="no member of dma_compute_reduce_op is known for max"):
        assert_agrees(b.graph)


def test_the_documentation_lists_the_ops_without_a_call() -> None:
    page = (Path(__file__).parents[1] / "docs" / "install-neuron.md").read_text(encoding="utf-8")
    listed = {name for name in REFUSED if f"| `{name}`" in page}
    unknown = {row.name for row in NKI if isinstance(row.kb, Unknown)}
    assert listed == set(REFUSED) == unknown


def test_all_ops_without_a_call_are_named_in_one_message() -> None:
    b = Builder("k")
    b.rank_id()
    b.while_loop("w", b.register_alloc(1), lambda b: None)
    with kernel_builder(), pytest.raises(NotSupported) as refused:
        build_kb_kernel(b.graph)
    assert str(refused.value).startswith("emit_to_kb: @k: rank_id: no call of")
    assert "; while_loop: how the" in str(refused.value)


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

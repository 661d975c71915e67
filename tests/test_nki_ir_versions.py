"""Which NeuronCore version an op, or one of its forms, needs; the verifier asks the rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cost_models import load_target
from nkigen_lite.core.dtypes import DType
from nkigen_lite.nki_ir import Builder, MemorySpace
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.nki_ir.verify import problems

F32, BF16, I32, U32 = DType.F32, DType.BF16, DType.I32, DType.U32
PSUM = MemorySpace.PSUM


def product(b: Builder, dtype: DType, **attrs: object) -> None:
    rows = (32, 2, 32) if attrs.get("perf_mode") else (32, 32)
    b.matmul(b.alloc((32, 32), F32, PSUM), b.alloc(rows, dtype), b.alloc(rows, dtype), **attrs)


def copied(b: Builder, opcode: str, *more: tuple[tuple[int, ...], DType], **attrs: object) -> None:
    """An op on tiles of (32, 32) and those of ``more``."""
    tiles = [b.alloc((32, 32), F32), b.alloc((32, 32), F32), *(b.alloc(*m) for m in more)]
    getattr(b, opcode)(*tiles, **attrs)


ONE = ((32, 1), F32)
NEEDS: dict[str, tuple[int, Callable[[Builder], object]]] = {
    "copies": (2, lambda b: copied(b, "tensor_copy")),
    "copies on scalar": (3, lambda b: copied(b, "tensor_copy", engine="scalar")),
    "a bias of each partition": (2, lambda b: copied(b, "activation", ONE, op="exp")),
    "a bias that is a number": (3, lambda b: copied(b, "activation", op="exp", bias=1.0)),
    "scalar's tensor_scalar": (
        3,
        lambda b: copied(b, "tensor_scalar_arith", op0="add", imm0=1.0, engine="scalar"),
    ),
    "range_select": (3, lambda b: copied(b, "range_select", ONE, ONE, op0="less", op1="less")),
    "nonzero_with_count": (
        3,
        lambda b: b.nonzero_with_count(b.alloc((16, 9), I32), b.alloc((16, 8), I32)),
    ),
    "gathering transposes": (
        3,
        lambda b: b.dma_gather_transpose(
            b.alloc((32, 16), BF16), b.add_input("x", (64, 32), BF16), b.alloc((16, 1), U32)
        ),
    ),
    "plain matmuls": (2, lambda b: product(b, BF16)),
    "double rows of OCP fp8": (
        4,
        lambda b: product(b, DType.FP8_E4M3, perf_mode="double_row"),
    ),
    "tiles of 64": (
        2,
        lambda b: product(b, BF16, tile_position=(0, 64), tile_size=(64, 64)),
    ),
    "tiles of 32": (3, lambda b: product(b, BF16, tile_position=(0, 0), tile_size=(32, 128))),
    "double rows": (3, lambda b: product(b, DType.FP8_E5M2, perf_mode="double_row")),
}


@pytest.mark.parametrize("target", ["trn1", "trn2", "trn3"])
@pytest.mark.parametrize("name", NEEDS)
def test_an_op_runs_from_its_version_on(name: str, target: str) -> None:
    least, build = NEEDS[name]
    b = Builder("k")
    build(b)
    limits = Limits.of(load_target(target))
    found = problems(b.graph, limits)
    if limits.core_version >= least:
        assert found == []
    else:
        (sentence,) = found
        assert f"is of NeuronCore-v{least} on but the target is" in sentence

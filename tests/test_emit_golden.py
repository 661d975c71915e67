"""Ten kernels as they are written, whole files: what changes here is a change of the form."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import test_emit_kernels as by_hand
from emit_agreement import assert_legal
from test_emit_text import masked_softmax, matmul_bias

from nkigen_lite.core.ir import Graph
from nkigen_lite.nki_ir.emit.host import Host
from nkigen_lite.nki_ir.emit_nki import Form, emit_nki

# As a compiled function presents its kernel.
MATMUL_BIAS = Form(
    header=["For trn2. Predicted 3.0 us, simulated 3.1 us; not measured."],
    parts=["3.0 us: over m by 128, sum over k by 128: out = silu(matmul(aT, b) + bias)"],
    host=Host(
        arguments={
            "aT": ((512, 256), "bfloat16"),
            "b": ((512, 512), "bfloat16"),
            "bias": ((256,), "float32"),
        },
        results={"y": ((256, 512), "bfloat16")},
        reference=(
            "def matmul_bias(aT, b, bias):",
            '    x = aT.T.astype("f4") @ b.astype("f4") + bias[:, None]',
            "    return (x / (1 + np.exp(-x))).astype(aT.dtype)",
            "return (matmul_bias(aT, b, bias),)",
        ),
        tolerances={"y": 0.03125},
    ),
)


def presented_matmul_bias() -> Graph:
    graph = matmul_bias()
    graph.ops[0].part = 0
    return graph


KERNELS: dict[str, tuple[Callable[[], Graph], Form]] = {
    "matmul_bias": (presented_matmul_bias, MATMUL_BIAS),
    "masked_softmax": (masked_softmax, Form(header=["An example."], comments=False)),
    **{
        build.__name__: (build, Form(comments=False))
        for build in (
            by_hand.elementwise_with_remainders,
            by_hand.matmul_with_k_loop,
            by_hand.transposes,
            by_hand.bias_activation,
            by_hand.where,
            by_hand.broadcast_load,
            by_hand.every_rank,
            by_hand.two_scalars,
        )
    },
}


@pytest.mark.parametrize("name", KERNELS)
def test_golden_text(name: str, golden: Callable[[str, str], None]) -> None:
    build, form = KERNELS[name]
    text = emit_nki(build(), form)
    assert_legal(text)
    golden(f"emit_{name}.py", text)


def test_there_are_ten() -> None:
    assert len(KERNELS) == 10

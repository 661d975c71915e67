"""The example kernels on plain numpy, against references in float64 written out by hand."""

from __future__ import annotations

import ast
import importlib
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import ml_dtypes
import numpy as np
import pytest

from examples.llama3_layer import LLAMA3_8B, llama3_layer
from examples.llama3_layer import Sizes as LlamaSizes
from examples.qwen3_layer import QWEN3_0_6B, Sizes, make_weights, qwen3_layer

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = Sizes(hidden=48, heads=6, kv_heads=2, head_dim=16, ffn=80)


def _gelu(value: float) -> float:
    return 0.5 * value * (1 + math.tanh(math.sqrt(2 / math.pi) * (value + 0.044715 * value**3)))


def _silu(value: np.ndarray) -> np.ndarray:
    return value * (1 + np.tanh(value / 2)) / 2


def _softmax_rows(x: np.ndarray) -> np.ndarray:
    return np.stack([np.exp(row) / math.fsum(np.exp(row)) for row in x])


def _rms_rows(x: np.ndarray, weight: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    return np.stack([row / math.sqrt(row @ row / row.size + eps) * weight for row in x])


def _layernorm_rows(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return np.stack([(r - r.mean()) / math.sqrt(r.var() + 1e-5) * weight + bias for r in x])


def _rope_heads(x: np.ndarray, theta: float = 1e4) -> np.ndarray:
    """Each pair of features as one complex number, turned by its angle; x is (..., seq, dim)."""
    half = x.shape[-1] // 2
    pairs = x[..., :half] + 1j * x[..., half:]
    for position in range(x.shape[-2]):
        for plane in range(half):
            pairs[..., position, plane] *= np.exp(1j * position * theta ** (-plane / half))
    return np.concatenate([pairs.real, pairs.imag], axis=-1)


def _causal_head(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Attention of one head, a query at a time, over the keys it may see and no others."""
    out = np.empty_like(q)
    for position, query in enumerate(q):
        seen = slice(0, position + 1)
        weights = _softmax_rows((k[seen] @ query / math.sqrt(query.size))[None])[0]
        out[position] = weights @ v[seen]
    return out


def _attention_heads(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    out = np.empty_like(q)
    for index in np.ndindex(q.shape[:2]):
        out[index] = _causal_head(q[index], k[index], v[index])
    return out


def _qwen3_sequence(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    """The layer for one sequence (seq, hidden), a head at a time."""
    dim = w["q_norm"].size
    heads, kv_heads = w["wq"].shape[1] // dim, w["wk"].shape[1] // dim
    h = _rms_rows(x, w["input_norm"])
    attended = []
    for head in range(heads):
        kv = head * kv_heads // heads
        q = h @ w["wq"][:, head * dim : (head + 1) * dim]
        k = h @ w["wk"][:, kv * dim : (kv + 1) * dim]
        v = h @ w["wv"][:, kv * dim : (kv + 1) * dim]
        q = _rope_heads(_rms_rows(q, w["q_norm"]), 1e6)
        k = _rope_heads(_rms_rows(k, w["k_norm"]), 1e6)
        attended.append(_causal_head(q, k, v))
    x = x + np.concatenate(attended, axis=-1) @ w["wo"]
    h = _rms_rows(x, w["post_norm"])
    return x + (_silu(h @ w["w_gate"]) * (h @ w["w_up"])) @ w["w_down"]


def _qwen3(x: np.ndarray, **weights: np.ndarray) -> np.ndarray:
    return np.stack([_qwen3_sequence(sequence, weights) for sequence in x])


@dataclass(frozen=True, slots=True)
class Case:
    """An example, the shapes of its arguments (fan-in first for matrices) and its reference.

    The tolerances are relative to the largest magnitude of the reference result.
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    reference: Callable[..., np.ndarray]
    f32: float = 1e-6
    bf16: float = 8e-3


CASES = (
    Case("softmax", ((37, 50),), _softmax_rows),
    Case("rmsnorm", ((37, 50), (50,)), _rms_rows),
    Case("layernorm", ((37, 50), (50,), (50,)), _layernorm_rows),
    Case("matmul", ((37, 50), (50, 29)), lambda a, b: np.tensordot(a, b, axes=1)),
    Case("linear", ((37, 50), (29, 50)), lambda x, weight: np.einsum("rk,nk->rn", x, weight)),
    Case(
        "gelu_linear",
        ((37, 50), (50, 29), (29,)),
        lambda x, weight, bias: np.vectorize(_gelu)(x @ weight + bias),
    ),
    Case(
        "mlp_swiglu",
        ((37, 50), (50, 70), (50, 70), (70, 50)),
        lambda x, gate, up, down: (_silu(x @ gate) * (x @ up)) @ down,
    ),
    Case("rope", ((2, 3, 21, 16),), _rope_heads),
    Case("attention", ((2, 3, 21, 16),) * 3, _attention_heads),
)
DTYPES = {"f32": np.dtype(np.float32), "bf16": np.dtype(ml_dtypes.bfloat16)}


def _load(name: str) -> ModuleType:
    return importlib.import_module(f"examples.{name}")


def _arguments(case: Case, dtype: np.dtype) -> list[np.ndarray]:
    """Normal values; every two-axis argument but the first is scaled down by its fan-in."""
    rng = np.random.default_rng(11)
    arrays = [rng.standard_normal(shape) for shape in case.shapes]
    scale = [1.0, *(a.shape[0] ** -0.5 if a.ndim == 2 else 1.0 for a in arrays[1:])]
    return [(a * s).astype(dtype) for a, s in zip(arrays, scale, strict=True)]


def _assert_near(got: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    worst = np.abs(got.astype(np.float64) - expected).max() / np.abs(expected).max()
    assert worst <= tolerance, f"off by {worst:.2e} of the largest magnitude, allowed {tolerance}"


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_example_agrees_with_its_float64_reference(case: Case, precision: str) -> None:
    arguments = _arguments(case, DTYPES[precision])
    got = getattr(_load(case.name), case.name)(*arguments)
    expected = case.reference(*(a.astype(np.float64) for a in arguments))
    assert got.shape == expected.shape
    assert got.dtype == DTYPES[precision]
    _assert_near(got, expected, getattr(case, precision))


@pytest.mark.parametrize(("precision", "tolerance"), [("f32", 2e-6), ("bf16", 1.6e-2)])
@pytest.mark.parametrize("sizes", [SMALL, QWEN3_0_6B], ids=["small", "qwen3-0.6b"])
def test_qwen3_layer_agrees_with_its_float64_reference(
    sizes: Sizes, precision: str, tolerance: float
) -> None:
    arguments = make_weights(3, DTYPES[precision], batch=2, seq=24, sizes=sizes)
    got = qwen3_layer(**arguments)
    expected = _qwen3(**{name: a.astype(np.float64) for name, a in arguments.items()})
    assert got.shape == (2, 24, sizes.hidden)
    assert got.dtype == DTYPES[precision]
    _assert_near(got, expected, tolerance)


def _llama3(w: dict[str, np.ndarray], dim: int) -> np.ndarray:
    """The layer for each sequence, a head at a time."""
    heads, kv_heads = w["wq"].shape[1] // dim, w["wk"].shape[1] // dim
    out = []
    for x in w["x"]:
        h = _rms_rows(x, w["input_norm"], 1e-5)
        attended = []
        for head in range(heads):
            own = slice(head * dim, (head + 1) * dim)
            kv = slice(head * kv_heads // heads * dim, (head * kv_heads // heads + 1) * dim)
            q, k = _rope_heads(h @ w["wq"][:, own], 5e5), _rope_heads(h @ w["wk"][:, kv], 5e5)
            attended.append(_causal_head(q, k, h @ w["wv"][:, kv]))
        x = x + np.concatenate(attended, axis=-1) @ w["wo"]
        h = _rms_rows(x, w["post_norm"], 1e-5)
        out.append(x + (_silu(h @ w["w_gate"]) * (h @ w["w_up"])) @ w["w_down"])
    return np.stack(out)


@pytest.mark.parametrize(("precision", "tolerance"), [("f32", 2e-6), ("bf16", 1.6e-2)])
def test_llama3_layer_agrees_with_its_float64_reference(precision: str, tolerance: float) -> None:
    sizes = LlamaSizes(hidden=48, heads=6, kv_heads=2, head_dim=16, ffn=80)
    rng = np.random.default_rng(9)
    arguments = {}
    for name, shape in sizes.shapes(2, 24).items():
        drawn = rng.standard_normal(shape)
        scaled = {1: 1.0 + 0.1 * drawn, 2: drawn * shape[0] ** -0.5, 3: drawn}[len(shape)]
        arguments[name] = scaled.astype(DTYPES[precision])
    got = llama3_layer(*arguments.values(), 16)
    assert got.dtype == DTYPES[precision]
    wide = {name: a.astype(np.float64) for name, a in arguments.items()}
    _assert_near(got, _llama3(wide, 16), tolerance)


def test_a_shard_of_llama3_has_an_eighth_of_the_heads_and_of_the_feed_forward_size() -> None:
    shapes = LLAMA3_8B.shard(8).shapes(1, 128)
    assert shapes["wq"] == (4096, 512)
    assert shapes["wk"] == (4096, 128)
    assert shapes["w_down"] == (1792, 4096)


def test_qwen3_layer_does_not_see_later_positions() -> None:
    arguments = make_weights(5, np.float32, seq=12, sizes=SMALL)
    before = qwen3_layer(**arguments)
    arguments["x"][:, 8:] += 1.0
    after = qwen3_layer(**arguments)
    np.testing.assert_array_equal(after[:, :8], before[:, :8])
    assert np.abs(after[:, 8:] - before[:, 8:]).max() > 0.1


def test_make_weights_gives_the_arguments_of_the_real_layer_in_order() -> None:
    arguments = make_weights(0, np.float32)
    assert {name: a.shape for name, a in arguments.items()} == {
        "x": (1, 128, 1024),
        "wq": (1024, 2048),
        "wk": (1024, 1024),
        "wv": (1024, 1024),
        "wo": (2048, 1024),
        "q_norm": (128,),
        "k_norm": (128,),
        "input_norm": (1024,),
        "post_norm": (1024,),
        "w_gate": (1024, 3072),
        "w_up": (1024, 3072),
        "w_down": (3072, 1024),
    }
    assert list(arguments) == list(inspect.signature(qwen3_layer).parameters)


def test_make_weights_rounds_the_same_values_to_each_dtype() -> None:
    wide = make_weights(7, np.float32, seq=4, sizes=SMALL)
    narrow = make_weights(7, ml_dtypes.bfloat16, seq=4, sizes=SMALL)
    other = make_weights(8, np.float32, seq=4, sizes=SMALL)
    for name, array in wide.items():
        np.testing.assert_allclose(narrow[name].astype(np.float32), array, rtol=2**-8)
        assert not np.array_equal(other[name], array)


def test_softmax_of_huge_scores_is_finite() -> None:
    x = np.array([[1e4, 0.0, -1e4], [3e38, 3e38, -3e38]], dtype=np.float32)
    with np.errstate(over="ignore"):  # the span of the second row is not a float32
        got = _load("softmax").softmax(x)
    np.testing.assert_array_equal(got, [[1, 0, 0], [0.5, 0.5, 0]])


def _kernel_files() -> list[Path]:
    """The example files that define a function of the file's own name."""
    return [
        path
        for path in sorted(EXAMPLES.glob("*.py"))
        if any(
            isinstance(node, ast.FunctionDef) and node.name == path.stem
            for node in ast.parse(path.read_text()).body
        )
    ]


def test_every_example_kernel_has_a_reference_here() -> None:
    assert {path.stem for path in _kernel_files()} == {c.name for c in CASES} | {
        "llama3_layer",
        "qwen3_layer",
    }


@pytest.mark.parametrize("path", _kernel_files(), ids=lambda path: path.stem)
def test_example_kernel_needs_nothing_but_numpy(path: Path) -> None:
    tree = ast.parse(path.read_text())
    modules = {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    modules |= {n.module or "." for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert modules <= {"numpy", "numpy.typing", "__future__", "dataclasses"}


@pytest.mark.parametrize("path", _kernel_files(), ids=lambda path: path.stem)
def test_example_kernel_docstring_names_every_argument(path: Path) -> None:
    function = getattr(_load(path.stem), path.stem)
    named = inspect.getdoc(function) or ""
    missing = [name for name in inspect.signature(function).parameters if f"`{name}`" not in named]
    assert not missing

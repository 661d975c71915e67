"""The part of an emitted file that runs on the host: checks, constants, the main program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from emit_agreement import assert_legal
from nki_stand_in import run_emitted, stand_in
from test_emit_examples import assert_reads_well

import nkigen_lite
from nkigen_lite.api import Compiled
from nkigen_lite.nki_ir.emit import host

BF16 = ml_dtypes.bfloat16
Capture = pytest.CaptureFixture[str]
Done = subprocess.CompletedProcess[str]
OFFSET = 0.5


def shifted(x: np.ndarray) -> np.ndarray:
    return x + OFFSET


def causal(x: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Softmax of rows up to the diagonal: brings a mask along, and a helper and a constant."""
    mask = np.triu(np.full((x.shape[0], x.shape[1]), -1e9, dtype=np.float32), k=1)
    e = np.exp(shifted(x) * scale + mask)
    return e / np.sum(e, axis=-1, keepdims=True)


def split(x: np.ndarray, w: dict[str, np.ndarray]) -> dict[str, Any]:
    return {"sum": x.sum(), "pair": (x * w["a"], x > w["b"])}


def clipped(x: np.ndarray, keep: np.ndarray) -> np.ndarray:
    return np.where(keep, x, 0)


LIMITS = [1.0, 2.0]


def limited(x: np.ndarray) -> np.ndarray:
    return np.minimum(x, LIMITS[0])


def summed(x: np.ndarray) -> np.ndarray:
    return np.exp(x).sum(axis=1)


def compiled(function: Any, *specs: Any, **named: Any) -> Compiled:
    return nkigen_lite.compile(function, *specs, time_limit=2.0, **named)


@pytest.fixture(scope="module")
def masked() -> str:
    return compiled(causal, "64x64", scale=0.5).emit()


def loaded(text: str) -> dict[str, Any]:
    """The module's names, with the stand-in as its vendor package."""
    namespace: dict[str, Any] = {"__name__": "emitted"}
    with stand_in():
        exec(compile(text, "<emitted>", "exec"), namespace)
    return namespace


def program(
    text: str, folder: Path, *options: str, vendor: str
) -> subprocess.CompletedProcess[str]:
    """Run the text as a program; ``vendor`` is the source of its package ``nki``."""
    (folder / "kernel.py").write_text(text, encoding="utf-8")
    (folder / "nki.py").write_text(vendor, encoding="utf-8")
    path = os.pathsep.join([str(folder), *sys.path])
    return subprocess.run(
        [sys.executable, str(folder / "kernel.py"), *options],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


ABSENT = "raise ModuleNotFoundError(\"No module named 'nki'\", name='nki')\n"
PRESENT = "import sys\nimport nki_stand_in\nsys.modules.update(nki_stand_in._modules('truncate'))\n"


def test_program_says_what_to_install_where_the_vendor_package_is_missing(
    masked: str, tmp_path: Path
) -> None:
    done = program(masked, tmp_path, vendor=ABSENT)
    assert done.returncode == 2
    assert "causal: No module named 'nki'. Kernels need the package nki" in done.stderr
    assert 'pip install "nki>=0.4,<0.7"' in done.stderr
    assert done.stdout == ""


def test_program_simulates_and_agrees_with_numpy(masked: str, tmp_path: Path) -> None:
    done = program(masked, tmp_path, vendor=PRESENT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "causal: ran in the simulator\noutput: agrees with numpy" in done.stdout


def test_program_runs_on_the_device_if_asked(masked: str, capsys: Capture) -> None:
    assert loaded(masked)["main"](["--hardware"]) == 0
    assert "causal: ran on the device" in capsys.readouterr().out
    assert loaded(masked)["main"](["--hardwear"]) == 2
    assert "the only option is --hardware" in capsys.readouterr().err


def test_program_whose_kernel_is_wrong_disagrees(masked: str, capsys: Capture) -> None:
    wrong = masked.replace("op=nl.exp", "op=nl.tanh")
    assert wrong != masked
    assert loaded(wrong)["main"]([]) == 1
    assert "output: DISAGREES with numpy" in capsys.readouterr().out


def test_program_does_not_trust_numpys_sums_of_narrow_floats(capsys: Capture) -> None:
    text = compiled(summed, "2x8192:bf16").emit()
    assert_reads_well(text)
    assert loaded(text)["main"]([]) == 0
    assert "as float64:\noutput: agrees with numpy" in capsys.readouterr().out


def test_program_without_a_reference_says_why(capsys: Capture) -> None:
    assert loaded(compiled(limited, "16x16").emit())["main"]([]) == 0
    said = "not compared with numpy: limited uses LIMITS, which is not part of it"
    assert said in capsys.readouterr().out


def test_file_brings_its_helper_its_constant_and_its_mask_along(masked: str) -> None:
    names = loaded(masked)
    assert_legal(masked)
    assert "    OFFSET = 0.5\n" in masked
    assert "    def shifted(" in masked
    x = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    (wanted,) = names["reference"](x)
    np.testing.assert_array_equal(wanted, causal(x, 0.5))
    with np.errstate(all="ignore"):
        got = names["run_causal"](x)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_large_constants_stay_in_a_file_beside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(host, "EMBEDDED_MAX", 10)
    kernel = compiled(causal, "64x64")
    nkigen_lite.write_outputs(kernel, tmp_path)
    text = kernel.emit()
    assert 'STORED = ("' in text
    done = program(text, tmp_path, vendor=PRESENT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "output: agrees with numpy" in done.stdout


@pytest.mark.parametrize(
    ("array", "error", "sentence"),
    [
        (np.zeros((64, 32), np.float32), ValueError, r"x has shape \(64, 32\) but must have \(64"),
        (np.zeros((64, 64), np.float16), TypeError, "x has element type float16 but must have flo"),
        ([[1.0]], TypeError, "x is a list but must be an array"),
    ],
)
def test_argument_that_does_not_fit_is_named(
    masked: str, array: Any, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        loaded(masked)["run_causal"](array)


def test_calling_without_the_vendor_package_raises(
    masked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nki", None)
    namespace: dict[str, Any] = {"__name__": "emitted"}
    exec(compile(masked, "<emitted>", "exec"), namespace)
    with pytest.raises(ModuleNotFoundError, match=r"causal: .*nki.* Kernels need the package nki"):
        namespace["run_causal"](np.zeros((64, 64), np.float32))


def test_containers_scalars_and_bools_come_back_as_numpy_gives_them(capsys: Capture) -> None:
    text = compiled(split, "8x16", {"a": "8x16:f32", "b": "8x16:f32"}).emit()
    assert_legal(text)
    assert "def run_split(x, w_a, w_b, simulate=False):" in text
    assert loaded(text)["main"]([]) == 0
    assert capsys.readouterr().out.count("agrees with numpy") == 3


def test_bool_arguments_are_taken_as_bools() -> None:
    text = compiled(clipped, "16x16:bf16", "16x16:bool").emit()
    assert '"keep": ((16, 16), "bool"),' in text
    assert loaded(text)["main"]([]) == 0


class TorchLike:
    """What the wrapper uses of a torch tensor."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.shape = array.shape
        self.dtype = f"torch.{array.dtype.name}"

    def reshape(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.array.reshape(shape)


def test_torch_tensors_pass_the_checks_by_their_own_names() -> None:
    names = loaded(compiled(limited, "16x16:bf16").emit())
    x = np.ones((16, 16), BF16)
    np.testing.assert_array_equal(names["run_limited"](TorchLike(x)), x)
    with pytest.raises(TypeError, match="element type float32 but must have bfloat16"):
        names["run_limited"](TorchLike(x.astype(np.float32)))


def awkward(simulate: Any, tuple: Any, nl: Any, prepared: Any, np_: Any, awkward: Any) -> Any:
    return simulate + tuple + nl + prepared + np_ + awkward


def test_arguments_named_like_what_the_file_uses_get_another_name(capsys: Capture) -> None:
    text = compiled(awkward, *["8x16"] * 6).emit()
    assert_legal(text)
    assert "def run_awkward(simulate_, tuple_, nl_, prepared_, np_, awkward_, simul" in text
    assert loaded(text)["main"]([]) == 0
    assert "awkward is a parameter's name and that of what it uses" in capsys.readouterr().out


T = OFFSET


def turned(KERNEL: np.ndarray) -> np.ndarray:  # what templates call a kernel
    text = """of two
        lines"""
    return KERNEL.T * OFFSET + len(text)  # the attribute, not the variable


def test_awkward_names_and_texts_of_a_program_keep_their_meaning(capsys: Capture) -> None:
    text = compiled(turned, "8x16", name="print").emit()
    assert "def run_print_(KERNEL, simulate=False):" in text
    assert loaded(text)["main"]([]) == 0
    assert "print_: ran in the simulator\noutput: agrees with numpy" in capsys.readouterr().out


def hiding(x: np.ndarray, C1: np.ndarray, output_block: np.ndarray) -> np.ndarray:
    return np.tanh(x @ x.T * 0.123456789) + np.tanh(C1 * 0.123456789)


def test_constants_and_functions_of_the_file_are_not_named_like_arguments() -> None:
    text = compiled(hiding, "260x260", "260x1", "5x5").emit()
    assert_legal(text)
    assert "C2 = 0.123456789\n" in text
    assert "def output_block_1(" in text
    assert loaded(text)["main"]([]) == 0


def cached(k: np.ndarray, output: np.ndarray) -> dict[str, np.ndarray]:
    return {"k": k + output, "output": output * k}


def test_results_named_like_arguments_get_another_name(capsys: Capture) -> None:
    kernel = compiled(cached, "8x16", "8x16")
    x = np.ones((8, 16), np.float32)
    assert kernel(x, x).keys() == {"k", "output"}
    assert loaded(kernel.emit())["main"]([]) == 0
    assert "k_result: agrees with numpy" in capsys.readouterr().out


def test_constants_are_unpacked_once(masked: str) -> None:
    names = loaded(masked)
    x = np.zeros((64, 64), np.float32)
    names["run_causal"](x)
    names["PACKED"].clear()
    names["run_causal"](x)


def a_function_with_a_name_that_fills_most_of_a_line(x: np.ndarray) -> np.ndarray:
    return np.exp(x)


def test_long_names_leave_the_file_formatted() -> None:
    name = "a_function_with_a_name_that_fills_most_of_a_line"
    assert_reads_well(compiled(globals()[name], "8x16").emit())


def counted(x: np.ndarray) -> np.ndarray:
    return (x * 10).astype(np.int32)


@pytest.mark.parametrize("rounding", ["truncate", "nearest"])
def test_casts_to_integers_truncate_whichever_way_engines_round(rounding: str) -> None:
    x = np.linspace(-3, 3, 128, dtype=np.float32).reshape(8, 16)
    (made,) = run_emitted(compiled(counted, "8x16").emit(), [x], rounding=rounding)
    np.testing.assert_array_equal(made, counted(x))

"""NKI kernel matmul.

Inputs, in HBM:
    aT: (320, 192) bfloat16
    b: (320, 640) bfloat16

Outputs, in HBM:
    y: (192, 640) float32
"""

from __future__ import annotations

import sys

import ml_dtypes  # noqa: F401  (gives numpy its narrow floats)
import numpy as np

try:
    import nki
    import nki.isa as nisa
    import nki.language as nl
except ModuleNotFoundError as error:  # without the vendor package this file only can be read
    from types import SimpleNamespace

    nki, nisa, nl = SimpleNamespace(jit=lambda kernel: kernel, error=str(error)), None, None

# What the kernel takes and returns, in HBM: shapes and element types.
INPUTS = {
    "aT": ((320, 192), "bfloat16"),
    "b": ((320, 640), "bfloat16"),
}
OUTPUTS = {
    "y": ((192, 640), "float32"),
}


@nki.jit
def matmul(aT, b):
    y = nl.ndarray((192, 640), dtype=nl.float32, buffer=nl.shared_hbm)
    for m in range(3):
        acc = nl.ndarray((64, 512), dtype=nl.float32, buffer=nl.psum)
        for k in range(0, 256, 128):
            left = nl.ndarray((128, 64), dtype=nl.bfloat16, buffer=nl.sbuf)
            right = nl.ndarray((128, 512), dtype=nl.bfloat16, buffer=nl.sbuf)
            nisa.dma_copy(dst=left, src=aT[nl.ds(k, 128), nl.ds(m * 64, 64)])
            nisa.dma_copy(dst=right, src=b[nl.ds(k, 128), 0:512])
            nisa.nc_matmul(dst=acc, stationary=left, moving=right, accumulate=(k > 0))
        left = nl.ndarray((64, 64), dtype=nl.bfloat16, buffer=nl.sbuf)
        right = nl.ndarray((64, 512), dtype=nl.bfloat16, buffer=nl.sbuf)
        nisa.dma_copy(dst=left, src=aT[256:320, nl.ds(m * 64, 64)])
        nisa.dma_copy(dst=right, src=b[256:320, 0:512])
        nisa.nc_matmul(dst=acc, stationary=left, moving=right, accumulate=True)
        out = nl.ndarray((64, 512), dtype=nl.float32, buffer=nl.sbuf)
        nisa.tensor_copy(dst=out, src=acc, engine=nisa.engine.scalar)
        nisa.dma_copy(dst=y[nl.ds(m * 64, 64), 0:512], src=out)
        acc_1 = nl.ndarray((64, 128), dtype=nl.float32, buffer=nl.psum)
        for k in range(0, 256, 128):
            left_1 = nl.ndarray((128, 64), dtype=nl.bfloat16, buffer=nl.sbuf)
            right_1 = nl.ndarray((128, 128), dtype=nl.bfloat16, buffer=nl.sbuf)
            nisa.dma_copy(dst=left_1, src=aT[nl.ds(k, 128), nl.ds(m * 64, 64)])
            nisa.dma_copy(dst=right_1, src=b[nl.ds(k, 128), 512:640])
            nisa.nc_matmul(dst=acc_1, stationary=left_1, moving=right_1, accumulate=(k > 0))
        left_1 = nl.ndarray((64, 64), dtype=nl.bfloat16, buffer=nl.sbuf)
        right_1 = nl.ndarray((64, 128), dtype=nl.bfloat16, buffer=nl.sbuf)
        nisa.dma_copy(dst=left_1, src=aT[256:320, nl.ds(m * 64, 64)])
        nisa.dma_copy(dst=right_1, src=b[256:320, 512:640])
        nisa.nc_matmul(dst=acc_1, stationary=left_1, moving=right_1, accumulate=True)
        out_1 = nl.ndarray((64, 128), dtype=nl.float32, buffer=nl.sbuf)
        nisa.tensor_copy(dst=out_1, src=acc_1, engine=nisa.engine.scalar)
        nisa.dma_copy(dst=y[nl.ds(m * 64, 64), 512:640], src=out_1)
    return y


# What callers give and get: shapes, and element types as numpy and torch name them.
ARGUMENTS = {
    "aT": ((320, 192), "bfloat16"),
    "b": ((320, 640), "bfloat16"),
}
RESULTS = {
    "y": ((192, 640), "float32"),
}


def run_matmul(aT, b, simulate=False):
    """The kernel on numpy or torch arrays: one result, or a tuple in the order of RESULTS.

    With simulate it runs on the vendor's CPU simulator, else on the device.
    """
    if nl is None:
        raise ModuleNotFoundError(missing())
    given = {
        "aT": aT,
        "b": b,
    }
    arrays = {name: prepared(name, array) for name, array in given.items()}
    execute = matmul
    if simulate:
        execute = nki.simulate(execute)
    made = execute(*[arrays[name] for name in INPUTS])
    results = tuple(map(finished, RESULTS, made if isinstance(made, tuple) else (made,)))
    return results[0] if len(results) == 1 else results


def missing():
    """What to do where the vendor package is not there."""
    return (
        f"matmul: {nki.error}. "
        "Kernels need the package nki of the AWS Neuron SDK, 0.4 to 0.6 (nki 0.0.1 on PyPI is an "
        "empty placeholder): follow the setup guide of the SDK to add its package index, then run: "
        'pip install "nki>=0.4,<0.7"'
    )


def prepared(name, array):
    """An argument as the kernel takes it; a ValueError or TypeError says what does not fit."""
    shape, dtype = ARGUMENTS[name]
    if not hasattr(array, "dtype"):
        raise TypeError(f"{name} is a {type(array).__name__} but must be an array")
    found = str(array.dtype).removeprefix("torch.")
    if tuple(array.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(array.shape)} but must have {shape}")
    if found != dtype:
        raise TypeError(f"{name} has element type {found} but must have {dtype}")
    if dtype == "bool":  # NKI keeps truth values in uint8
        array = array.byte() if hasattr(array, "byte") else array.astype("uint8")
    return array.reshape(INPUTS[name][0])


def finished(name, array):
    """A result as callers get it."""
    shape, dtype = RESULTS[name]
    if dtype == "bool":
        array = array.bool() if hasattr(array, "byte") else array.astype("bool")
    return array.reshape(shape)


def random_array(rng, shape, dtype):
    """Standard normal floats, integers from 0 to 7, or truth values."""
    if dtype == "bool":
        return np.asarray(rng.random(shape) < 0.5)
    if "int" in dtype:
        return np.asarray(rng.integers(0, 8, shape)).astype(dtype)
    return np.asarray(rng.standard_normal(shape)).astype(dtype)


def main(options):
    """Run on random arrays, simulated or with --hardware on the device.

    Exit codes: 0 all went well, 1 a result disagrees with numpy, 2 the package nki is missing
    or an option is wrong.
    """
    if set(options) - {"--hardware"}:
        print("the only option is --hardware", file=sys.stderr)
        return 2
    if nl is None:
        print(missing(), file=sys.stderr)
        return 2
    rng = np.random.default_rng(0)
    given = {name: random_array(rng, *spec) for name, spec in ARGUMENTS.items()}
    simulate = "--hardware" not in options
    where = "in the simulator" if simulate else "on the device"
    run_matmul(**given, simulate=simulate)
    print(f"matmul: ran {where}")
    print("not compared with numpy: no numpy function is known")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

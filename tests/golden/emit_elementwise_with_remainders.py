"""NKI kernel elementwise.

Inputs, in HBM:
    a: (300, 700) bfloat16
    b: (300, 700) bfloat16

Outputs, in HBM:
    y: (300, 700) float32
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
    "a": ((300, 700), "bfloat16"),
    "b": ((300, 700), "bfloat16"),
}
OUTPUTS = {
    "y": ((300, 700), "float32"),
}


@nki.jit
def elementwise(a, b):
    y = nl.ndarray((300, 700), dtype=nl.float32, buffer=nl.shared_hbm)
    for i in range(0, 256, 128):
        for j in range(0, 512, 512):
            a_t = nl.ndarray((128, 512), dtype=nl.bfloat16, buffer=nl.sbuf)
            b_t = nl.ndarray((128, 512), dtype=nl.bfloat16, buffer=nl.sbuf)
            total = nl.ndarray((128, 512), dtype=nl.float32, buffer=nl.sbuf)
            nisa.dma_copy(dst=a_t, src=a[nl.ds(i, 128), nl.ds(j, 512)])
            nisa.dma_copy(dst=b_t, src=b[nl.ds(i, 128), nl.ds(j, 512)])
            nisa.tensor_tensor(
                dst=total, data1=a_t, data2=b_t, op=nl.multiply, engine=nisa.engine.vector
            )
            nisa.activation(dst=total, op=nl.exp, data=total, scale=0.5)
            nisa.dma_copy(dst=y[nl.ds(i, 128), nl.ds(j, 512)], src=total)
        a_t = nl.ndarray((128, 188), dtype=nl.bfloat16, buffer=nl.sbuf)
        b_t = nl.ndarray((128, 188), dtype=nl.bfloat16, buffer=nl.sbuf)
        total = nl.ndarray((128, 188), dtype=nl.float32, buffer=nl.sbuf)
        nisa.dma_copy(dst=a_t, src=a[nl.ds(i, 128), 512:700])
        nisa.dma_copy(dst=b_t, src=b[nl.ds(i, 128), 512:700])
        nisa.tensor_tensor(
            dst=total, data1=a_t, data2=b_t, op=nl.multiply, engine=nisa.engine.vector
        )
        nisa.activation(dst=total, op=nl.exp, data=total, scale=0.5)
        nisa.dma_copy(dst=y[nl.ds(i, 128), 512:700], src=total)
    for j in range(0, 512, 512):
        a_t = nl.ndarray((44, 512), dtype=nl.bfloat16, buffer=nl.sbuf)
        b_t = nl.ndarray((44, 512), dtype=nl.bfloat16, buffer=nl.sbuf)
        total = nl.ndarray((44, 512), dtype=nl.float32, buffer=nl.sbuf)
        nisa.dma_copy(dst=a_t, src=a[256:300, nl.ds(j, 512)])
        nisa.dma_copy(dst=b_t, src=b[256:300, nl.ds(j, 512)])
        nisa.tensor_tensor(
            dst=total, data1=a_t, data2=b_t, op=nl.multiply, engine=nisa.engine.vector
        )
        nisa.activation(dst=total, op=nl.exp, data=total, scale=0.5)
        nisa.dma_copy(dst=y[256:300, nl.ds(j, 512)], src=total)
    a_t = nl.ndarray((44, 188), dtype=nl.bfloat16, buffer=nl.sbuf)
    b_t = nl.ndarray((44, 188), dtype=nl.bfloat16, buffer=nl.sbuf)
    total = nl.ndarray((44, 188), dtype=nl.float32, buffer=nl.sbuf)
    nisa.dma_copy(dst=a_t, src=a[256:300, 512:700])
    nisa.dma_copy(dst=b_t, src=b[256:300, 512:700])
    nisa.tensor_tensor(dst=total, data1=a_t, data2=b_t, op=nl.multiply, engine=nisa.engine.vector)
    nisa.activation(dst=total, op=nl.exp, data=total, scale=0.5)
    nisa.dma_copy(dst=y[256:300, 512:700], src=total)
    return y


# What callers give and get: shapes, and element types as numpy and torch name them.
ARGUMENTS = {
    "a": ((300, 700), "bfloat16"),
    "b": ((300, 700), "bfloat16"),
}
RESULTS = {
    "y": ((300, 700), "float32"),
}


def run_elementwise(a, b, simulate=False):
    """The kernel on numpy or torch arrays: one result, or a tuple in the order of RESULTS.

    With simulate it runs on the vendor's CPU simulator, else on the device.
    """
    if nl is None:
        raise ModuleNotFoundError(missing())
    given = {
        "a": a,
        "b": b,
    }
    arrays = {name: prepared(name, array) for name, array in given.items()}
    execute = elementwise
    if simulate:
        execute = nki.simulate(execute)
    made = execute(*[arrays[name] for name in INPUTS])
    results = tuple(map(finished, RESULTS, made if isinstance(made, tuple) else (made,)))
    return results[0] if len(results) == 1 else results


def missing():
    """What to do where the vendor package is not there."""
    return (
        f"elementwise: {nki.error}. "
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
    run_elementwise(**given, simulate=simulate)
    print(f"elementwise: ran {where}")
    print("not compared with numpy: no numpy function is known")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

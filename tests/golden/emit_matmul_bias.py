"""NKI kernel matmul_bias.

For trn2. Predicted 3.0 us, simulated 3.1 us; not measured.

Inputs, in HBM:
    aT: (512, 256) bfloat16
    b: (512, 512) bfloat16
    bias: (256,) float32

Outputs, in HBM:
    y: (256, 512) bfloat16

Plan: predicted time of each part, its loops (axis by block), what it computes.
    1. 3.0 us: over m by 128, sum over k by 128: out = silu(matmul(aT, b) + bias)
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
    "aT": ((512, 256), "bfloat16"),
    "b": ((512, 512), "bfloat16"),
    "bias": ((256,), "float32"),
}
OUTPUTS = {
    "y": ((256, 512), "bfloat16"),
}


@nki.jit
def matmul_bias(aT, b, bias):
    y = nl.ndarray((256, 512), dtype=nl.bfloat16, buffer=nl.shared_hbm)
    # 1. 3.0 us: over m by 128, sum over k by 128: out = silu(matmul(aT, b) + bias)
    for m in range(2):
        acc = nl.ndarray((128, 512), dtype=nl.float32, buffer=nl.psum)
        for k in range(4):
            a_tile = nl.ndarray((128, 128), dtype=nl.bfloat16, buffer=nl.sbuf)
            b_tile = nl.ndarray((128, 512), dtype=nl.bfloat16, buffer=nl.sbuf)
            nisa.dma_copy(dst=a_tile, src=aT[nl.ds(k * 128, 128), nl.ds(m * 128, 128)])
            nisa.dma_copy(dst=b_tile, src=b[nl.ds(k * 128, 128), 0:512])
            nisa.nc_matmul(dst=acc, stationary=a_tile, moving=b_tile, accumulate=(k > 0))
        bias_tile = nl.ndarray((128, 1), dtype=nl.float32, buffer=nl.sbuf)
        nisa.dma_copy(dst=bias_tile, src=bias.reshape((256, 1))[nl.ds(m * 128, 128), 0:1])
        out = nl.ndarray((128, 512), dtype=nl.bfloat16, buffer=nl.sbuf)
        nisa.activation(dst=out, op=nl.silu, data=acc, bias=bias_tile)
        nisa.dma_copy(dst=y[nl.ds(m * 128, 128), 0:512], src=out)
    return y


# What callers give and get: shapes, and element types as numpy and torch name them.
ARGUMENTS = {
    "aT": ((512, 256), "bfloat16"),
    "b": ((512, 512), "bfloat16"),
    "bias": ((256,), "float32"),
}
RESULTS = {
    "y": ((256, 512), "bfloat16"),
}
# How far from numpy results may be: of the largest magnitude; integers, absolute.
TOLERANCES = {
    "y": 0.03125,
}


def run_matmul_bias(aT, b, bias, simulate=False):
    """The kernel on numpy or torch arrays: one result, or a tuple in the order of RESULTS.

    With simulate it runs on the vendor's CPU simulator, else on the device.
    """
    if nl is None:
        raise ModuleNotFoundError(missing())
    given = {
        "aT": aT,
        "b": b,
        "bias": bias,
    }
    arrays = {name: prepared(name, array) for name, array in given.items()}
    execute = matmul_bias
    if simulate:
        execute = nki.simulate(execute)
    made = execute(*[arrays[name] for name in INPUTS])
    results = tuple(map(finished, RESULTS, made if isinstance(made, tuple) else (made,)))
    return results[0] if len(results) == 1 else results


def missing():
    """What to do where the vendor package is not there."""
    return (
        f"matmul_bias: {nki.error}. "
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


def reference(aT, b, bias):
    """What numpy computes, as a tuple in the order of RESULTS."""

    # fmt: off
    def matmul_bias(aT, b, bias):
        x = aT.T.astype("f4") @ b.astype("f4") + bias[:, None]
        return (x / (1 + np.exp(-x))).astype(aT.dtype)
    return (matmul_bias(aT, b, bias),)
    # fmt: on


def agrees(name, got, wanted):
    """Whether a result is as near to numpy's as its types allow; prints how near it is."""
    got, wanted = (np.asarray(a).astype("float64") for a in (got, wanted))
    whole = "int" in RESULTS[name][1] or RESULTS[name][1] == "bool"
    scale = 1.0 if whole else np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0) or 1.0
    equal = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    error = np.abs(got - wanted)[~equal].max(initial=0.0) / scale
    verdict = "agrees" if error <= TOLERANCES[name] else "DISAGREES"
    print(f"{name}: {verdict} with numpy; error {error:.2e}, allowed {TOLERANCES[name]:.2e}")
    return verdict == "agrees"


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
    made = run_matmul_bias(**given, simulate=simulate)
    print(f"matmul_bias: ran {where}")
    made = made if isinstance(made, tuple) else (made,)
    with np.errstate(all="ignore"):
        if all([*map(agrees, RESULTS, made, reference(*given.values()))]):
            return 0
        print("numpy adds up narrow floats in their own type; of the same numbers as float64:")
        narrow = {n for n, a in given.items() if a.itemsize < 4 and "float" in a.dtype.name}
        wide = [a.astype("float64") if n in narrow else a for n, a in given.items()]
        return 0 if all([*map(agrees, RESULTS, made, reference(*wide))]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

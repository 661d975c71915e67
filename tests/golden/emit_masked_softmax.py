"""NKI kernel masked_softmax.

An example.

Inputs, in HBM:
    scores: (200, 300) float32
    mask: (200, 300) uint8 (bool)
    row_scale: (300,) float32

Outputs, in HBM:
    probs: (200, 300) float32
"""

from __future__ import annotations

import sys

import numpy as np

try:
    import nki
    import nki.isa as nisa
    import nki.language as nl
except ModuleNotFoundError as error:  # without the vendor package this file only can be read
    from types import SimpleNamespace

    nki, nisa, nl = SimpleNamespace(jit=lambda kernel: kernel, error=str(error)), None, None

INF = float("inf")

# What the kernel takes and returns, in HBM: shapes and element types.
INPUTS = {
    "scores": ((200, 300), "float32"),
    "mask": ((200, 300), "uint8"),
    "row_scale": ((300,), "float32"),
}
OUTPUTS = {
    "probs": ((200, 300), "float32"),
}


@nki.jit
def masked_softmax(scores, mask, row_scale):
    probs = nl.ndarray((200, 300), dtype=nl.float32, buffer=nl.shared_hbm)
    for row in range(0, 128, 128):
        x = nl.ndarray((128, 300), dtype=nl.float32, buffer=nl.sbuf)
        in_ = nl.ndarray((128, 300), dtype=nl.uint8, buffer=nl.sbuf)
        scale = nl.ndarray((128, 300), dtype=nl.float32, buffer=nl.sbuf)
        nisa.dma_copy(dst=x, src=scores[nl.ds(row, 128), 0:300])
        nisa.dma_copy(dst=in_, src=mask[nl.ds(row, 128), 0:300])
        nisa.dma_copy(dst=scale, src=row_scale.expand_dim(0).broadcast(0, 128))
        logits = nl.ndarray((128, 300), dtype=nl.float32, buffer=nl.sbuf)
        nisa.memset(dst=logits, value=-INF, engine=nisa.engine.vector)
        nisa.tensor_tensor(dst=x, data1=x, data2=scale, op=nl.multiply, engine=nisa.engine.vector)
        nisa.tensor_copy_predicated(dst=logits, src=x, predicate=in_)
        peak = nl.ndarray((128, 1), dtype=nl.float32, buffer=nl.sbuf)
        total = nl.ndarray((128, 1), dtype=nl.float32, buffer=nl.sbuf)
        nisa.tensor_reduce(dst=peak, op=nl.maximum, data=logits, axis=1, keepdims=True)
        nisa.tensor_scalar(
            dst=logits, data=logits, op0=nl.subtract, operand0=peak, engine=nisa.engine.vector
        )
        nisa.activation(dst=logits, op=nl.exp, data=logits)
        nisa.tensor_reduce(dst=total, op=nl.add, data=logits, axis=1, keepdims=True)
        nisa.reciprocal(dst=total, data=total)
        nisa.tensor_scalar(
            dst=logits, data=logits, op0=nl.multiply, operand0=total, engine=nisa.engine.vector
        )
        nisa.dma_copy(dst=probs[nl.ds(row, 128), 0:300], src=logits)
    x = nl.ndarray((72, 300), dtype=nl.float32, buffer=nl.sbuf)
    in_ = nl.ndarray((72, 300), dtype=nl.uint8, buffer=nl.sbuf)
    scale = nl.ndarray((72, 300), dtype=nl.float32, buffer=nl.sbuf)
    nisa.dma_copy(dst=x, src=scores[128:200, 0:300])
    nisa.dma_copy(dst=in_, src=mask[128:200, 0:300])
    nisa.dma_copy(dst=scale, src=row_scale.expand_dim(0).broadcast(0, 72))
    logits = nl.ndarray((72, 300), dtype=nl.float32, buffer=nl.sbuf)
    nisa.memset(dst=logits, value=-INF, engine=nisa.engine.vector)
    nisa.tensor_tensor(dst=x, data1=x, data2=scale, op=nl.multiply, engine=nisa.engine.vector)
    nisa.tensor_copy_predicated(dst=logits, src=x, predicate=in_)
    peak = nl.ndarray((72, 1), dtype=nl.float32, buffer=nl.sbuf)
    total = nl.ndarray((72, 1), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_reduce(dst=peak, op=nl.maximum, data=logits, axis=1, keepdims=True)
    nisa.tensor_scalar(
        dst=logits, data=logits, op0=nl.subtract, operand0=peak, engine=nisa.engine.vector
    )
    nisa.activation(dst=logits, op=nl.exp, data=logits)
    nisa.tensor_reduce(dst=total, op=nl.add, data=logits, axis=1, keepdims=True)
    nisa.reciprocal(dst=total, data=total)
    nisa.tensor_scalar(
        dst=logits, data=logits, op0=nl.multiply, operand0=total, engine=nisa.engine.vector
    )
    nisa.dma_copy(dst=probs[128:200, 0:300], src=logits)
    return probs


# What callers give and get: shapes, and element types as numpy and torch name them.
ARGUMENTS = {
    "scores": ((200, 300), "float32"),
    "mask": ((200, 300), "uint8"),
    "row_scale": ((300,), "float32"),
}
RESULTS = {
    "probs": ((200, 300), "float32"),
}


def run_masked_softmax(scores, mask, row_scale, simulate=False):
    """The kernel on numpy or torch arrays: one result, or a tuple in the order of RESULTS.

    With simulate it runs on the vendor's CPU simulator, else on the device.
    """
    if nl is None:
        raise ModuleNotFoundError(missing())
    given = {
        "scores": scores,
        "mask": mask,
        "row_scale": row_scale,
    }
    arrays = {name: prepared(name, array) for name, array in given.items()}
    execute = masked_softmax
    if simulate:
        execute = nki.simulate(execute)
    made = execute(*[arrays[name] for name in INPUTS])
    results = tuple(map(finished, RESULTS, made if isinstance(made, tuple) else (made,)))
    return results[0] if len(results) == 1 else results


def missing():
    """What to do where the vendor package is not there."""
    return (
        f"masked_softmax: {nki.error}. "
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
    run_masked_softmax(**given, simulate=simulate)
    print(f"masked_softmax: ran {where}")
    print("not compared with numpy: no numpy function is known")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""NKI kernel kernel.

Inputs, in HBM:
    x: (64, 3, 4, 5) float32

Outputs, in HBM:
    add2_2: (64, 3) float32
    add1_3: (64, 3, 4) float32
    add1_4: (64, 3, 4, 1) float32
    add3_2: (64, 1) float32
    add3_4: (64, 1, 1, 1) float32
    maximum2_2: (64, 3) float32
    maximum1_3: (64, 3, 4) float32
    maximum1_4: (64, 3, 4, 1) float32
    maximum3_2: (64, 1) float32
    maximum3_4: (64, 1, 1, 1) float32
    minimum2_2: (64, 3) float32
    minimum1_3: (64, 3, 4) float32
    minimum1_4: (64, 3, 4, 1) float32
    minimum3_2: (64, 1) float32
    minimum3_4: (64, 1, 1, 1) float32
    other_shape: (64, 12) float32
"""

from __future__ import annotations

import sys

import numpy as np

try:
    import nki
    import nki.isa as nisa
    import nki.language as nl
except ModuleNotFoundError:  # without the vendor package this file can be read, but not run
    nki = nisa = nl = None

# What the kernel takes and returns, in HBM: shapes and element types.
INPUTS = {
    "x": ((64, 3, 4, 5), "float32"),
}
OUTPUTS = {
    "add2_2": ((64, 3), "float32"),
    "add1_3": ((64, 3, 4), "float32"),
    "add1_4": ((64, 3, 4, 1), "float32"),
    "add3_2": ((64, 1), "float32"),
    "add3_4": ((64, 1, 1, 1), "float32"),
    "maximum2_2": ((64, 3), "float32"),
    "maximum1_3": ((64, 3, 4), "float32"),
    "maximum1_4": ((64, 3, 4, 1), "float32"),
    "maximum3_2": ((64, 1), "float32"),
    "maximum3_4": ((64, 1, 1, 1), "float32"),
    "minimum2_2": ((64, 3), "float32"),
    "minimum1_3": ((64, 3, 4), "float32"),
    "minimum1_4": ((64, 3, 4, 1), "float32"),
    "minimum3_2": ((64, 1), "float32"),
    "minimum3_4": ((64, 1, 1, 1), "float32"),
    "other_shape": ((64, 12), "float32"),
}


def kernel(x):
    add2_2 = nl.ndarray((64, 3), dtype=nl.float32, buffer=nl.shared_hbm)
    add1_3 = nl.ndarray((64, 3, 4), dtype=nl.float32, buffer=nl.shared_hbm)
    add1_4 = nl.ndarray((64, 3, 4, 1), dtype=nl.float32, buffer=nl.shared_hbm)
    add3_2 = nl.ndarray((64, 1), dtype=nl.float32, buffer=nl.shared_hbm)
    add3_4 = nl.ndarray((64, 1, 1, 1), dtype=nl.float32, buffer=nl.shared_hbm)
    maximum2_2 = nl.ndarray((64, 3), dtype=nl.float32, buffer=nl.shared_hbm)
    maximum1_3 = nl.ndarray((64, 3, 4), dtype=nl.float32, buffer=nl.shared_hbm)
    maximum1_4 = nl.ndarray((64, 3, 4, 1), dtype=nl.float32, buffer=nl.shared_hbm)
    maximum3_2 = nl.ndarray((64, 1), dtype=nl.float32, buffer=nl.shared_hbm)
    maximum3_4 = nl.ndarray((64, 1, 1, 1), dtype=nl.float32, buffer=nl.shared_hbm)
    minimum2_2 = nl.ndarray((64, 3), dtype=nl.float32, buffer=nl.shared_hbm)
    minimum1_3 = nl.ndarray((64, 3, 4), dtype=nl.float32, buffer=nl.shared_hbm)
    minimum1_4 = nl.ndarray((64, 3, 4, 1), dtype=nl.float32, buffer=nl.shared_hbm)
    minimum3_2 = nl.ndarray((64, 1), dtype=nl.float32, buffer=nl.shared_hbm)
    minimum3_4 = nl.ndarray((64, 1, 1, 1), dtype=nl.float32, buffer=nl.shared_hbm)
    other_shape = nl.ndarray((64, 12), dtype=nl.float32, buffer=nl.shared_hbm)
    t1 = nl.ndarray((64, 3, 4, 5), dtype=nl.float32, buffer=nl.sbuf)
    nisa.dma_copy(dst=t1, src=x)
    t2 = nl.ndarray((64, 3), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_reduce(dst=t2, op=nl.add, data=t1, axis=(2, 3))
    nisa.dma_copy(dst=add2_2, src=t2)
    t3 = nl.ndarray((64, 3, 4), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_reduce(dst=t3, op=nl.add, data=t1, axis=3)
    nisa.dma_copy(dst=add1_3, src=t3)
    t4 = nl.ndarray((64, 3, 4, 1), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_reduce(dst=t4, op=nl.add, data=t1, axis=3, keepdims=True)
    nisa.dma_copy(dst=add1_4, src=t4)
    t5 = nl.ndarray((64, 1), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_reduce(
        dst=t5.reshape((64, 1, 1, 1)), op=nl.add, data=t1, axis=(1, 2, 3), keepdims=True
    )
    nisa.dma_copy(dst=add3_2, src=t5)
    t6 = nl.ndarray((64, 1, 1, 1), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_reduce(dst=t6, op=nl.add, data=t1, axis=(1, 2, 3), keepdims=True)
    nisa.dma_copy(dst=add3_4, src=t6)
    t7 = nl.ndarray((64, 3), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_reduce(dst=t7, op=nl.maximum, data=t1, axis=(2, 3))
    nisa.dma_copy(dst=maximum2_2, src=t7)
    t8 = nl.ndarray((64, 3, 4), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_reduce(dst=t8, op=nl.maximum, data=t1, axis=3)
    nisa.dma_copy(dst=maximum1_3, src=t8)
    t9 = nl.ndarray((64, 3, 4, 1), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_reduce(dst=t9, op=nl.maximum, data=t1, axis=3, keepdims=True)
    nisa.dma_copy(dst=maximum1_4, src=t9)
    t10 = nl.ndarray((64, 1), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_reduce(
        dst=t10.reshape((64, 1, 1, 1)), op=nl.maximum, data=t1, axis=(1, 2, 3), keepdims=True
    )
    nisa.dma_copy(dst=maximum3_2, src=t10)
    t11 = nl.ndarray((64, 1, 1, 1), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_reduce(dst=t11, op=nl.maximum, data=t1, axis=(1, 2, 3), keepdims=True)
    nisa.dma_copy(dst=maximum3_4, src=t11)
    t12 = nl.ndarray((64, 3), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_reduce(dst=t12, op=nl.minimum, data=t1, axis=(2, 3))
    nisa.dma_copy(dst=minimum2_2, src=t12)
    t13 = nl.ndarray((64, 3, 4), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_reduce(dst=t13, op=nl.minimum, data=t1, axis=3)
    nisa.dma_copy(dst=minimum1_3, src=t13)
    t14 = nl.ndarray((64, 3, 4, 1), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_reduce(dst=t14, op=nl.minimum, data=t1, axis=3, keepdims=True)
    nisa.dma_copy(dst=minimum1_4, src=t14)
    t15 = nl.ndarray((64, 1), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_reduce(
        dst=t15.reshape((64, 1, 1, 1)), op=nl.minimum, data=t1, axis=(1, 2, 3), keepdims=True
    )
    nisa.dma_copy(dst=minimum3_2, src=t15)
    t16 = nl.ndarray((64, 1, 1, 1), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_reduce(dst=t16, op=nl.minimum, data=t1, axis=(1, 2, 3), keepdims=True)
    nisa.dma_copy(dst=minimum3_4, src=t16)
    t17 = nl.ndarray((64, 12), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_reduce(dst=t17.reshape((64, 3, 4, 1)), op=nl.add, data=t1, axis=3, keepdims=True)
    nisa.dma_copy(dst=other_shape, src=t17)
    return (
        add2_2,
        add1_3,
        add1_4,
        add3_2,
        add3_4,
        maximum2_2,
        maximum1_3,
        maximum1_4,
        maximum3_2,
        maximum3_4,
        minimum2_2,
        minimum1_3,
        minimum1_4,
        minimum3_2,
        minimum3_4,
        other_shape,
    )


if nki:
    kernel = nki.jit(kernel)


# What callers give and get: shapes, and element types as numpy and torch name them.
ARGUMENTS = {
    "x": ((64, 3, 4, 5), "float32"),
}
RESULTS = {
    "add2_2": ((64, 3), "float32"),
    "add1_3": ((64, 3, 4), "float32"),
    "add1_4": ((64, 3, 4, 1), "float32"),
    "add3_2": ((64, 1), "float32"),
    "add3_4": ((64, 1, 1, 1), "float32"),
    "maximum2_2": ((64, 3), "float32"),
    "maximum1_3": ((64, 3, 4), "float32"),
    "maximum1_4": ((64, 3, 4, 1), "float32"),
    "maximum3_2": ((64, 1), "float32"),
    "maximum3_4": ((64, 1, 1, 1), "float32"),
    "minimum2_2": ((64, 3), "float32"),
    "minimum1_3": ((64, 3, 4), "float32"),
    "minimum1_4": ((64, 3, 4, 1), "float32"),
    "minimum3_2": ((64, 1), "float32"),
    "minimum3_4": ((64, 1, 1, 1), "float32"),
    "other_shape": ((64, 12), "float32"),
}
MISSING = (
    "kernel: the package nki is not installed. It comes with the AWS Neuron SDK: "
    "follow the SDK's setup guide to add the vendor's package index, then run: pip install nki"
)


def run_kernel(x, simulate=False):
    """The kernel on numpy or torch arrays: one result, or a tuple in the order of RESULTS.

    With simulate it runs on the vendor's CPU simulator, else on the device.
    """
    if nki is None:
        raise ModuleNotFoundError(MISSING)
    given = {
        "x": x,
    }
    arrays = {name: prepared(name, array) for name, array in given.items()}
    execute = nki.simulate(kernel) if simulate else kernel
    made = execute(*[arrays[name] for name in INPUTS])
    results = tuple(map(finished, RESULTS, made if isinstance(made, tuple) else (made,)))
    return results[0] if len(results) == 1 else results


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

    Exit codes: 0 all went well, 1 a result disagrees with numpy, 2 the package nki is missing.
    """
    if nki is None:
        print(MISSING, file=sys.stderr)
        return 2
    rng = np.random.default_rng(0)
    given = {name: random_array(rng, *spec) for name, spec in ARGUMENTS.items()}
    simulate = "--hardware" not in options
    where = "in the simulator" if simulate else "on the device"
    run_kernel(**given, simulate=simulate)
    print(f"kernel: ran {where}")
    print("not compared with numpy: no numpy function is known")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

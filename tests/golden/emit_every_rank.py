"""NKI kernel kernel.

Inputs, in HBM:
    scalar: () float32
    vector: (24,) float32
    cube: (2, 3, 4, 10) float32
    grid: (2, 3) float32

Outputs, in HBM:
    scalar_again: () float32
    vector_again: (24,) float32
    last: (1, 4, 5, 4) float32
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

# What the kernel takes and returns, in HBM: shapes and element types.
INPUTS = {
    "scalar": ((), "float32"),
    "vector": ((24,), "float32"),
    "cube": ((2, 3, 4, 10), "float32"),
    "grid": ((2, 3), "float32"),
}
OUTPUTS = {
    "scalar_again": ((), "float32"),
    "vector_again": ((24,), "float32"),
    "last": ((1, 4, 5, 4), "float32"),
}


@nki.jit
def kernel(scalar, vector, cube, grid):
    scalar_again = nl.ndarray((), dtype=nl.float32, buffer=nl.shared_hbm)
    vector_again = nl.ndarray((24,), dtype=nl.float32, buffer=nl.shared_hbm)
    last = nl.ndarray((1, 4, 5, 4), dtype=nl.float32, buffer=nl.shared_hbm)
    scalar_tile = nl.ndarray((1, 1), dtype=nl.float32, buffer=nl.sbuf)
    nisa.dma_copy(dst=scalar_tile, src=scalar.reshape((1, 1)))
    vector_tile = nl.ndarray((24, 1), dtype=nl.float32, buffer=nl.sbuf)
    nisa.dma_copy(dst=vector_tile, src=vector.reshape((24, 1)))
    cube_tile = nl.ndarray((4, 4, 5), dtype=nl.float32, buffer=nl.sbuf)
    nisa.dma_copy(dst=cube_tile, src=cube.reshape((6, 4, 10)).permute((1, 0, 2))[0:4, 1:5, 2:7])
    scalar_tile_1 = nl.ndarray((4, 1), dtype=nl.float32, buffer=nl.sbuf)
    nisa.dma_copy(dst=scalar_tile_1, src=scalar.reshape((1, 1)).broadcast(0, 4))
    last_tile = nl.ndarray((4, 4, 5), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_scalar(
        dst=last_tile,
        data=cube_tile,
        op0=nl.subtract,
        operand0=scalar_tile_1,
        reverse0=True,
        engine=nisa.engine.vector,
    )
    nisa.dma_copy(dst=scalar_again.reshape((1, 1)), src=scalar_tile)
    nisa.dma_copy(dst=vector_again.reshape((24, 1)), src=vector_tile)
    nisa.dma_copy(dst=scalar_tile, src=grid[1, 1].reshape((1, 1)))
    nisa.dma_copy(dst=last.reshape((4, 5, 4)).permute((2, 0, 1)), src=last_tile)
    return scalar_again, vector_again, last


# What callers give and get: shapes, and element types as numpy and torch name them.
ARGUMENTS = {
    "scalar": ((), "float32"),
    "vector": ((24,), "float32"),
    "cube": ((2, 3, 4, 10), "float32"),
    "grid": ((2, 3), "float32"),
}
RESULTS = {
    "scalar_again": ((), "float32"),
    "vector_again": ((24,), "float32"),
    "last": ((1, 4, 5, 4), "float32"),
}


def run_kernel(scalar, vector, cube, grid, simulate=False):
    """The kernel on numpy or torch arrays: one result, or a tuple in the order of RESULTS.

    With simulate it runs on the vendor's CPU simulator, else on the device.
    """
    if nl is None:
        raise ModuleNotFoundError(missing())
    given = {
        "scalar": scalar,
        "vector": vector,
        "cube": cube,
        "grid": grid,
    }
    arrays = {name: prepared(name, array) for name, array in given.items()}
    execute = kernel
    if simulate:
        execute = nki.simulate(execute)
    made = execute(*[arrays[name] for name in INPUTS])
    results = tuple(map(finished, RESULTS, made if isinstance(made, tuple) else (made,)))
    return results[0] if len(results) == 1 else results


def missing():
    """What to do where the vendor package is not there."""
    return (
        f"kernel: {nki.error}. "
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
    run_kernel(**given, simulate=simulate)
    print(f"kernel: ran {where}")
    print("not compared with numpy: no numpy function is known")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

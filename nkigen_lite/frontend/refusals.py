"""What to use instead of numpy functions that have no tensor_ir meaning, by full name."""

from __future__ import annotations

_ORDER = "there is no sorting op; only np.max and np.min pick by size"
_ONE_HOT = "for an argmax mask compare with the maximum: x == np.max(x, axis, keepdims=True)"
_SHAPES = "its shape depends on the data; keep the shape and select with np.where"
_DENSE = "there is no dense solver; factor the matrix outside and pass the factors in"
_FFT = "multiply by a concrete matrix of the transform with @"
_RANDOM_LIKE = "compute it outside and pass it in as an array"

REFUSED: dict[str, str] = {
    **{f"numpy.{n}": _ORDER for n in ("sort", "argsort", "partition", "argpartition", "lexsort")},
    **{f"numpy.{n}": _ORDER for n in ("median", "percentile", "quantile", "nanmedian")},
    **{f"numpy.{n}": _ONE_HOT for n in ("argmax", "nanargmax")},
    **{f"numpy.{n}": _ONE_HOT.replace("max", "min") for n in ("argmin", "nanargmin")},
    **{f"numpy.{n}": _SHAPES for n in ("nonzero", "flatnonzero", "argwhere", "unique", "extract")},
    **{f"numpy.{n}": _SHAPES for n in ("compress", "delete", "trim_zeros", "union1d", "setdiff1d")},
    **{f"numpy.linalg.{n}": _DENSE for n in ("inv", "solve", "det", "eig", "eigh", "svd", "qr")},
    **{f"numpy.linalg.{n}": _DENSE for n in ("cholesky", "lstsq", "pinv", "matrix_rank")},
    **{f"numpy.fft.{n}": _FFT for n in ("fft", "ifft", "rfft", "irfft", "fft2", "fftn")},
    "numpy.average": "use np.mean, or sum x * weights and divide by the sum of the weights",
    "numpy.cumprod": "use np.exp(np.cumsum(np.log(x))) where x is positive",
    "numpy.nan_to_num": "use np.where(np.isnan(x), 0, x)",
    "numpy.searchsorted": "sum comparisons instead: (edges < x[..., None]).sum(-1)",
    "numpy.digitize": "sum comparisons instead: (edges <= x[..., None]).sum(-1)",
    "numpy.diff": "use x[1:] - x[:-1]",
    "numpy.append": "use np.concatenate",
    "numpy.insert": "use np.concatenate of slices",
    "numpy.put": "traced arrays never change; use np.where or np.concatenate of slices",
    "numpy.copyto": "traced arrays never change; use np.where",
    "numpy.put_along_axis": "traced arrays never change; use np.where",
    "numpy.take_along_axis": "multiply by a one-hot matrix: (idx[..., None] == np.arange(n))",
    "numpy.choose": "use np.where",
    "numpy.select": "use nested np.where",
    "numpy.piecewise": "use nested np.where",
    "numpy.isclose": "compare absolute differences: np.abs(a - b) <= tolerance",
    "numpy.allclose": "compare absolute differences: np.abs(a - b) <= tolerance",
    "numpy.array_equal": "use (a == b) and np.all",
    "numpy.convolve": "sum shifted slices times weights, or use a matrix product",
    "numpy.correlate": "sum shifted slices times weights, or use a matrix product",
    "numpy.interp": _RANDOM_LIKE,
    "numpy.histogram": _RANDOM_LIKE,
    "numpy.bincount": _RANDOM_LIKE,
    "numpy.diagonal": "sum over a masked axis: np.sum(x * np.eye(n), axis=-1)",
    "numpy.diag": "multiply with np.eye(n): x[:, None] * np.eye(n), or np.sum(x * np.eye(n), -1)",
    "numpy.trace": "use np.sum(x * np.eye(n))",
    "numpy.arcsin": "use np.arctan(x / np.sqrt(1 - x * x))",
    "numpy.arccos": "use np.pi / 2 - np.arctan(x / np.sqrt(1 - x * x))",
    "numpy.arctan2": "use np.arctan(y / x) and place the quadrant with np.where",
    "numpy.arctanh": "use 0.5 * np.log((1 + x) / (1 - x))",
    "numpy.arcsinh": "use np.log(x + np.sqrt(x * x + 1))",
    "numpy.cbrt": "use np.sign(x) * np.abs(x) ** (1 / 3)",
    "numpy.hypot": "use np.sqrt(x * x + y * y)",
    "numpy.logaddexp": "use m + np.log(np.exp(a - m) + np.exp(b - m)) with m = np.maximum(a, b)",
    "numpy.left_shift": "multiply by 2 ** n",
    "numpy.right_shift": "use x // 2 ** n",
    "numpy.copysign": "use np.where(y < 0, -np.abs(x), np.abs(x))",
    "numpy.fmax": "use np.maximum",
    "numpy.fmin": "use np.minimum",
    "numpy.heaviside": "use np.where",
    "numpy.conjugate": "traced arrays are real; leave it out",
    "numpy.real": "traced arrays are real; leave it out",
    "numpy.imag": "traced arrays are real; use np.zeros_like",
    "numpy.array_repr": "a traced array has no values to print",
    "numpy.array_str": "a traced array has no values to print",
    "numpy.save": "a traced array has no values to save",
}

"""Tracing numpy functions into tensor_ir graphs."""

from nkigen_lite.frontend import (  # noqa: F401  (each fills the table of numpy functions)
    composites,
    einsum,
    elementwise,
    joins,
    products,
    reductions,
    shapes,
)
from nkigen_lite.frontend.array import TracedArray
from nkigen_lite.frontend.kernels import Kernel, kernel
from nkigen_lite.frontend.load import load_function
from nkigen_lite.frontend.specs import parse_spec
from nkigen_lite.frontend.table import traced_functions
from nkigen_lite.frontend.tracing import Traced, trace

__all__ = [
    "Kernel",
    "Traced",
    "TracedArray",
    "kernel",
    "load_function",
    "parse_spec",
    "trace",
    "traced_functions",
]

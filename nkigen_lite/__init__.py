"""nkigen-lite: numpy-style tensor programs to NKI kernels for AWS Trainium NeuronCores."""

from nkigen_lite.api import Compiled, compile, constrain, load_constraints, write_outputs
from nkigen_lite.errors import NkigenError
from nkigen_lite.frontend import Kernel, kernel, load_function, parse_spec, trace
from nkigen_lite.report.sweep import Sweep
from nkigen_lite.sweeping import sweep

__all__ = [
    "Compiled",
    "Kernel",
    "NkigenError",
    "Sweep",
    "compile",
    "constrain",
    "kernel",
    "load_constraints",
    "load_function",
    "parse_spec",
    "sweep",
    "trace",
    "write_outputs",
]
__version__ = "0.1.0"

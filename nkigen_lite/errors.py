"""The exceptions that nkigen-lite raises on purpose.

    NkigenError
    ├── InvalidOp      a graph or a call breaks an op's rule (also a ValueError)
    │   └── InvalidMatmul   the same for matmul (also a TypeError, as numpy-style clients expect)
    ├── InvalidInput   a spec, file, array or name given by the user is wrong (also a ValueError)
    ├── TraceError     a numpy function or Python construct cannot be traced (also a TypeError)
    ├── NotSupported   legal, but no lowering or target has it (also a NotImplementedError)
    ├── VendorMissing  a package of the vendor's is missing or does not fit (also an ImportError)
    ├── NoPlan         the solver found no legal plan; carries its report
    ├── InvalidStage   a compiler stage left what it promised to remove: our mistake
    └── MemoryFault    a checked run of a kernel used bytes that are not, or no longer, its own

Messages read ``<who>: <what> is <got> but <rule>``, with the user's source line where one is known.
"""

from __future__ import annotations

from typing import Any


class NkigenError(Exception):
    """Base of every exception in the tree above."""


class InvalidOp(NkigenError, ValueError):
    """An op's operands or attributes break the rule of its row."""


class InvalidMatmul(InvalidOp, TypeError):
    """A matmul whose operands do not fit; also a ``TypeError``."""


class InvalidInput(NkigenError, ValueError):
    """Something handed in from outside (a spec, a file, an array) is wrong."""


class TraceError(NkigenError, TypeError):
    """The traced Python function does something that has no tensor_ir meaning."""


class NotSupported(NkigenError, NotImplementedError):
    """A legal program that this target or lowering cannot express."""


class VendorMissing(NkigenError, ImportError):
    """A package of the vendor's is not installed, or not of a version that fits."""


class NoPlan(NkigenError, RuntimeError):
    """The layout solver has no legal plan.

    Attributes:
        report: the solver's report (or None when no problem could be built).
    """

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class InvalidStage(NkigenError, RuntimeError):
    """A stage produced IR that breaks its own promise."""


class MemoryFault(NkigenError, RuntimeError):
    """A kernel reads bytes that it has not written, or that have been overwritten, in a checked
    run."""

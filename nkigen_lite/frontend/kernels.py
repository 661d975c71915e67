"""``@kernel``: a numpy function that can also be traced."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, overload

from nkigen_lite.frontend import arguments
from nkigen_lite.frontend.tracing import Traced, trace_bound


class Kernel:
    """A function over numpy arrays; calling it runs plain numpy.

    It has the function's name (or the one given, which its graphs take), docstring and signature.
    """

    def __init__(self, function: Callable[..., Any], *, name: str | None = None) -> None:
        self.function = function
        functools.update_wrapper(self, function)
        self.__name__ = name or arguments.name_of(function)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def trace(self, /, *specs: Any, **named: Any) -> Traced:
        """The tensor_ir graph for arguments of these specs; see :func:`~.tracing.trace`."""
        signature = arguments.signature_of(self.function)
        bound = arguments.bind(self.__name__, signature, specs, named)
        return trace_bound(self.function, bound, self.__name__)

    def __repr__(self) -> str:
        return f"<Kernel {self.__name__}{arguments.signature_of(self.function)}>"


@overload
def kernel(function: Callable[..., Any]) -> Kernel: ...
@overload
def kernel(*, name: str | None = ...) -> Callable[[Callable[..., Any]], Kernel]: ...
def kernel(
    function: Callable[..., Any] | None = None, *, name: str | None = None
) -> Kernel | Callable[[Callable[..., Any]], Kernel]:
    """Decorates a function over numpy arrays: ``@kernel`` or ``@kernel(name="mlp")``."""
    if function is None:
        return functools.partial(Kernel, name=name)
    return Kernel(function, name=name)

"""The array that stands for a tensor_ir value while a numpy function runs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.errors import TraceError
from nkigen_lite.frontend import indexing
from nkigen_lite.frontend.refusals import REFUSED
from nkigen_lite.frontend.table import invoke, invoke_ufunc

if TYPE_CHECKING:
    from nkigen_lite.frontend.recorder import Recorder


class MissingMethod(TraceError, AttributeError):
    """A method or attribute of numpy's arrays that traced arrays do not have."""


class TracedArray(NDArrayOperatorsMixin):
    """Shape and type of an array whose values do not exist yet.

    Operators, methods and numpy functions on it record tensor_ir ops. It never changes: ``x += y``
    binds ``x`` to a new array.

    Attributes:
        recorder: the trace that it belongs to.
        value: the tensor_ir value.
    """

    __slots__ = ("recorder", "value")
    __hash__ = None  # type: ignore[assignment]  # like numpy's arrays: == is elementwise

    def __init__(self, recorder: Recorder, value: Value) -> None:
        self.recorder = recorder
        self.value = value

    # --- what is known ---------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.value.type.shape
        return shape

    @property
    def element(self) -> DType:
        """The element type."""
        element: DType = self.value.type.dtype
        return element

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype that stores the element type; tf32 shows as float32."""
        return self.element.np

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(self.value.type.num_elements)

    @property
    def itemsize(self) -> int:
        return self.element.itemsize

    @property
    def nbytes(self) -> int:
        return int(self.value.type.size_bytes)

    def __len__(self) -> int:
        if not self.shape:
            raise self.recorder.error("len() of a 0-d array")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"TracedArray(shape={self.shape}, dtype={self.element})"

    # --- numpy's protocols -----------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return invoke_ufunc(self.recorder, ufunc, method, inputs, kwargs)

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        return invoke(self.recorder, func, *args, **kwargs)

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        raise self.recorder.error(
            "a traced array has no values while tracing, so it cannot become a numpy array; join "
            "traced arrays with np.stack or np.concatenate, and call numpy functions, not methods "
            "of concrete arrays, on them"
        )

    # --- what needs values -----------------------------------------------------------------------

    def _no_value(self, what: str, instead: str) -> TraceError:
        return self.recorder.error(
            f"{what} of a traced array is not known while tracing; {instead}"
        )

    def __bool__(self) -> bool:
        raise self._no_value(
            "the truth value",
            "select with np.where, combine conditions with & | ~ or np.logical_and, use np.maximum "
            "for max, or pass what decides as a static Python value",
        )

    def __int__(self) -> int:
        raise self._no_value("the integer value", "use astype(np.int32)")

    def __float__(self) -> float:
        raise self._no_value(
            "the float value", "use astype(np.float32), and numpy's functions, not math's"
        )

    def __complex__(self) -> complex:
        raise self._no_value("the complex value", "traced arrays are real")

    def __index__(self) -> int:
        raise self._no_value(
            "the value", "indices, counts and loop bounds must be static Python values"
        )

    def __contains__(self, item: Any) -> bool:
        raise self._no_value("membership", "use np.any(x == item)")

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise self.recorder.error(
            "x[...] = y: traced arrays never change; select with np.where, or join slices with "
            "np.concatenate"
        )

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and hasattr(np.ndarray, name):
            hint = REFUSED.get(f"numpy.{name}", "it has no tensor_ir meaning")
            error = self.recorder.error(f"traced arrays have no {name}; {hint}")
            raise MissingMethod(str(error))
        raise AttributeError(f"'TracedArray' object has no attribute {name!r}")

    # --- elements --------------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> TracedArray:
        with self.recorder.inside("x[...]"):
            return indexing.getitem(self, key)

    def __iter__(self) -> Iterator[TracedArray]:
        if not self.shape:
            raise self.recorder.error("iteration over a 0-d array")
        return (self[i] for i in range(self.shape[0]))

    # --- methods: numpy's function of the same name ----------------------------------------------

    def _call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return invoke(self.recorder, function, self, *args, **kwargs)

    @property
    def T(self) -> Any:
        """All dimensions reversed."""
        return self._call(np.transpose)

    @property
    def mT(self) -> Any:
        """The last two dimensions swapped."""
        return self._call(np.matrix_transpose)

    def astype(self, dtype: Any, *, copy: bool = True) -> Any:
        """The values as another type; ``copy`` makes no difference here."""
        with self.recorder.inside("astype"):
            return self.recorder.cast(self, self.recorder.element_type(dtype))

    def copy(self) -> Any:
        return self._call(np.copy)

    def reshape(self, *shape: Any, order: str = "C") -> Any:
        return self._call(np.reshape, _one_or_many(shape), order=order)

    def transpose(self, *axes: Any) -> Any:
        return self._call(np.transpose, _one_or_many(axes) if axes else None)

    def swapaxes(self, axis1: int, axis2: int) -> Any:
        return self._call(np.swapaxes, axis1, axis2)

    def squeeze(self, axis: Any = None) -> Any:
        return self._call(np.squeeze, axis)

    def ravel(self, order: str = "C") -> Any:
        return self._call(np.ravel, order=order)

    def flatten(self, order: str = "C") -> Any:
        return self._call(np.ravel, order=order)

    def repeat(self, repeats: Any, axis: int | None = None) -> Any:
        return self._call(np.repeat, repeats, axis)

    def take(self, indices: Any, axis: int | None = None) -> Any:
        return self._call(np.take, indices, axis)

    def sum(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(np.sum, *args, **kwargs)

    def prod(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(np.prod, *args, **kwargs)

    def max(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(np.max, *args, **kwargs)

    def min(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(np.min, *args, **kwargs)

    def mean(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(np.mean, *args, **kwargs)

    def var(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(np.var, *args, **kwargs)

    def std(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(np.std, *args, **kwargs)

    def any(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(np.any, *args, **kwargs)

    def all(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(np.all, *args, **kwargs)

    def cumsum(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(np.cumsum, *args, **kwargs)

    def argmax(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(np.argmax, *args, **kwargs)

    def argmin(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(np.argmin, *args, **kwargs)

    def sort(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(np.sort, *args, **kwargs)

    def argsort(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(np.argsort, *args, **kwargs)

    def clip(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(np.clip, *args, **kwargs)

    def round(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(np.round, *args, **kwargs)

    def dot(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(np.dot, *args, **kwargs)


def _one_or_many(given: tuple[Any, ...]) -> Any:
    """``f(2, 3)``, ``f((2, 3))`` and ``f(None)`` as one argument."""
    return given[0] if len(given) == 1 and not isinstance(given[0], int) else given


def _in_place(name: str) -> Callable[[TracedArray, Any], TracedArray]:
    plain = getattr(operator, name)

    def apply(self: TracedArray, other: Any) -> TracedArray:
        with self.recorder.inside(f"in-place {name}"):
            made: TracedArray = plain(self, other)
            if made.shape != self.shape:
                raise self.recorder.error(
                    f"the result has shape {made.shape} but the array on the left {self.shape}"
                )
            if not np.can_cast(made.dtype, self.dtype, "same_kind"):
                raise self.recorder.error(
                    f"the result is {made.element} but the array on the left {self.element}; "
                    "write x = x + y instead of x += y"
                )
            return self.recorder.cast(made, self.element)

    return apply


# numpy's in-place operators keep the type of the left operand; these do too, but bind a new array.
for _name in (
    "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "and_", "or_", "xor",
):  # fmt: skip
    setattr(TracedArray, f"__i{_name.rstrip('_')}__", _in_place(_name))

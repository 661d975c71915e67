"""Records numpy calls as tensor_ir ops: owns the graph under construction and its constants."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from nkigen_lite.core.builder import at
from nkigen_lite.core.dtypes import Array, DType, epsilon, round_to
from nkigen_lite.core.ir import Value
from nkigen_lite.core.location import caller_location
from nkigen_lite.errors import InvalidInput, TraceError
from nkigen_lite.frontend.array import TracedArray
from nkigen_lite.frontend.bound_names import variable_of
from nkigen_lite.frontend.promotion import (
    Kind,
    check_range,
    element_type,
    narrow_type,
    result_type,
    weak_kind,
)
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.types import TensorType

_IN_I32 = {DType.BOOL: DType.I32}
# The types of which nothing is infinite: what is too large would silently become NaN.
# Source: OCP 8-bit Floating Point Specification, E4M3: the largest number is S.1111.110.
_LARGEST_OF_FINITE = {DType.FP8_E4M3: 448.0}
_UINT_OF_BYTES = {1: np.uint8, 2: np.uint16, 4: np.uint32}


class Recorder:
    """One trace.

    Attributes:
        builder: holds the graph.
        constants: the arrays bound to graph inputs that the user did not name, by input name.
    """

    def __init__(self, name: str) -> None:
        self.builder = Builder(name)
        self.constants: dict[str, Array] = {}
        self._bound: dict[tuple[DType, tuple[int, ...], bytes], Value] = {}
        self._active: str | None = None

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """While this is open, errors begin with ``name``, the numpy function that the user called.

        The outermost name stays: rows call other rows.
        """
        outer, self._active = self._active, self._active or name
        try:
            yield
        finally:
            self._active = outer

    def error(self, text: str) -> TraceError:
        """``text`` as an exception with the numpy function before and the user's line behind it."""
        return TraceError(f"{self._active or 'trace'}: {text}{at(caller_location())}")

    # --- making arrays ---------------------------------------------------------------------------

    def input(self, name: str, type: TensorType) -> TracedArray:
        return TracedArray(self, self.builder.add_input(name, type.shape, type.dtype))

    def op(self, opcode: str, *operands: TracedArray, **attrs: Any) -> TracedArray:
        """The result of one op."""
        values = [operand.value for operand in operands]
        return TracedArray(self, self.builder.call(opcode, *values, **attrs))

    def constant(self, value: Any, shape: Sequence[int], dtype: DType) -> TracedArray:
        """One number in every element.

        Raises:
            TraceError: an integer type does not hold it, or it is beyond a float type that has no
                infinity.
        """
        limits = _limits(dtype)
        if limits is not None and (value < limits[0] or value > limits[1]):
            raise self.error(
                f"{value} is out of bounds for {dtype} ({limits[0]} to {limits[1]}); cast the "
                "array to a wider type first"
            )
        return self.op("constant", value=value, shape=tuple(shape), dtype=dtype)

    def cast(self, x: TracedArray, dtype: DType) -> TracedArray:
        return x if x.element is dtype else self.op("cast", x, dtype=dtype)

    def lift(self, operand: Any, dtype: DType | None = None) -> TracedArray:
        """``operand`` as a traced array, of type ``dtype`` or else its own.

        Scalars and uniform arrays become constants, index ramps iotas, other concrete arrays graph
        inputs bound to their contents.
        """
        if isinstance(operand, TracedArray):
            if operand.recorder is not self:
                raise self.error(f"{operand!r} comes from another trace")
            return operand if dtype is None else self.cast(operand, dtype)
        array = self._concrete(operand)
        kind = self.kind(operand)
        target = dtype or result_type([kind])
        if isinstance(kind, DType):
            return self._lift_array(array, target)
        return self.constant(array.item(), (), target)

    def kind(self, operand: Any) -> Kind:
        """How ``operand`` counts in type promotion."""
        if isinstance(operand, TracedArray):
            return operand.element
        kind = weak_kind(operand)
        if kind is not None:
            return kind
        try:
            return narrow_type(self._concrete(operand).dtype)
        except InvalidInput as error:
            raise self.error(str(error)) from None

    def common(self, *operands: Any, **like: DType) -> list[TracedArray]:
        """The operands in the type in which they meet; ``like`` as in :meth:`met_type`."""
        met = self.met_type(*operands, **like)
        return [self.lift(operand, met) for operand in operands]

    def met_type(
        self, *operands: Any, bools: DType | None = None, integers: DType | None = None
    ) -> DType:
        """The type in which ``operands`` meet, but ``bools`` for bool and ``integers`` for ints."""
        met = result_type([self.kind(operand) for operand in operands])
        if met is DType.BOOL:
            return bools or met
        return integers or met if met.is_integer else met

    def element_type(self, dtype: Any) -> DType:
        """The element type of a ``dtype=`` argument."""
        try:
            return element_type(dtype)
        except InvalidInput as error:
            raise self.error(str(error)) from None

    def _concrete(self, operand: Any) -> Array:
        if operand is None or isinstance(operand, (str, bytes)):
            advice = "; test it with `is`" if operand is None else ""
            raise self.error(f"operand {operand!r} must be an array or a number{advice}")
        array = np.asarray(operand)
        if array.dtype == object:
            raise self.error(
                f"operand of {type(operand).__name__} is an object array but must hold numbers"
            )
        return array

    def _lift_array(self, array: Array, dtype: DType) -> TracedArray:
        try:
            check_range(array)
        except InvalidInput as error:
            raise self.error(str(error)) from None
        with np.errstate(over="ignore"):
            rounded = round_to(array, dtype)
        shape = rounded.shape
        if rounded.size == 0:
            raise self.error(f"operand of shape {shape} has no elements, which is not supported")
        if _is_uniform(rounded):
            return self.constant(rounded.flat[0].item(), shape, dtype)
        ramp = _ramp_dim(rounded)
        if ramp is not None:
            return self.op("iota", shape=shape, dim=ramp, dtype=dtype)
        return TracedArray(self, self._bind(rounded, dtype, variable_of(array, rounded, dtype)))

    def _bind(self, array: Array, dtype: DType, wanted: str | None) -> Value:
        """The graph input that holds ``array``, called as it wants; equal arrays share one."""
        contents = np.ascontiguousarray(array).reshape(array.shape)
        key = dtype, contents.shape, hashlib.sha256(contents.tobytes()).digest()
        if key not in self._bound:
            taken = {value.name for value in self.builder.graph.inputs}
            number = len(self.constants)
            name = wanted or f"const_{number}"
            while name in taken:
                name = f"{wanted or 'const'}_{number}"
                number += 1
            self._bound[key] = self.builder.add_input(name, contents.shape, dtype)
            self.constants[name] = contents.copy()
            self.constants[name].flags.writeable = False
        return self._bound[key]

    # --- types that rows ask for -----------------------------------------------------------------

    def floating(self, x: Any) -> TracedArray:
        """``x`` itself if it is of a float type, else as f32."""
        lifted = self.lift(x)
        return lifted if lifted.element.is_float else self.cast(lifted, DType.F32)

    def number(self, x: Any) -> TracedArray:
        """``x`` itself, but bools as i32."""
        lifted = self.lift(x)
        return self.cast(lifted, _IN_I32.get(lifted.element, lifted.element))

    def boolean(self, x: Any) -> TracedArray:
        """Whether ``x`` is not zero."""
        lifted = self.lift(x)
        if lifted.element is DType.BOOL:
            return lifted
        zero = self.constant(0, (), lifted.element)
        return self.op("not_equal", lifted, zero, dtype=DType.BOOL)


def is_narrow(dtype: DType) -> bool:
    """Whether ``dtype`` is a float type with less precision than f32."""
    return epsilon(dtype) > epsilon(DType.F32)


def _limits(dtype: DType) -> tuple[float, float] | None:
    """The least and the greatest value of a type; None if there is a meaning beyond them."""
    if dtype.is_integer:
        whole = np.iinfo(dtype.np)
        return int(whole.min), int(whole.max)
    largest = _LARGEST_OF_FINITE.get(dtype)
    return None if largest is None else (-largest, largest)


def _is_uniform(array: Array) -> bool:
    # By bits, so that -0.0 differs from 0.0 and equal NaNs are equal.
    bits = np.ascontiguousarray(array).reshape(-1).view(_UINT_OF_BYTES[array.dtype.itemsize])
    return bool((bits == bits[0]).all())


def _ramp_dim(array: Array) -> int | None:
    """The dimension along which ``array`` counts 0, 1, 2, …, or None."""
    if array.dtype == np.bool_ or array.flat[0] != 0:
        return None
    for dim, extent in enumerate(array.shape):
        if extent == 1 or array[tuple(int(i == dim) for i in range(array.ndim))] != 1:
            continue
        ramp = np.arange(extent).astype(array.dtype)
        ramp = ramp.reshape([-1 if i == dim else 1 for i in range(array.ndim)])
        # By bytes, so that -0.0 does not pass for 0.0.
        if np.broadcast_to(ramp, array.shape).tobytes() == array.tobytes():
            return dim
    return None

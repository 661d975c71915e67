"""Building nki_ir graphs: buffers, views, engine ops with the destination first, loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from nkigen_lite.core.builder import BaseBuilder
from nkigen_lite.core.dtypes import DType, parse_dtype
from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.nki_ir.rows import NKI, TileOpDef
from nkigen_lite.nki_ir.types import (
    INDEX,
    REGISTER,
    Affine,
    DimSlice,
    MemorySpace,
    Slices,
    TileType,
    Window,
    affine,
)


class Builder(BaseBuilder):
    """Appends nki_ir ops to a new graph; ``builder.graph`` holds it.

    Every engine op is a method: operands destination first, then attributes. It returns the
    destination, which holds the result. Inside ``fori_loop`` bodies the same builder appends to
    the body.

    Raises:
        InvalidOp: an operand breaks the op's rule (memory space, shape, hardware limit).
    """

    def __init__(self, name: str = "main") -> None:
        graph = Graph(name, NKI)
        graph.counter.prefix = NKI.prefix
        super().__init__(graph)
        self.pieces = 1

    if TYPE_CHECKING:

        def __getattr__(self, opcode: str) -> Callable[..., Value]: ...

    def add_input(self, name: str, shape: Sequence[int], dtype: DType | str = DType.F32) -> Value:
        """An HBM buffer that the caller hands in."""
        kind = TileType(tuple(shape), parse_dtype(dtype), MemorySpace.HBM)
        return self.graph.add_input(name, kind)

    def set_outputs(self, outputs: Mapping[str, Value]) -> None:
        self.graph.set_outputs(outputs)

    def alloc(
        self,
        shape: Sequence[int],
        dtype: DType,
        memory: MemorySpace = MemorySpace.SBUF,
        num_buffers: int = 1,
        *,
        name: str | None = None,
    ) -> Value:
        """A new buffer; ``name`` is how it prints."""
        made = self.emit(
            "alloc",
            [],
            shape=tuple(shape),
            dtype=dtype,
            memory=MemorySpace(memory).value,
            num_buffers=num_buffers,
        ).result
        if name:
            made.name = name
        return made

    def dealloc(self, value: Value) -> None:
        """End the buffer's life."""
        self.emit("dealloc", [value])

    def slice(self, base: Value, slices: Sequence[DimSlice]) -> Value:
        """A window of ``base``, one ``DimSlice`` per dimension; the whole of it is ``base``."""
        if all(_is_whole(s, n) for s, n in zip(slices, base.type.shape, strict=True)):
            return base
        operands: list[Value] = [base]
        windows = [_window(s, operands) for s in slices]
        return self.emit("slice", operands, slices=Slices(tuple(windows))).result

    def reshape(self, base: Value, shape: Sequence[int]) -> Value:
        """The whole buffer under another shape."""
        if tuple(shape) == base.type.shape:
            return base
        return self.emit("reshape", [base], shape=tuple(shape)).result

    def permute(self, base: Value, perm: Sequence[int]) -> Value:
        """Dimensions in another order."""
        if tuple(perm) == tuple(range(base.type.rank)):
            return base
        return self.emit("permute", [base], perm=tuple(perm)).result

    def broadcast(
        self, base: Value, shape: Sequence[int], dims: Sequence[int] | None = None
    ) -> Value:
        """``base`` repeated to ``shape``; ``dims`` says where its dimensions go."""
        if tuple(shape) == base.type.shape:
            return base
        where = tuple(dims) if dims is not None else None
        return self.emit("broadcast", [base], shape=tuple(shape), dims=where).result

    def rotate(self, buffer: Value) -> None:
        """From here on ``buffer`` is its next copy."""
        self.emit("rotate", [buffer])

    def previous(self, buffer: Value, by: int = 1) -> Value:
        """The copy of ``buffer`` that was in use ``by`` rotations ago; for 0, the present one."""
        return self.emit("previous", [buffer], by=by).result if by else buffer

    def fori_loop(
        self, name: str, extent: int, step: int, body_fn: Callable[[Builder, Value], Any]
    ) -> Op:
        """Run ``body_fn(builder, index)`` once, recording what it builds as the loop's body."""
        body = self._region(name, body_fn, INDEX)
        return self.emit("fori_loop", [], extent=extent, step=step, body=body)

    @contextmanager
    def in_pieces(self, pieces: int) -> Iterator[None]:
        """Meanwhile ``repeat`` divides its loops, but those inside of others, in that many."""
        before, self.pieces = self.pieces, pieces
        try:
            yield
        finally:
            self.pieces = before

    def repeat(self, name: str, trips: int, body: Callable[[Affine], Any]) -> None:
        """Run ``body(index)`` for every index below ``trips``: in a loop, or in several that follow
        each other."""
        pieces = min(self.pieces, trips)
        bounds = [trips * piece // pieces for piece in range(pieces + 1)]
        with self.in_pieces(1):
            for start, end in pairwise(bounds):
                self._run(name, start, end, body)

    def _run(self, name: str, start: int, end: int, body: Callable[[Affine], Any]) -> None:
        if end - start == 1:
            body(Affine(start))
            return
        self.fori_loop(name, end - start, 1, lambda _, i: body(Affine(start, ((i, 1),))))

    def register_alloc(self, value: int | None = None, *, name: str | None = None) -> Value:
        """A new register; ``name`` is how it prints."""
        made = self.emit("register_alloc", [], value=value).result
        made.name = name or made.name
        return made

    def rank_id(self) -> Value:
        """A register with the number of the rank that runs the kernel."""
        return self.emit("rank_id", []).result

    def dynamic_loop(
        self,
        name: str,
        bound: Value,
        body_fn: Callable[[Builder, Value], Any],
        *,
        step: int = 1,
        expected_trips: int = 1,
    ) -> Op:
        """As ``fori_loop``, up to what a register holds; the index is a register, too."""
        body = self._region(name, body_fn, REGISTER)
        attrs = {"step": step, "expected_trips": expected_trips}
        return self.emit("dynamic_loop", [bound], **attrs, body=body)

    def while_loop(
        self,
        name: str,
        condition: Value,
        body_fn: Callable[[Builder], Any],
        *,
        expected_trips: int = 1,
        **attrs: Any,
    ) -> Op:
        """Run what ``body_fn(builder)`` builds as long as the register does not hold zero."""
        body = self._region(name, body_fn)
        return self.emit(
            "while_loop", [condition], expected_trips=expected_trips, **attrs, body=body
        )

    def if_else(
        self,
        condition: Value,
        then: Callable[[Builder], Any],
        otherwise: Callable[[Builder], Any] = lambda b: None,
        *,
        likely: str = "then",
    ) -> Op:
        """Run what ``then(builder)`` builds if the condition holds, else ``otherwise``'s."""
        regions = {
            "then": self._region("then", then),
            "otherwise": self._region("otherwise", otherwise),
        }
        return self.emit("if_else", [condition], likely=likely, **regions)

    def _region(self, name: str, body_fn: Callable[..., Any], *inputs: TileType) -> Graph:
        """What ``body_fn(builder, *values)`` builds, as a graph of its own."""
        outer = self.graph
        body = Graph(name, NKI)
        body.counter = outer.counter
        values = [body.add_input(name, kind) for kind in inputs]
        self.graph = body
        try:
            with self.in_pieces(1):
                body_fn(self, *values)
        finally:
            self.graph = outer
        return body


def _is_whole(window: DimSlice, extent: int) -> bool:
    return affine(window.offset).is_zero and window.size == extent and window.stride == 1


def _window(given: DimSlice, operands: list[Value]) -> Window:
    offset: Affine = affine(given.offset)
    terms = []
    for value, factor in offset.terms:
        position = next((i for i, v in enumerate(operands) if v is value and i), None)
        if position is None:
            position = len(operands)
            operands.append(value)
        terms.append((position, factor))
    return Window(offset.const, tuple(terms), given.size, given.stride)


def _method(row: TileOpDef) -> Callable[..., Value]:
    def method(self: BaseBuilder, *args: Any, **attrs: Any) -> Value:
        operands = [a for a in args if isinstance(a, Value)]
        names = [a.name for a in row.attrs]
        extra = dict(zip(names, args[len(operands) :], strict=False))
        self.emit(row.name, operands, **extra, **attrs)
        return operands[0]

    method.__name__ = row.name
    method.__qualname__ = f"Builder.{row.name}"
    method.__doc__ = row.summary
    return method


for _row in NKI:
    if any(effect.startswith("write") for effect in _row.effects or ()):
        setattr(Builder, _row.name, _method(_row))

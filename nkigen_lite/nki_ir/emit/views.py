"""Views as NKI writes them: subscripts, ``reshape``, ``permute``, ``broadcast``.

Source of what each may do: aws-neuron-sdk, nki language guide and the NkiTensor reference (0.6).
Subscripts of subscripts are folded into one, reshapes of reshapes into the last, and permutes of
permutes into one, or none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from nkigen_lite.core.ir import Op, Value
from nkigen_lite.errors import NotSupported
from nkigen_lite.nki_ir.emit.calls import Spelling, column_text, nki_shape, reshaped
from nkigen_lite.nki_ir.emit.linear import Linear
from nkigen_lite.nki_ir.emit.text import Bracket, Expr, shape_text
from nkigen_lite.nki_ir.types import Affine, MemorySpace


@dataclass(frozen=True, slots=True)
class _Span:
    """One subscript: ``size`` elements from ``offset`` on; an index if ``size`` is None."""

    offset: Affine
    size: int | None
    stride: int = 1

    def text(self, spelling: Spelling) -> str:
        start = affine_text(self.offset, spelling)
        if self.size is None:
            return start
        stop = affine_text(self.offset + ((self.size - 1) * self.stride + 1), spelling)
        if not self.offset.terms:
            return f"{start}:{stop}" + (f":{self.stride}" if self.stride != 1 else "")
        if self.stride == 1:
            return f"nl.ds({start}, {self.size})"
        return f"{start} : {stop} : {self.stride}"


def affine_text(expression: Affine, spelling: Spelling) -> str:
    """``i * 128 + 64``: positive terms, then the constant, then what is subtracted."""
    terms = tuple((str(spelling.value(index)), factor) for index, factor in expression.terms)
    return str(Linear(expression.const, terms))


def _spans(op: Op) -> tuple[Value, list[_Span]]:
    """The value that a chain of slices starts from, and one span for each of its dimensions."""
    base: Value = op.inputs[0]
    own = [
        _Span(
            Affine(window.const) + Affine(0, tuple((op.inputs[p], f) for p, f in window.terms)),
            window.size,
            window.stride,
        )
        for window in op.attrs["slices"].dims
    ]
    if base.producer is None or base.producer.opcode != op.opcode:
        return base, own
    root, outer = _spans(base.producer)
    inner = iter(own)
    return root, [span if span.size is None else _within(span, next(inner)) for span in outer]


def _within(outer: _Span, inner: _Span) -> _Span:
    return _Span(
        outer.offset + inner.offset * outer.stride, inner.size, outer.stride * inner.stride
    )


def slice_text(op: Op, spelling: Spelling) -> Expr:
    """``base[0:128, nl.ds(i * 512, 512), 3]``."""
    base, spans = _spans(op)
    # NKI has one dimension more where the IR's tile has rank 1 on chip.
    extra = len(nki_shape(base.type)) - base.type.rank
    items = [span.text(spelling) for span in spans] + ["0:1"] * extra
    return spelling.value(base).subscript(items) if items else spelling.value(base)


def reshape_text(op: Op, spelling: Spelling) -> Expr:
    """``base.reshape((128, 4, 64))``."""
    base: Value = op.inputs[0]
    while base.producer is not None and base.producer.opcode == op.opcode:
        base = base.producer.inputs[0]
    return reshaped(spelling.value(base), base.type, nki_shape(op.result.type))


def permute_text(op: Op, spelling: Spelling) -> Expr:
    """``base.permute((0, 2, 1))``."""
    base: Value = op.inputs[0]
    perm: tuple[int, ...] = tuple(op.attrs["perm"])
    while base.producer is not None and base.producer.opcode == op.opcode:
        inner = base.producer.attrs["perm"]
        base, perm = base.producer.inputs[0], tuple(inner[dim] for dim in perm)
    text = spelling.value(base)
    return text if perm == tuple(sorted(perm)) else text.method("permute", shape_text(perm))


def broadcast_text(op: Op, spelling: Spelling) -> Expr:
    """``base.expand_dim(0).broadcast(0, 128)``: new dimensions first, then what repeats."""
    base, shape, dims = op.inputs[0], op.attrs["shape"], op.attrs["dims"]
    extents = dict(zip(dims, base.type.shape, strict=True))
    # The dimension that only NKI has, for the IR's tiles of rank 1 on chip, is a new one already.
    present = {*dims, *range(base.type.rank, len(nki_shape(base.type)))}
    text = spelling.value(base)
    for dim in range(len(shape)):
        if dim not in present:
            text = text.method("expand_dim", str(dim))
    for dim, extent in enumerate(shape):
        if extents.get(dim, 1) != extent:
            text = text.method("broadcast", str(dim), str(extent))
    return text


def rows_at(
    op: Op, table: Value, shape: tuple[int, ...], dim: int, where: Value, spelling: Spelling
) -> Expr:
    """``table.ap(pattern=[[64, 128], [1, 64]], vector_offset=where, indirect_dim=0)``.

    These are ``shape`` elements of the table: along ``dim`` the rows that ``where`` chooses, one
    offset for all or one for each.

    Raises:
        NotSupported: rows of the table do not lie as those of a dimension of its buffer.
    """
    access = spelling.access(table)
    root = access.root.type
    strides = [math.prod(root.shape[d + 1 :]) for d in range(root.rank)]
    apart = access.dims[dim][1]
    if apart not in strides:
        raise NotSupported(
            f"emit_nki: {op.opcode}: rows of %{table.name} lie {apart} elements apart "
            f"but an indirect access counts in rows of its buffer, {root}"
        )
    pattern = [[stride, n] for (_, stride), n in zip(access.dims, shape, strict=True)]
    items = [Expr(repr(pattern)).named("pattern")]
    if not access.offset.is_zero:
        items.append(Expr(affine_text(access.offset, spelling)).named("offset"))
    is_one = where.type.num_elements == 1
    as_column = is_one and where.type.memory is not MemorySpace.REG
    offsets = column_text(where, spelling) if as_column else spelling.value(where)
    items.append(offsets.named("scalar_offset" if is_one else "vector_offset"))
    items.append(Expr(str(strides.index(apart))).named("indirect_dim"))
    base = spelling.value(access.root)
    return Expr(base.text, (*base.brackets, Bracket(".ap(", tuple(items), ")")))

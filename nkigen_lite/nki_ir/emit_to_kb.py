"""Driving the vendor's Kernel Builder with a lowered kernel, without source text in between.

Loops are unrolled as the Kernel Builder traces; views become subscripts where they are plain
windows, else access patterns. Instructions come from the ``kb`` fields of the op rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from nkigen_lite import vendor
from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.errors import InvalidInput, NotSupported
from nkigen_lite.nki_ir.access import Access, Accesses, merge_dims, whole
from nkigen_lite.nki_ir.emit.calls import NL_DTYPES
from nkigen_lite.nki_ir.emit.kb import Unknown
from nkigen_lite.nki_ir.emit.text import Expr
from nkigen_lite.nki_ir.rows import NKI
from nkigen_lite.nki_ir.types import INDEX, ON_CHIP, Affine, MemorySpace, TileType

KB_DTYPES = {**NL_DTYPES, DType.FP8_E3M4: "float8_e3m4"}
"""Names of element types in the Kernel Builder, which keeps bool in uint8 as NKI does."""


def build_kb_kernel(graph: Graph) -> Callable[..., None]:
    """A function that issues the kernel's calls while the Kernel Builder traces it.

    It takes the graph's inputs, output buffers (``<output>_out``) among them, as keyword arguments
    of the same names, writes the outputs, and returns nothing. Its annotations say that each is a
    ``kernel_builder.Tensor``, its name is the graph's.

    Raises:
        InvalidOp: the graph is not sound.
        NotSupported: no known calls amount to an op of it. Forms of ops without a known call are
            refused likewise, when the kernel is traced.
        VendorMissing: the Kernel Builder is not installed.
    """
    graph.check()
    _refuse_unknown(graph)
    builder = vendor.kernel_builder()

    def kernel(**tensors: Any) -> None:
        missing = [v.name for v in graph.inputs if v.name not in tensors]
        if missing:
            raise InvalidInput(f"@{graph.name}: no tensor is given for {', '.join(missing)}")
        walk = _Walk(builder, {id(v): tensors[v.name] for v in graph.inputs})
        walk.block(graph)
        walk.finish()

    kernel.__name__ = kernel.__qualname__ = graph.name
    kernel.__annotations__ = {value.name: builder.Tensor for value in graph.inputs}
    return kernel


def _refuse_unknown(graph: Graph) -> None:
    """Name all ops of the graph that the Kernel Builder has no call for, in one message."""
    found: dict[str, str] = {}
    for op in graph.walk():
        row = NKI[op.opcode]
        if isinstance(row.kb, Unknown):
            found.setdefault(op.opcode, row.kb.why)
    if found:
        reasons = "; ".join(f"{name}: {why}" for name, why in found.items())
        raise NotSupported(f"emit_to_kb: @{graph.name}: {reasons}")


class _Nameless:
    """Spells every value alike."""

    def __init__(self, accesses: Accesses) -> None:
        self.access = accesses.of

    def value(self, value: Value) -> Expr:
        return Expr("_")

    def can_reshape(self, value: Value) -> bool:
        return False


class _Walk:
    """One walk over a graph: the tiles of its values, the present indices of its loops."""

    def __init__(self, builder: Any, tiles: dict[int, Any]) -> None:
        self.builder = builder
        self.isa = builder.isa
        self.tiles = tiles
        self.indices: dict[int, int] = {}
        self.accesses = Accesses()
        self.turns: dict[int, list[Any]] = {}
        self.rotating: list[dict[Op, Any]] = [{}]
        self.identities: dict[tuple[int, DType], Any] = {}
        self.registers: list[Any] = []

    # --- ops ------------------------------------------------------------------------------------

    def block(self, graph: Graph) -> None:
        """Issue the calls of all ops of a graph."""
        for op in graph.ops:
            _STATEMENTS.get(op.opcode, _Walk.instruction)(self, op)

    def instruction(self, op: Op) -> None:
        row = NKI[op.opcode]
        if row.alias:
            return
        if op.inputs and op.inputs[0].type.dtype is DType.BOOL and row.nki is not None:
            # Refuses what would leave more than 0 and 1 in a bool tile.
            row.nki(op, _Nameless(self.accesses))
        if row.kb is None:
            raise NotSupported(f"emit_to_kb: row {op.opcode!r} has no call of the Kernel Builder")
        row.kb(op, self)

    def alloc(self, op: Op) -> None:
        """A new tile; in a loop, a rotating one is made once and turned in later iterations.

        Of a tile that the program rotates, earlier copies are read as well, which the Kernel
        Builder has no call for: its copies are tiles of their own, which take turns. That is all
        there is to it, as loops are unrolled here.
        """
        copies = op.attrs["num_buffers"]
        if any(use.opcode == "rotate" for use in op.result.uses):
            self.turns[id(op.result)] = [self.new(op.result.type) for _ in range(copies)]
            self.tiles[id(op.result)] = self.turns[id(op.result)][0]
            return
        turning = self.rotating[-1] if copies > 1 and len(self.rotating) > 1 else None
        if turning is not None and op in turning:
            turned = self.builder.compiler.rotate(turning[op])
            tile = turning[op] if turned is None else turned
        else:
            tile = self.new(op.result.type, copies if turning is not None else 1)
        if turning is not None:
            turning[op] = tile
        self.tiles[id(op.result)] = tile

    def rotate(self, op: Op) -> None:
        """The copy that has not been in use for longest is next."""
        turns = self.turns[id(op.inputs[0])]
        turns.insert(0, turns.pop())
        self.tiles[id(op.inputs[0])] = turns[0]

    def copy(self, root: Value, back: int) -> Any:
        """The tile of a buffer; of a rotating one, that of some rotations ago."""
        return self.turns[id(root)][back] if back else self.tiles[id(root)]

    def if_else(self, op: Op) -> None:
        """An index is known here, so that only the region that it chooses is issued."""
        condition, then, otherwise = op.inputs[0], op.attrs["then"], op.attrs["otherwise"]
        if condition.type == INDEX:
            self.block(then if self.index(condition) else otherwise)
            return
        zero = self.scratch((1, 1), DType.I32)
        self.isa.memset(dst=zero, value=0)
        holds = self.loaded(zero) < self.loaded(self.register(condition))
        self.builder.if_else(holds, lambda: self.block(then), lambda: self.block(otherwise))
        self.release(zero)

    def register_alloc(self, op: Op) -> None:
        """A tile of one number; it lives to the end."""
        made = self.tiles[id(op.result)] = self.scratch((1, 1), DType.I32)
        self.registers.append(made)
        if op.attrs["value"] is not None:
            self.isa.memset(dst=made, value=op.attrs["value"])

    def dealloc(self, op: Op) -> None:
        """The end of a tile's life; of a rotating one, its loop's end is that."""
        copies = self.turns.pop(id(op.inputs[0]), None)
        if copies is not None:
            for tile in copies:
                self.release(tile)
            return
        made = op.inputs[0].producer
        if not any(made in turning for turning in self.rotating if made is not None):
            self.release(self.tiles[id(op.inputs[0])])

    def loop(self, op: Op) -> None:
        body: Graph = op.attrs["body"]
        self.rotating.append({})
        for index in range(0, op.attrs["extent"], op.attrs["step"]):
            self.indices[id(body.inputs[0])] = index
            self.block(body)
        for tile in self.rotating.pop().values():
            self.release(tile)

    def finish(self) -> None:
        """Release what lives to the end."""
        for tile in (*self.identities.values(), *self.registers):
            self.release(tile)

    # --- tiles ----------------------------------------------------------------------------------

    def new(self, kind: TileType, copies: int = 1) -> Any:
        """A new buffer."""
        space = getattr(self.builder, kind.memory.value)
        dtype = getattr(self.builder, KB_DTYPES[kind.dtype])
        return self.builder.compiler.alloc(kind.shape, dtype, space=space, num_buffers=copies)

    def release(self, tile: Any) -> None:
        self.builder.compiler.release(tile)

    def scratch(self, shape: Sequence[int], dtype: DType) -> Any:
        return self.new(TileType(tuple(shape), dtype, MemorySpace.SBUF))

    def identity(self, size: int, dtype: DType) -> Any:
        """Ones where column and partition are equal; made once and kept to the end."""
        if (size, dtype) not in self.identities:
            square = (size, size)
            ramp = self.new(TileType(square, DType.F32, MemorySpace.SBUF))
            self.isa.iota(dst=ramp, pattern=[[1, size]], offset=0, channel_multiplier=-1)
            equals = self.isa.arith_op.IsEQ
            self.isa.tensor_scalar_arith(dst=ramp, src=ramp, op0=equals, operand0=0.0)
            tile = ramp
            if dtype is not DType.F32:
                tile = self.new(TileType(square, dtype, MemorySpace.SBUF))
                self.isa.tensor_copy(dst=tile, src=ramp)
                self.release(ramp)
            self.identities[size, dtype] = tile
        return self.identities[size, dtype]

    # --- views ----------------------------------------------------------------------------------

    def tile(self, value: Value) -> Any:
        return self.read(self.accesses.of(value))

    def flat(self, value: Value) -> Any:
        access = self.accesses.of(value)
        free = merge_dims(access.dims[1:]) or [(1, 1)]
        if len(free) > 1:
            return self.tile(value)
        return self.read(replace(access, dims=(access.dims[0], *free)))

    def column(self, value: Value) -> Any:
        access = self.accesses.of(value)
        return self.read(replace(access, dims=(access.dims[0], (1, 1))))

    def padded(self, value: Value, other: Value) -> Any:
        short = [v for v in (value, other) if v.type.memory in ON_CHIP and v.type.rank == 1]
        if not short:
            return self.tile(value)
        access = self.accesses.of(value)
        return self.read(replace(access, dims=(*access.dims, (1, 1))))

    def rows_at(self, table: Value, indices: Value) -> Any:
        access = self.accesses.of(table)
        (_, row), *dims = access.dims
        pattern = [[row, indices.type.partition_size], *[[stride, n] for n, stride in dims]]
        offset = self.number(access.offset)
        root = self.tiles[id(access.root)]
        return root.ap(pattern, offset, vector_offset=self.tile(indices))

    def block_at(self, op: Op, table: Value, where: Value, size: int) -> Any:
        access = self.accesses.of(table)
        starts = self.starts(access, whole(access.root), 0, self.number(access.offset))
        if starts is None:
            raise NotSupported(
                f"emit_to_kb: {op.opcode}: %{table.name} is a view that moves dimensions but must "
                "be a window of its buffer, of which a block of rows is taken"
            )
        held = self.register(where) if where.type.memory is MemorySpace.REG else self.column(where)
        first = self.loaded(held)
        windows = [(start, extent) for start, (extent, _) in zip(starts, access.dims, strict=True)]
        start, dim = starts[op.attrs["dim"]], op.attrs["dim"]
        windows[dim] = (first + start if start else first, size)
        return self.tiles[id(access.root)][tuple(self.builder.ds(*window) for window in windows)]

    def register(self, value: Value) -> Any:
        return self.tiles[id(value)]

    def loaded(self, tile: Any) -> Any:
        return self.isa.load_register(tile[0:1, 0])

    def groups(self, ranks: Sequence[Sequence[int]]) -> Any:
        groups = [list(group) for group in ranks]
        return vendor.kernel_builder_objects().ExplicitReplicaGroupAttr.get(groups)

    def dimension(self, number: int) -> Any:
        return getattr(vendor.kernel_builder_objects().CollectiveDimension, f"DIM_{number}")

    def index(self, value: Value) -> int:
        return self.indices[id(value)]

    def read(self, access: Access) -> Any:
        """The tile of a buffer, a subscript of it, or an access pattern on it."""
        root = self.copy(access.root, access.back)
        partition, offset = self.number(access.partition), self.number(access.offset)
        own = whole(access.root)
        if access.dims == own.dims and partition == offset == 0:
            return root
        starts = self.starts(access, own, partition, offset)
        if starts is not None:
            sizes = [extent for extent, _ in access.dims]
            windows = zip(starts, sizes, strict=True)
            return root[tuple(self.builder.ds(start, size) for start, size in windows)]
        return root.ap(*self.pattern(access, own, partition, offset))

    def number(self, expression: Affine) -> int:
        """The value of an offset in the present iteration."""
        return expression.const + sum(f * self.indices[id(v)] for v, f in expression.terms)

    @staticmethod
    def starts(access: Access, own: Access, partition: int, offset: int) -> list[int] | None:
        """Where a window of the whole buffer starts in each dimension; None if it is no window."""
        if len(access.dims) != len(own.dims):
            return None
        if any(n != 1 and s != o for (n, s), (_, o) in zip(access.dims, own.dims, strict=True)):
            return None
        on_chip = access.root.type.memory in ON_CHIP
        found = [partition] if on_chip else []
        for _, stride in own.dims[on_chip:]:
            found.append(offset // stride)
            offset %= stride
        for start, (size, _), (extent, _) in zip(found, access.dims, own.dims, strict=True):
            if start + size > extent:
                return None
        return found

    @staticmethod
    def pattern(
        access: Access, own: Access, partition: int, offset: int
    ) -> tuple[list[list[int]], int]:
        """[stride, count] pairs over the buffer's elements, and the offset of the first."""
        if access.root.type.memory not in ON_CHIP:
            return [[stride, count] for count, stride in access.dims] or [[1, 1]], offset
        row = access.root.type.free_size
        count, step = access.dims[0]
        pairs = [[step * row, count], *[[stride, n] for n, stride in access.dims[1:]]]
        return pairs if len(pairs) > 1 else [*pairs, [1, 1]], partition * row + offset


_STATEMENTS: dict[str, Callable[[_Walk, Op], None]] = {
    "alloc": _Walk.alloc,
    "dealloc": _Walk.dealloc,
    "rotate": _Walk.rotate,
    "fori_loop": _Walk.loop,
    "if_else": _Walk.if_else,
    "register_alloc": _Walk.register_alloc,
}

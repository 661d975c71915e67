"""What tests of addresses share: kernels, their allocations, and runs in many orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import strategies as st

from nkigen_lite import nki_ir
from nkigen_lite.core.dtypes import Array, DType
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.nki_ir import Builder, MemorySpace, ds, insert_deallocs, ts
from nkigen_lite.nki_ir.allocation import Allocation, Place, places_of
from nkigen_lite.nki_ir.checked import run_checked
from nkigen_lite.nki_ir.hazards import hazards_of
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.nki_ir.types import affine
from nkigen_lite.tensor_ir.passes.layout_solver.addresses import allocate

LIMITS = Limits(partitions=128, sbuf_bytes=4096, psum_banks=8, psum_bank_bytes=2048)
F32, SBUF, PSUM = DType.F32, MemorySpace.SBUF, MemorySpace.PSUM
ROWS = 4
Feed = Mapping[str, Array]


def tightly(kernel: Graph, limits: Limits = LIMITS) -> Allocation:
    """The allocation in memories that are no larger than what is live at once, where it fits."""
    roomy = allocate(kernel, limits)
    banks = max(1, roomy.psum.live // limits.psum_bank_bytes)
    return allocate(kernel, replace(limits, sbuf_bytes=roomy.sbuf.live, psum_banks=banks))


def moved(allocation: Allocation, name: str, *offsets: int) -> Allocation:
    """The allocation with the copies of one buffer at other bytes."""
    places = tuple(replace(p, offsets=offsets) if p.name == name else p for p in allocation.places)
    assert places != allocation.places
    return replace(allocation, places=places)


def place(allocation: Allocation, name: str) -> Place:
    return next(p for p in allocation.places if p.name == name)


def sharing(kernel: Graph, one: str, two: str) -> Allocation:
    """The allocation with the second buffer in the bytes of the first, and the hazards of that."""
    allocation = allocate(kernel, LIMITS)
    made = moved(allocation, two, *place(allocation, one).offsets)
    return replace(made, hazards=hazards_of(kernel, places_of(kernel, made)))


def assert_runs_alike(kernel: Graph, feed: Feed, allocation: Allocation, orders: int) -> None:
    """In program order and in some random orders, the checked run has the interpreter's results."""
    outputs = {
        v.name: np.zeros(v.type.shape, v.type.dtype.np) for v in kernel.inputs if v.name not in feed
    }
    wanted = nki_ir.run(kernel, {**{n: a.copy() for n, a in feed.items()}, **outputs})
    for order in ("program", *range(orders)):
        found = run_checked(kernel, feed, allocation, order)
        for name, array in wanted.items():
            assert found[name].tobytes() == array.tobytes(), f"{name} in order {order}"


def pipeline(copies: int = 2, trips: int = 6) -> Graph:
    """Rows are loaded, copied on VectorE and stored, one set of them per trip."""
    b = Builder("pipeline")
    x, y = (b.add_input(n, (trips * ROWS, 8), F32) for n in "xy")

    def body(b: Builder, i: Value) -> None:
        rows = [ts(i, ROWS), ds(0, 8)]
        tile = b.alloc((ROWS, 8), F32, SBUF, copies, name="tile")
        b.dma_copy(tile, b.slice(x, rows))
        copy = b.alloc((ROWS, 8), F32, SBUF, copies, name="copy")
        b.tensor_copy(copy, tile)
        b.dma_copy(b.slice(y, rows), copy)

    b.fori_loop("i", trips, 1, body)
    b.set_outputs({"y": y})
    insert_deallocs(b.graph)
    return b.graph


def two_in_turn() -> Graph:
    """One tile is loaded, copied and freed, then another; the copies are added and stored."""
    b = Builder("in_turn")
    x, y = b.add_input("x", (2 * ROWS, 8), F32), b.add_input("y", (ROWS, 8), F32)
    copies = []
    for k, name in enumerate(("first", "second")):
        tile = b.alloc((ROWS, 8), F32, name=name)
        b.dma_copy(tile, b.slice(x, [ds(k * ROWS, ROWS), ds(0, 8)]))
        copies.append(b.alloc((ROWS, 8), F32, name=f"{name}_copy"))
        b.tensor_copy(copies[-1], tile)
        b.dealloc(tile)
    b.tensor_tensor_arith(copies[0], copies[0], copies[1], op="add")
    b.dma_copy(y, copies[0])
    b.set_outputs({"y": y})
    insert_deallocs(b.graph)
    return b.graph


def in_turn_in_a_loop(trips: int = 4) -> Graph:
    """In each trip one tile is loaded, copied and freed, then another; all copies are added up."""
    b = Builder("in_turn")
    x, y = b.add_input("x", (2 * trips * ROWS, 8), F32), b.add_input("y", (ROWS, 8), F32)
    total = b.alloc((ROWS, 8), F32, name="total")
    b.memset(total, value=0.0)

    def body(b: Builder, i: Value) -> None:
        for k, name in enumerate(("first", "second")):
            tile = b.alloc((ROWS, 8), F32, name=name)
            rows = ds(affine(i) * (2 * ROWS) + k * ROWS, ROWS)
            b.dma_copy(tile, b.slice(x, [rows, ds(0, 8)]))
            b.tensor_tensor_arith(total, total, tile, op="add")
            b.dealloc(tile)

    b.fori_loop("i", trips, 1, body)
    b.dma_copy(y, total)
    b.set_outputs({"y": y})
    insert_deallocs(b.graph)
    return b.graph


def feed_of(kernel: Graph, seed: int = 0) -> dict[str, Array]:
    """Normal floats for the inputs that are not outputs."""
    rng = np.random.default_rng(seed)
    outputs = {id(v) for v in kernel.outputs.values()}
    return {
        v.name: rng.standard_normal(v.type.shape).astype(v.type.dtype.np)
        for v in kernel.inputs
        if id(v) not in outputs
    }


@dataclass
class _Drawing:
    """Draws a kernel; ``scopes`` are the buffers of each level that may be used."""

    draw: st.DrawFn
    b: Builder
    x: Value
    scopes: list[list[Value]] = field(default_factory=list)
    left: int = 14

    def choose(self, most: int) -> int:
        return self.draw(st.integers(0, most))

    def level(self) -> None:
        self.scopes.append([])
        self.alloc()
        for _ in range(1 + self.choose(4)):
            self.left -= 1
            actions: list[Callable[[], None]] = [self.alloc, self.copy, self.add, self.copy]
            if self.left > 0 and len(self.scopes) < 4:
                actions += [self.loop, self.loop]
            self.draw(st.sampled_from(actions))()
        self.keep()
        self.scopes.pop()

    def loop(self) -> None:
        name = f"i{len(self.scopes)}"
        self.b.fori_loop(name, 1 + self.choose(3), 1 + self.choose(1), lambda b, i: self.level())

    def alloc(self) -> None:
        """A buffer, wholly written."""
        memory = self.draw(st.sampled_from((SBUF, SBUF, SBUF, PSUM)))
        rows, size = self.draw(st.sampled_from((2, 4))), self.draw(st.sampled_from((1, 3, 8, 40)))
        copies = self.draw(st.sampled_from((1, 1, 2, 3))) if memory is SBUF else 1
        made = self.b.alloc((rows, size), F32, memory, copies, name=f"b{self.choose(3)}")
        if memory is PSUM or self.draw(st.booleans()):
            self.b.memset(made, value=float(self.choose(9)), engine="vector")
        else:
            first = self.choose(3)
            self.b.dma_copy(made, self.b.slice(self.x, [ds(first, rows), ds(first, size)]))
        self.scopes[-1].append(made)

    def pair(self) -> tuple[Value, Value, str]:
        """The common part of two buffers, and an engine that may use both."""
        known = [v for scope in self.scopes for v in scope]
        one, two = (self.draw(st.sampled_from(known)) for _ in range(2))
        engines = (
            ("vector",) if PSUM in (one.type.memory, two.type.memory) else ("vector", "gpsimd")
        )
        shape = [min(a, b) for a, b in zip(one.type.shape, two.type.shape, strict=True)]
        windows = [ds(0, n) for n in shape]
        parts = [self.b.slice(v, windows) for v in (one, two)]
        return parts[0], parts[1], self.draw(st.sampled_from(engines))

    def copy(self) -> None:
        dst, src, engine = self.pair()
        self.b.tensor_copy(dst, src, engine=engine)

    def add(self) -> None:
        dst, src, engine = self.pair()
        if PSUM not in (dst.type.memory, src.type.memory):
            self.b.tensor_tensor_arith(dst, dst, src, op="add", engine=engine)

    def keep(self) -> None:
        """Leave something of a nested level in a buffer around it."""
        if len(self.scopes) > 1:
            around = [v for scope in self.scopes[:-1] for v in scope]
            dst = self.draw(st.sampled_from(around))
            src = self.scopes[-1][-1]
            windows = [
                ds(0, min(a, b)) for a, b in zip(dst.type.shape, src.type.shape, strict=True)
            ]
            self.b.tensor_copy(self.b.slice(dst, windows), self.b.slice(src, windows))


@st.composite
def kernels(draw: st.DrawFn) -> Graph:
    """A kernel of nested loops over buffers in SBUF and PSUM that are freed after their last use;
    it reads an HBM buffer ``x`` and stores what the outermost buffers hold at the end."""
    b = Builder("random")
    drawing = _Drawing(draw, b, b.add_input("x", (8, 48), F32))
    drawing.scopes.append([])
    for _ in range(3):
        drawing.alloc()
    for _ in range(1 + drawing.choose(2)):
        draw(st.sampled_from((drawing.loop, drawing.add, drawing.loop)))()
    outputs = {}
    for k, value in enumerate(drawing.scopes[0]):
        staged = b.alloc(value.type.shape, F32, name="staged")
        b.tensor_copy(staged, value)
        outputs[f"y{k}"] = b.add_input(f"y{k}", value.type.shape, F32)
        b.dma_copy(outputs[f"y{k}"], staged)
    b.set_outputs(outputs)
    insert_deallocs(b.graph)
    return b.graph

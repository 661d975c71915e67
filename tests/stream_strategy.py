"""Random instruction streams for the simulator: loops, rotating buffers, DMAs, every engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from hypothesis import strategies as st

from cost_models import Instruction, Transfer
from cost_models.simulate import Buffer, Fresh, Held, Index, Item, Loop, Step, Use

_OPS = {"vector": "tensor_copy", "scalar": "activation", "gpsimd": "iota"}
_BYTES = (4, 256, 2048, 8192)
_ELEMS = (1, 64, 512, 2000)

MOST_STEPS = 40_000
"""Instructions of a stream, loops multiplied out."""


@dataclass
class Drawing:
    """Draws a stream over a few buffers.

    ``loops`` are those around what is drawn next; ``left`` instructions may still be drawn.
    """

    draw: st.DrawFn
    depth: int
    trips: tuple[int, ...]
    buffers: list[Buffer] = field(default_factory=list)
    loops: list[tuple[Index, int]] = field(default_factory=list)
    left: int = MOST_STEPS

    def use(self) -> Use:
        """Some cells of some buffer; in a loop they may move with its index."""
        buffer = self.draw(st.sampled_from(self.buffers))
        if self.loops and buffer.copies == 1 and buffer.cells > 1 and self.draw(st.booleans()):
            index, trips = self.draw(st.sampled_from(self.loops))
            room = buffer.cells // trips
            if room:
                width = self.draw(st.integers(1, room))
                return Use(buffer, tuple(range(width)), 0, ((index, room),))
        width = self.draw(st.integers(1, min(buffer.cells, 4)))
        start = self.draw(st.integers(0, buffer.cells - width))
        return Use(buffer, tuple(range(width)), start)

    def step(self) -> Step:
        kind = self.draw(st.integers(0, 3))
        if kind == 0:
            return self.transfer()
        elems = self.draw(st.sampled_from(_ELEMS))
        if kind == 1:
            work = Instruction(
                "matmul",
                "tensor",
                128,
                min(elems, 512),
                ("f32", "bf16", "bf16"),
                ("psum", "sbuf", "sbuf"),
                columns=128,
            )
            return Step(work, "tensor", (self.use(), self.use()), (self.use(),))
        engine = self.draw(st.sampled_from(sorted(_OPS)))
        function = self.draw(st.sampled_from(("exp", "gelu"))) if engine == "scalar" else ""
        work = Instruction(
            _OPS[engine], engine, 128, elems, ("f32", "f32"), ("sbuf", "sbuf"), function=function
        )
        reads = tuple(self.use() for _ in range(self.draw(st.integers(0, 2))))
        return Step(work, engine, reads, (self.use(),))

    def transfer(self) -> Step:
        direction = self.draw(st.sampled_from(("load", "store", "copy")))
        rows = self.draw(st.sampled_from((1, 16, 100, 128)))
        work = Transfer(direction, rows, self.draw(st.sampled_from(_BYTES)), rows)
        mine = (self.use(),)
        reads, writes = ((), mine) if direction == "load" else (mine, ())
        engine = self.draw(st.sampled_from(("sync", "scalar", "gpsimd")))
        return Step(work, engine, reads, writes, self.draw(st.sampled_from("xyz")))

    def fresh(self) -> Fresh:
        """A buffer's next copy; it may take over cells of another buffer."""
        mine = self.draw(st.sampled_from(self.buffers))
        other = self.draw(st.sampled_from(self.buffers))
        if other is mine or self.draw(st.booleans()):
            return Fresh(mine)
        own = st.integers(0, mine.cells - 1)
        old = st.integers(0, other.cells * other.copies - 1)
        pairs = st.lists(st.tuples(own, old), max_size=4)
        return Fresh(
            mine, tuple((Held(other, tuple(self.draw(pairs))),) for _ in range(mine.copies))
        )

    def items(self, depth: int) -> list[Item]:
        made: list[Item] = []
        around = prod(trips for _, trips in self.loops)
        for _ in range(self.draw(st.integers(1, 4))):
            if around > self.left:
                break
            kind = self.draw(st.integers(0, 9))
            if depth < self.depth and kind < 3:
                fitting = [t for t in self.trips if around * t <= self.left]
                index, trips = Index(), self.draw(st.sampled_from(fitting))
                self.loops.append((index, trips))
                made.append(Loop(index, trips, self.items(depth + 1)))
                self.loops.pop()
            elif kind == 3:
                made.append(self.fresh())
            else:
                made.append(self.step())
                self.left -= around
        return made


@st.composite
def streams(
    draw: st.DrawFn, depth: int = 2, trips: tuple[int, ...] = (1, 2, 3, 7, 16, 100)
) -> list[Item]:
    """A stream of no more than :data:`MOST_STEPS` instructions."""
    drawing = Drawing(draw, depth, trips)
    for k in range(draw(st.integers(2, 5))):
        memory = draw(st.sampled_from(("sbuf", "psum")))
        cells = draw(st.sampled_from((1, 1, 2, 8, 100)))
        drawing.buffers.append(Buffer(f"b{k}", memory, cells, draw(st.sampled_from((1, 1, 2, 3)))))
    return drawing.items(0)

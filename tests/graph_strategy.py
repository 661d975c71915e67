"""Random tensor_ir graphs for property tests, drawn from the op table, with inputs to run them on.

`graphs()` draws a :class:`Case`: a valid graph of a few ops and arrays for its inputs, such that
every value is finite and of moderate size. `same_meaning.assert_same_meaning` compares what two
graphs compute on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from graph_draft import Draft, sample_array
from graph_makers import MAKERS, pointwise
from graph_phrases import PHRASES
from hypothesis import strategies as st

from nkigen_lite.core.dtypes import Array, DType
from nkigen_lite.core.ir import Graph
from nkigen_lite.tensor_ir import Builder
from nkigen_lite.tensor_ir.passes.match import MOVES, POINTWISE
from nkigen_lite.tensor_ir.rows import TENSOR

# More often what programs use more often.
DTYPES = (
    *(DType.F32,) * 4,
    *(DType.BF16,) * 2,
    *(DType.I32,) * 2,
    *(d for d in DType if d.is_float and d not in (DType.F32, DType.BF16)),
    *(DType.I16, DType.I8, DType.U32, DType.U8, DType.BOOL),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A graph, and an array for each of its inputs, by name."""

    graph: Graph
    inputs: dict[str, Array]


def sample_inputs(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """An array for each input of a tensor_ir graph, such that all of its ops may read it."""
    rng = np.random.default_rng(seed)
    kinds = {TENSOR[op.opcode].sample for op in graph.ops}
    kind = next((k for k in ("positive", "nonzero") if k in kinds), "normal")
    return {v.name: sample_array(rng, v.type.shape, v.type.dtype, kind) for v in graph.inputs}


def drawable() -> list[str]:
    """The ops that :func:`graphs` can draw: all with a numpy meaning, or a maker is missing.

    Raises:
        KeyError: an op is neither pointwise nor has a maker.
    """
    names = [row.name for row in TENSOR if row.evaluate is not None]
    for name in names:
        if name not in POINTWISE and name not in MAKERS:
            raise KeyError(f"graph_makers: op {name!r} has no maker")
    return names


def families() -> dict[str, list[str]]:
    """The ops of :func:`drawable` by what they do, and the phrases."""
    names = drawable()
    unary = [n for n in names if n in POINTWISE and TENSOR[n].arity == (1, 1)]
    moves = [n for n in names if n in MOVES or n == "concat"]
    pairs = [n for n in names if n in POINTWISE and n not in unary]
    rest = [n for n in names if n not in (*unary, *moves, *pairs)]
    return {"unary": unary, "pairs": pairs, "moves": moves, "rest": rest, "phrases": list(PHRASES)}


@st.composite
def graphs(
    draw: st.DrawFn,
    *,
    max_ops: int = 6,
    max_elements: int = 256,
    max_rank: int = 5,
    dtypes: Sequence[DType] = DTYPES,
    opcodes: Sequence[str] | None = None,
) -> Case:
    """A graph of a few ops.

    Args:
        max_ops: ops or phrases (spelled-out activations and the like, of up to ten ops) drawn;
            constants and broadcasts come with them, and what is not finite is left out again.
        max_elements: elements of the largest value.
        max_rank: of drawn shapes; ops may add one dimension.
        dtypes: of inputs; casts and comparisons stay within them.
        opcodes: the ops and phrases to draw from; default: some of the :func:`families`.
    """
    b = Builder("random")
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    draft = Draft(draw, b, rng, max_elements, max_rank, tuple(dtypes))
    draft.new_input(draft.shape(), draft.choose(draft.dtypes))
    if opcodes is None:
        some = draw(st.sets(st.sampled_from(list(families())), min_size=1))
        opcodes = [name for family in sorted(some) for name in families()[family]]
    for _ in range(max(draft.index(max_ops), draft.index(max_ops)) + 1):
        name = draft.choose(opcodes)
        if name in PHRASES:
            PHRASES[name](draft)
        else:
            MAKERS.get(name, pointwise)(draft, TENSOR[name])
    unread = [op.result for op in b.graph.ops if not op.result.has_uses]
    ends = [v for v in unread if v.producer.opcode != "constant"] or draft.values[-1:]
    b.set_outputs({f"y{i}": v for i, v in enumerate(ends)})
    b.graph.dce()
    return Case(b.graph, {v.name: draft.arrays[v] for v in b.graph.inputs})

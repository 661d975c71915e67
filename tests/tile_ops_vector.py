"""VectorE's selects, scans, searches and shuffles, for the table of tile ops."""

from __future__ import annotations

from tile_shapes import BF16, F32, ONE, PSUM, U8, U16, U32, XS, Case, Tile, Wanted, X, same

EIGHT: Tile = ((96, 8), F32)
MASK: Tile = ((96, 40), U8)
SHUFFLED = tuple(range(31, -1, -1))
SELECTED: Wanted = {**XS, "dtypes": ("f32", "u8", "f32"), "memories": ("sbuf",) * 3}

VECTOR: list[Case] = [
    (
        ("range_select", "vector"),
        [X, X, ONE, ONE],
        {"op0": "greater_equal", "op1": "less"},
        {**XS, **same(2), "pointer": True},
    ),
    (
        ("range_select", "vector"),
        [X, X, ONE, ONE, ONE],
        {"op0": "greater", "op1": "less_equal", "range_start": 7},
        {**XS, **same(2), "pointer": True},
    ),
    (("select", "vector"), [X, MASK, X], {"on_false": -1.5}, SELECTED),
    (("select", "vector"), [X, MASK, X, ONE], {"reverse": True}, {**SELECTED, "pointer": True}),
    (("select_reduce", "vector"), [X, ONE, MASK, X], {"on_false": -2.0}, SELECTED),
    (
        ("select_reduce", "vector"),
        [X, ONE, MASK, X, ONE],
        {"reverse": True},
        {**SELECTED, "pointer": True},
    ),
    (
        ("tensor_scalar_reduce", "vector"),
        [X, ONE, ((96, 40), BF16)],
        {"op0": "multiply", "imm0": 0.5, "reduce_op": "add"},
        {**XS, "dtypes": ("f32", "bf16"), "memories": ("sbuf",) * 2},
    ),
    (
        ("tensor_scalar_reduce", "vector"),
        [X, ONE, X, ONE],
        {"op0": "subtract", "reduce_op": "maximum", "negate": True},
        {**XS, **same(2), "pointer": True},
    ),
    (
        ("tensor_scalar_cumulative", "vector"),
        [X, X],
        {"op0": "multiply", "imm0": 0.5, "op1": "add"},
        {**XS, **same(2)},
    ),
    (
        ("tensor_scalar_cumulative", "vector"),
        [X, X, ONE],
        {"op0": "add", "op1": "subtract", "initial": 3.0},
        {**XS, **same(2), "pointer": True},
    ),
    (
        ("tensor_tensor_scan", "vector"),
        [X, X, ((96, 40), F32, PSUM)],
        {"op0": "multiply", "op1": "add", "initial": 0.5},
        {**XS, "dtypes": ("f32",) * 3, "memories": ("sbuf", "sbuf", "psum")},
    ),
    (
        ("tensor_tensor_scan", "vector"),
        [X, X, X, ONE],
        {"op0": "subtract", "op1": "subtract", "reverse0": True, "reverse1": True},
        {**XS, **same(3), "pointer": True},
    ),
    (("max8", "vector"), [EIGHT, X], {}, {**XS, **same(2)}),
    (("find_index8", "vector"), [((96, 8), U32), X, EIGHT], {}, {**XS, **same(2)}),
    (
        ("match_replace8", "vector"),
        [X, X, EIGHT],
        {"imm": -9.0},
        {**XS, **same(2), "pointer": True},
    ),
    (
        ("match_replace8", "vector"),
        [X, X, EIGHT, ((96, 8), U16)],
        {"imm": -9.0},
        {**XS, **same(2), "pointer": True},
    ),
    (("stream_shuffle", "vector"), [X, X], {"mask": SHUFFLED}, {**XS, **same(2)}),
    # A partition goes to all of its group but the last, which stays.
    (
        ("stream_shuffle", "vector"),
        [((32, 40), F32), ((1, 40), F32)],
        {"mask": (0,) * 31 + (255,)},
        {"rows": 32, "elems": 40, **same(2)},
    ),
]

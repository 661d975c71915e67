"""GpSimd's selects and gathers, for the table of tile ops."""

from __future__ import annotations

from tile_shapes import BF16, F32, I32, U16, U32, XS, Case, X, same

GPSIMD: list[Case] = [
    (
        ("affine_select", "gpsimd"),
        [X, X],
        {
            "pattern": ((-1, 40),),
            "on_false": -3.0,
            "cmp_op": "greater_equal",
            "offset": 5,
            "channel_multiplier": 1,
        },
        {**XS, **same(2)},
    ),
    (
        ("affine_select", "gpsimd"),
        [X, ((96, 40), BF16)],
        {"pattern": ((2, 5), (-1, 8)), "on_false": 0.5},
        {**XS, "dtypes": ("f32", "bf16"), "memories": ("sbuf",) * 2},
    ),
    # As long as what is gathered, whatever it is gathered from.
    (
        ("gather", "gpsimd"),
        [((96, 12), F32), X, ((96, 12), U32)],
        {},
        {"rows": 96, "elems": 12, **same(2), "pointer": True},
    ),
    (
        ("local_gather", "gpsimd"),
        [((96, 48), F32), X, ((96, 3), U16)],
        {},
        {"rows": 96, "elems": 48, **same(2), "pointer": True},
    ),
    (
        ("local_gather", "gpsimd"),
        [((96, 80), F32), X, ((96, 3), U16)],
        {"elems_per_index": 4, "valid_indices": 20},
        {"rows": 96, "elems": 80, **same(2), "pointer": True},
    ),
    (
        ("sequence_bounds", "gpsimd"),
        [((1, 2, 40), I32), ((1, 40), I32)],
        {},
        {"rows": 1, "elems": 40, **same(2, "i32")},
    ),
    (
        ("nonzero_with_count", "gpsimd"),
        [((96, 41), I32), ((96, 40), I32)],
        {"index_offset": 3},
        {"rows": 96, "elems": 41, **same(2, "i32")},
    ),
]

"""Specs: text and other stand-ins for the type of an array."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nkigen_lite.core.dtypes import DType
from nkigen_lite.errors import InvalidInput
from nkigen_lite.frontend import parse_spec
from nkigen_lite.tensor_ir import TensorType


@pytest.mark.parametrize(
    ("spec", "shape", "dtype"),
    [
        ("4x8:bf16", (4, 8), DType.BF16),
        ("128:f32", (128,), DType.F32),
        ("128", (128,), DType.F32),
        ("2x3x4", (2, 3, 4), DType.F32),
        (":f32", (), DType.F32),
        ("scalar:i32", (), DType.I32),
        ("scalar", (), DType.F32),
        (" 4x8:float16 ", (4, 8), DType.F16),
        ("1:fp8_e4m3fn", (1,), DType.FP8_E4M3),
        (TensorType((4,), DType.U8), (4,), DType.U8),
        (np.zeros((3, 5), np.int8), (3, 5), DType.I8),
        (np.zeros((), ml_dtypes.bfloat16), (), DType.BF16),
        (((4, 8), "bf16"), (4, 8), DType.BF16),
        (([4, np.int64(8)], np.float32), (4, 8), DType.F32),
        (((), DType.TF32), (), DType.TF32),
        (((2,), np.dtype(bool)), (2,), DType.BOOL),
    ],
)
def test_spec_describes(spec: Any, shape: tuple[int, ...], dtype: DType) -> None:
    assert parse_spec(spec) == TensorType(shape, dtype)


@given(st.lists(st.integers(1, 4000), max_size=5), st.sampled_from(list(DType)))
def test_spec_text_reads_back(shape: list[int], dtype: DType) -> None:
    text = "x".join(map(str, shape)) + f":{dtype}"
    assert parse_spec(text) == TensorType(tuple(shape), dtype)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("4xx8:f32", "spec: '4xx8:f32': extent '' is not a positive integer; write it like"),
        ("x4:f32", "extent '' is not a positive integer"),
        ("4x8x", "extent '' is not a positive integer"),
        ("0x4:f32", "spec: '0x4:f32': extent 0 must be a positive integer"),
        ("-4:f32", "extent '-4' is not a positive integer"),
        ("4x8.5:f32", "extent '8.5' is not a positive integer"),
        ("4,8:f32", "extent '4,8' is not a positive integer"),
        ("\N{FULLWIDTH DIGIT FOUR}:f32", "is not a positive integer"),
        ("4x8:f99", "spec: '4x8:f99': dtype: 'f99' is not a known element type; known are f32"),
        ("4x8:", "dtype: '' is not a known element type"),
        ("4x8:f32:f32", "'f32:f32' is not a known element type"),
        ("", "spec: '' is empty but must be like \"4x8:bf16\""),
        (((4, 0), "f32"), "extent 0 must be a positive integer"),
        (((4, 8), "f99"), "dtype 'f99' is not an element type"),
        (((4, 8), float), "dtype float64 is wider than a NeuronCore's types; use np.float32"),
        (np.zeros((4, 8)), "spec: array of float64: dtype float64 is wider"),
        (np.zeros((4, 0), np.float32), "extent 0 must be a positive integer"),
        (np.zeros(4, complex), "complex128 is not an element type"),
        (TensorType((0,), DType.F32), "extent 0 must be a positive integer"),
        (3, "spec: 3 is int but must be text"),
        (None, "spec: None is NoneType but must be text"),
        (((4, "a"), "f32"), "is tuple but must be text"),
        (np.float32(3), "is float32 but must be text"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_malformed_spec_says_what_is_wrong(spec: Any, sentence: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_spec(spec)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("spec: ")

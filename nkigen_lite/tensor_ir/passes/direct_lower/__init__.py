"""Lowering a scheduled axis program to nki_ir. One module per family; nothing decides here."""

from nkigen_lite.tensor_ir.passes.direct_lower.kernel import lower_schedule
from nkigen_lite.tensor_ir.passes.direct_lower.segment import SegmentLowering

__all__ = ["SegmentLowering", "lower_schedule"]

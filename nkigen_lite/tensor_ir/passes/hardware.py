"""Targets, as the passes and their clients name them."""

from __future__ import annotations

from cost_models import Target, load_target

HardwareProfile = Target
TRN2 = load_target("trn2")

__all__ = ["TRN2", "HardwareProfile"]

"""Comparisons: a plan of ordinary runs, executed on all cores, then read back from their run directories."""

from __future__ import annotations

from .result import Comparison
from .study import compare
from .sweeping import sweep

__all__ = ["Comparison", "compare", "sweep"]

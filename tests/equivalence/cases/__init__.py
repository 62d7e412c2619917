"""The cases whose results are compared."""

from __future__ import annotations

from . import comparing, components, optimizers, reading, training
from .case import FREEZE, Case, Command

__all__ = ["CASES", "FREEZE", "Case", "Command"]

# The long ones first, so that two processes end at about the same time.
CASES = (*comparing.CASES, *optimizers.CASES, *training.CASES, *components.CASES, *reading.CASES)

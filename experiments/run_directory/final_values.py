"""The final values of a run that are no finite numbers: JSON has none for them, and a run may end well all the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def not_finite(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return the final metrics of a run that are not finite, each as `nan`, `inf` or `-inf`.

    Args:
        summary: of the run; those of version 0.2 and before do not tell infinities from nan.
    """
    recorded = summary.get("not_finite") or {}
    final = summary.get("final") or {}
    return {
        name: str(recorded.get(name, "nan" if value is None else value))
        for name, value in final.items()
        if value is None or not math.isfinite(value)
    }


def not_finite_text(summary: Mapping[str, Any]) -> str:
    """Return which final metrics of a run are not finite: `val/loss nan, test/mse inf`; empty where none is."""
    return ", ".join(f"{name} {value}" for name, value in not_finite(summary).items())

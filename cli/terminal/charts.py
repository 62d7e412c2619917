"""Small pictures in text: sparklines and bars."""

from __future__ import annotations

import math
from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.-=+*#@"


def sparkline(values: Sequence[float | None], width: int = 20, unicode: bool = True) -> str:
    """Draw values as a row of blocks, lowest to highest; empty where there are fewer than two.

    Args:
        values: in order; those that are not finite are left out.
        width: most characters to use; longer series are sampled evenly.
        unicode: use block characters, else ASCII.
    """
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if len(finite) < 2:
        return ""
    if len(finite) > width:
        finite = [finite[round(index * (len(finite) - 1) / (width - 1))] for index in range(width)]
    low, high = min(finite), max(finite)
    blocks = _BLOCKS if unicode else _ASCII
    scale = (len(blocks) - 1) / (high - low) if high > low else 0.0
    return "".join(blocks[round((value - low) * scale)] for value in finite)


def bar(fraction: float, width: int, unicode: bool = True) -> str:
    """Draw a bar that is full at 1, `width` characters wide."""
    full, empty = ("━", "─") if unicode else ("#", "-")
    done = round(max(0.0, min(1.0, fraction)) * width)
    return full * done + empty * (width - done)

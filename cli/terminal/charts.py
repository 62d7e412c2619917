"""Small pictures in text: sparklines, bars, and numbers as people write them."""

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


def duration(secs: float) -> str:
    """Write seconds as people do: `0:42`, `1:02:03`."""
    whole = max(0, round(secs))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def short_number(value: float) -> str:
    """Write a large number with three figures: `93.1k`, `1.2M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def figure(value: float | None) -> str:
    """Write a measured value with four decimals; JSON's null is what a file says for nan."""
    return "nan" if value is None else f"{value:.4f}"


def count(number: float, noun: str) -> str:
    """Write `1 epoch`, `8 epochs`."""
    return f"{number:g} {noun}" if number == 1 else f"{number:,g} {noun}s" if number < 1e5 else f"{number:,.0f} {noun}s"

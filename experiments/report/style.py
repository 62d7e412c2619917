"""Colours and numbers, the same on pages, in figures and in tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from os.path import commonprefix
from typing import Any

# Okabe and Ito's palette for all kinds of colour vision (2008), its light colours darkened until lines and marks stand
# out from white by 3 to 1; the dark theme has its counterparts. Beyond seven entries lines are dashed as well, which
# tells 35 of them apart.
LIGHT = ("#0072B2", "#D55E00", "#00875F", "#B4578A", "#9A6B00", "#3A8FBF", "#555555")
DARK = ("#5AB0EE", "#F58742", "#34C79A", "#E79BC5", "#EBB13C", "#9BD6F7", "#C4C4C4")
DASHES = ("", "6 3", "2 3", "10 3 2 3", "1 2")
FEW = 6  # names in a sentence, beyond which nobody reads on
INK, QUIET = "#1b1f24", "#59636e"  # of figures


def num_decimals(half_width: float | None, value: float) -> int:
    """Return how many decimals a value gets: two significant figures of its uncertainty, at most 6 decimals."""
    scale = abs(half_width) if half_width and math.isfinite(half_width) else abs(value) / 1000
    if not scale or not math.isfinite(scale):
        return 4
    return min(6, max(0, 1 - math.floor(math.log10(scale))))


def number(value: Any, digits: int = 4, missing: str = "") -> str:
    """Write a measured value with so many significant digits; whole numbers below a million are written out."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return missing
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e6):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.0f}"
    return f"{value:.{digits}g}"


def is_number(value: Any) -> bool:
    """Return True for a number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def cell(value: Any, missing: str = "") -> str:
    """Write a value of any kind: numbers as `number` does, the rest as text."""
    if value is None:
        return missing
    return number(value) if is_number(value) else str(value)


def decimal(value: float | None, decimals: int, sign: bool = False) -> str:
    """Write a value with so many decimals, an explicit sign if wanted; very large and very small ones as powers."""
    if value is None:
        return ""
    if value and (abs(value) >= 1e6 or abs(value) < 10.0 ** (-decimals - 2)):
        return f"{value:{'+' if sign else ''}.3g}"
    text = f"{value:{'+' if sign else ''}.{decimals}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def large(value: float | None, least: float = 10_000, digits: int = 4) -> str:
    """Write a number with three figures: `93.1k`, `1.2M`; what is below `least` is written out, with so many digits."""
    if value is None:
        return ""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(size, least):
            return f"{value / size:.3g}{letter}"
    return f"{value:.{digits}g}"


def score(value: float | None) -> str:
    """Write a measured value with four decimals; JSON's null is what a file says for nan."""
    return "nan" if value is None else f"{value:.4f}"


def duration(secs: float) -> str:
    """Write seconds as people do: `0:42`, `1:02:03`."""
    whole = max(0, round(secs))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def seconds(secs: float, decimals: int = 1) -> str:
    """Write less than a minute as `4.2 s`, more as a duration."""
    return f"{secs:.{decimals}f} s" if secs < 60 else duration(secs)


def significant(value: float, digits: int = 3) -> str:
    """Write a value with so many significant digits, without trailing zeros."""
    return f"{value:.{digits}g}"


def p_text(p: float, name: str = "p") -> str:
    """Write a p-value as papers do: `p = .33`, `p = .004`, `p < .001`."""
    if p < 0.001:
        return f"{name} < .001"
    if p >= 0.9995:
        return f"{name} = 1"
    digits = 2 if 0.1 <= p < 0.995 else 3
    return f"{name} = {p:.{digits}f}".replace(" 0.", " .")


def p_value(p: float | None) -> str:
    """Write a p-value as papers do, without its name: `.33`, `.004`, `<.001`."""
    return "" if p is None else p_text(p).removeprefix("p ").removeprefix("= ").replace("< ", "<")


def listing(items: Sequence[str]) -> str:
    """Write `a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def entries(names: Sequence[str]) -> str:
    """Write the names of a few entries, and how many there are of more than a sentence can hold."""
    return listing(names) if len(names) <= FEW else f"{len(names)} entries"


def many(count: float, noun: str, plural: str | None = None) -> str:
    """Write `1 run`, `2 runs`, `2.5 epochs`."""
    number = f"{count:,g}" if count < 1e5 else f"{count:,.0f}"
    return f"{number} {noun if count == 1 else plural or noun + 's'}"


def shortened(text: str, width: int) -> str:
    """Cut the middle out of a text that is longer than `width`: names differ at their ends."""
    if len(text) <= width:
        return text
    left = (width - 1) // 2
    return f"{text[:left]}…{text[len(text) - (width - 1 - left) :]}"


def shortened_apart(texts: Sequence[str], width: int) -> list[str]:
    """Cut texts as `shortened` does, but so that those that differ still do: where only their middles differ, to these.

    Where that cannot be had in `width`, they are as much longer as it takes.
    """
    head, tail = (len(commonprefix(each)) for each in (texts, [text[::-1] for text in texts]))  # noqa: RUF071
    middles = [text if len(text) <= width else f"…{text[max(0, head - 1) : len(text) - tail]}…" for text in texts]
    number = len(set(texts))
    for room in range(width, max(map(len, texts), default=0)):
        for candidates in (texts, middles):
            cut = [shortened(text, room) for text in candidates]
            if len(set(cut)) == number:
                return cut
    return list(texts)

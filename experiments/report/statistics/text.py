"""Numbers as the sentences of a comparison write them."""

from __future__ import annotations


def number_text(value: float, digits: int = 3) -> str:
    """Return `value` with so many significant digits, and without trailing zeros."""
    return f"{value:.{digits}g}"


def p_text(p: float, name: str = "p") -> str:
    """Return `p` as papers write it: `p = .33`, `p = .004`, `p < .001`."""
    if p < 0.001:
        return f"{name} < .001"
    if p >= 0.9995:
        return f"{name} = 1"
    digits = 2 if 0.1 <= p < 0.995 else 3
    return f"{name} = {p:.{digits}f}".replace(" 0.", " .")


def count_text(count: int, noun: str) -> str:
    """Return `1 seed`, `2 seeds`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

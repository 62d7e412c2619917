"""Checks of arguments that several models share: each returns (argument, message) pairs, empty where all is well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Problems = list[tuple[str, str]]


def check_images(args: Mapping[str, Any]) -> Problems:
    """Refuse examples that are no images."""
    input_shape = args.get("input_shape")
    if input_shape is not None and len(input_shape) != 3:
        return [("input_shape", "expected images: [channels, height, width]")]
    return []


def check_depth(offset: int, examples: str) -> Callable[[Mapping[str, Any]], Problems]:
    """Return the check of a residual network: n blocks of two layers in each of three stages, and `offset` more."""

    def check(args: Mapping[str, Any]) -> Problems:
        depth = args.get("depth", 6 + offset)
        is_wrong = (depth - offset) % 6 or depth < 6 + offset
        return [("depth", f"expected 6 n + {offset}: {examples}, …")] * bool(is_wrong) + check_images(args)

    return check

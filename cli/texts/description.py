"""A component in words, as `optrun describe` prints it."""

from __future__ import annotations

import re
from typing import Any

from ..terminal.console import filled
from ..terminal.screen import width
from ..terminal.streams import results
from .catalogue import body_of
from .optimizer_text import comparison_lines, state_lines


def description_lines(described: dict[str, Any]) -> list[str]:
    """Return a component in full: what it does, its arguments, YAML to paste."""
    title = f"{described['kind']}/{described['name']}"
    others = {name: each for name, each in described.get("flavors", {}).items() if name != described["flavor"]}
    if not others:
        title += f", flavor {described['flavor']}" if "flavor" in described else ""
        lines = [title, "", *_body(described["text"])]
    else:
        lines = [title, "", f"flavor {described['flavor']}, which the name alone means", "", *_body(described["text"])]
        for name, other in others.items():
            lines += [f"flavor {name}", "", *_body(other["text"])]
    lines += _beside(described)
    if described["arguments"]:
        lines.append(f"Arguments of {described['flavor']}" if others else "Arguments")
        for argument in described["arguments"]:
            lines += _argument(argument)
        lines.append("")
    for key, value in {"source": described["source"], **described["facts"]}.items():
        name = key.replace("_", " ")
        lines += _filled(f"{name:<14} {value}", 15) if value != "" else []
    yaml = described["yaml"].splitlines()
    yaml += [f"# or optimizer: {{name: {described['name']}, flavor: {name}}}" for name in others]
    return [*lines, "", "YAML", *(f"  {line}" for line in yaml)]


def _body(text: str) -> list[str]:
    """Return what a docstring says before its sections."""
    return [line for block in body_of(text).split("\n\n") for line in (*_paragraph(block), "")]


def _beside(described: dict[str, Any]) -> list[str]:
    """Return what is said of optimizers only."""
    if "flavors" in described:
        return [*comparison_lines(described), ""]
    return [*state_lines(described), ""] if "state" in described else []


def _paragraph(block: str) -> list[str]:
    """Fill a paragraph of prose; leave formulas, which are indented, as they are, but for remarks far off the edge."""
    if block.startswith(" "):
        lines = [f"  {line}".rstrip() for line in block.splitlines()]
        return [line if len(line) <= width(results()) else re.sub(r"(?<=\S) {3,}", "   ", line) for line in lines]
    return _filled(f"  {' '.join(block.split())}", 2)


def _argument(argument: dict[str, Any]) -> list[str]:
    default = "required" if argument["required"] else f"default {argument['default_yaml']}"
    gap = " " * max(2, 16 - len(argument["name"]))
    head = _filled(f"  {argument['name']}{gap}{argument['type']}; {default}", 18)
    return head + (_filled(" " * 18 + argument["meaning"], 18) if argument["meaning"] else [])


def _filled(text: str, indent: int) -> list[str]:
    return filled(text, indent=indent, break_on_hyphens=True)

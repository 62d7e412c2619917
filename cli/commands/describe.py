"""`optrun describe`: one component in full."""

from __future__ import annotations

import textwrap
from typing import Any

import click

from .. import command as shared

_INDENT = " " * 10


@shared.command(
    "describe",
    section="Configure",
    examples="""
    optrun describe optimizer/adam
    optrun describe cosine
    optrun describe ./my_parts.py:MyNet  # your own code
    optrun describe model/resnet --json
    """,
)
@click.argument("component", metavar="KIND/NAME")
@shared.json_option
def command(component: str, as_json: bool) -> None:
    """Describe a component: what it does, arguments, YAML.

    NAME alone does where only one kind has it; ./file.py:NAME is your own.
    """
    from ..catalogue import arguments, find, paste_ready
    from ..console import result, result_json

    found = find(component)
    facts = {key: value for key, value in found.facts.items() if isinstance(value, int | float | str)}
    described = {
        "kind": found.kind,
        "name": found.name,
        "text": found.doc,
        "arguments": arguments(found),
        "source": found.source,
        "facts": facts,
        "yaml": paste_ready(found),
    }
    if as_json:
        result_json("optrun/describe@1", **described)
    else:
        result(_lines(described))


def _lines(described: dict[str, Any]) -> list[str]:
    from ..catalogue import body_of

    lines = [f"{described['kind']}/{described['name']}", ""]
    for block in body_of(described["text"]).split("\n\n"):
        lines += [*_paragraph(block), ""]
    if described["arguments"]:
        lines.append("Arguments")
        for argument in described["arguments"]:
            lines += _argument(argument)
        lines.append("")
    for key, value in {"source": described["source"], **described["facts"]}.items():
        name = key.replace("_", " ")
        lines += _wrap(f"{name:<14} {value}", " " * 15) if value != "" else []
    return [*lines, "", "YAML", *(f"  {line}" for line in described["yaml"].splitlines())]


def _paragraph(block: str) -> list[str]:
    """Fill a paragraph of prose; leave formulas, which are indented, as they are."""
    if block.startswith(" "):
        return [f"  {line}".rstrip() for line in block.splitlines()]
    return _wrap(f"  {' '.join(block.split())}", "  ")


def _argument(argument: dict[str, Any]) -> list[str]:
    default = "required" if argument["required"] else f"default {argument['default_yaml']}"
    head = _wrap(f"  {argument['name']:<15} {argument['type']}; {default}", " " * 18)
    return head + (_wrap(" " * 18 + argument["meaning"], " " * 18) if argument["meaning"] else [])


def _wrap(text: str, indent: str) -> list[str]:
    import sys

    from ..console import width

    return textwrap.wrap(
        text, width(sys.stdout), subsequent_indent=indent, break_long_words=False, drop_whitespace=True
    )

"""`optrun describe`: one component in full."""

from __future__ import annotations

import textwrap
from typing import Any

import click

from .. import command as shared


@shared.command(
    "describe",
    section="Configure",
    examples="""
    optrun describe optimizer/adam
    optrun describe cosine
    optrun describe model/resnet --json
    """,
)
@click.argument("component", metavar="KIND/NAME")
@shared.json_option
def command(component: str, as_json: bool) -> None:
    """Describe a component: formula, arguments with ranges and defaults, source, YAML."""
    from ..catalogue import arguments, find, formula_and_text, paste_ready
    from ..console import result, result_json

    found = find(component)
    listed, yaml = arguments(found), paste_ready(found)
    facts = {key: value for key, value in found.facts.items() if not callable(value)}
    if as_json:
        result_json(
            "optrun/describe@1",
            kind=found.kind,
            name=found.name,
            text=found.doc,
            arguments=listed,
            source=found.source,
            facts=facts,
            yaml=yaml,
        )
        return
    result(f"{found.kind}/{found.name}")
    result()
    for line in formula_and_text(found):
        result(f"  {line}".rstrip())
    if listed:
        result()
        result("Arguments")
        for argument in listed:
            for line in _argument_lines(argument):
                result(line)
    for line in textwrap.wrap(found.source, 80, initial_indent="Source    ", subsequent_indent=" " * 10):
        result()
        result(line)
    for key, value in facts.items():
        result(f"{key:<9} {value}")
    result()
    result("YAML")
    result(f"  {yaml}")


def _argument_lines(argument: dict[str, Any]) -> list[str]:
    default = "required" if argument["required"] else f"default {_text(argument['default'])}"
    first = f"  {argument['name']:<14}{argument['type']}; {default}"
    return [first, *textwrap.wrap(argument["meaning"], 80, initial_indent=" " * 16, subsequent_indent=" " * 16)]


def _text(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

"""`optrun describe`: one component in full."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import click

from .. import command as shared

_INDENT = " " * 10


@shared.command(
    "describe",
    section="Configure",
    examples="""
    optrun describe optimizer/rmsprop
    optrun describe optimizer/rmsprop --flavor tf1
    optrun describe cosine
    optrun describe ./my_parts.py:MyNet  # your own code
    optrun describe model/resnet --json
    """,
)
@click.argument("component", metavar="KIND/NAME")
@click.option("--flavor", metavar="NAME", help="One of several rules that share the name, alone.")
@shared.json_option
def command(component: str, flavor: str | None, as_json: bool) -> None:
    """Describe a component: what it does, arguments, YAML.

    NAME alone does where only one kind has it; ./file.py:NAME is your own. Of an optimizer, it shows the state as well,
    and where several rules share a name, how far they part.
    """
    from ..terminal.console import result, result_json
    from ..texts.catalogue import arguments, find, paste_ready

    found = find(component).of_flavor(flavor)
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
    if found.flavor:
        described["flavor"] = found.flavor
    if found.kind == "optimizer":
        from ..texts.optimizer_text import facts_of

        described |= facts_of(found, alone=flavor is not None)
    if as_json:
        result_json("optrun/describe@1", **described)
    else:
        result(_lines(described))


def _lines(described: dict[str, Any]) -> list[str]:
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
        lines += _wrap(f"{name:<14} {value}", " " * 15) if value != "" else []
    yaml = described["yaml"].splitlines()
    yaml += [f"# or optimizer: {{name: {described['name']}, flavor: {name}}}" for name in others]
    return [*lines, "", "YAML", *(f"  {line}" for line in yaml)]


def _body(text: str) -> list[str]:
    """Return what a docstring says before its sections."""
    from ..texts.catalogue import body_of

    return [line for block in body_of(text).split("\n\n") for line in (*_paragraph(block), "")]


def _beside(described: dict[str, Any]) -> list[str]:
    """Return what is said of optimizers only."""
    from ..texts.optimizer_text import comparison_lines, state_lines

    if "flavors" in described:
        return [*comparison_lines(described), ""]
    return [*state_lines(described), ""] if "state" in described else []


def _paragraph(block: str) -> list[str]:
    """Fill a paragraph of prose; leave formulas, which are indented, as they are, but for remarks far off the edge."""
    import sys

    from ..terminal.console import width

    if block.startswith(" "):
        lines = [f"  {line}".rstrip() for line in block.splitlines()]
        return [line if len(line) <= width(sys.stdout) else re.sub(r"(?<=\S) {3,}", "   ", line) for line in lines]
    return _wrap(f"  {' '.join(block.split())}", "  ")


def _argument(argument: dict[str, Any]) -> list[str]:
    default = "required" if argument["required"] else f"default {argument['default_yaml']}"
    gap = " " * max(2, 16 - len(argument["name"]))
    head = _wrap(f"  {argument['name']}{gap}{argument['type']}; {default}", " " * 18)
    return head + (_wrap(" " * 18 + argument["meaning"], " " * 18) if argument["meaning"] else [])


def _wrap(text: str, indent: str) -> list[str]:
    import sys

    from ..terminal.console import width

    return textwrap.wrap(
        text, width(sys.stdout), subsequent_indent=indent, break_long_words=False, drop_whitespace=True
    )

"""`optrun describe`: one component in full."""

from __future__ import annotations

import click

from .. import command as shared
from ..terminal.console import result, result_json


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
@shared.asks_before_code
@shared.json_option
def command(component: str, flavor: str | None, as_json: bool) -> None:
    """Describe a component: what it does, arguments, YAML.

    NAME alone does where only one kind has it; ./file.py:NAME is your own. Of an optimizer, it shows the state as well,
    and where several rules share a name, how far they part.
    """
    from ..texts.catalogue import arguments, find, paste_ready
    from ..texts.description import description_lines
    from ..texts.optimizer_text import facts_of

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
        described |= facts_of(found, alone=flavor is not None)
    if as_json:
        result_json("optrun/describe@1", **described)
    else:
        result(description_lines(described))

"""`optrun list`: what a configuration can name."""

from __future__ import annotations

import click

from .. import command as shared
from ..terminal.console import cut, result, result_json
from ..terminal.screen import columns
from ..terminal.streams import results


@shared.command(
    "list",
    section="Configure",
    examples="""
    optrun list  # all kinds
    optrun list optimizers
    optrun list ./my_parts.py  # your own code
    optrun list presets --json
    """,
)
@click.argument("kind", required=False)
@shared.asks_before_code
@shared.json_option
def command(kind: str | None, as_json: bool) -> None:
    """List components and presets.

    KIND is one of the kinds, singular or plural, or a file of your own.
    """
    from ..texts.catalogue import entries

    found = entries(kind)
    if as_json:
        result_json("optrun/list@1", kinds=found)
        return
    longest = max(len(entry["name"]) for listed in found.values() for entry in listed)
    room, lines = max(columns(results()) - longest - 4, 20), []
    for name, listed in found.items():
        lines += [f"{name}:"] if len(found) > 1 else []
        lines += [f"  {entry['name']:<{longest}}  {cut(entry['summary'], room)}".rstrip() for entry in listed]
    result(lines)

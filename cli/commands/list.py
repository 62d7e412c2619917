"""`optrun list`: what a configuration can name."""

from __future__ import annotations

import click

from .. import command as shared


@shared.command(
    "list",
    section="Configure",
    examples="""
    optrun list                                    all kinds
    optrun list optimizers
    optrun list presets --json
    """,
)
@click.argument("kind", required=False)
@shared.json_option
def command(kind: str | None, as_json: bool) -> None:
    """List components and presets; KIND is one of the kinds, singular or plural."""
    from ..console import result, result_json
    from ..catalogue import entries, kinds

    chosen = kinds(kind)
    found = {name: entries(name) for name in chosen}
    if as_json:
        result_json("optrun/list@1", kinds=found)
        return
    width = max(len(entry["name"]) for listed in found.values() for entry in listed)
    for name, listed in found.items():
        if len(chosen) > 1:
            result(f"{name}:")
        for entry in listed:
            result(f"  {entry['name']:<{width}}  {_short(entry['summary'], 76 - width)}".rstrip())


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"

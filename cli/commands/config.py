"""`optrun config`: the configuration as it will be used."""

from __future__ import annotations

import click

from .. import command as shared
from ..terminal.console import result, result_json


@shared.command(
    "config",
    section="Configure",
    examples="""
    optrun config mom  # every default filled in
    optrun config mom optimizer.lr=0.2 --origins  # and where it comes from
    optrun config mom > my.yaml  # a file to start from
    """,
)
@shared.target_argument("TARGET [KEY=VALUE]...")
@click.option("--origins", is_flag=True, help="Show where each value comes from.")
@shared.asks_before_code
@shared.json_option
def command(target: str, overrides: list[str], origins: bool, as_json: bool) -> None:
    """Print the configuration of TARGET, everything resolved.

    TARGET is a YAML file, the name of one in ./configs, or a preset.
    """
    from ...experiments.config import origins_text
    from ...experiments.training.load import load_config

    config = load_config(target, overrides)
    if as_json:
        places = {key: origin.place for key, origin in config.origins.items()}
        result_json("optrun/config@1", config=config.to_dict(), origins=places)
    else:
        result((origins_text(config) if origins else config.to_yaml()).rstrip())

"""`optrun lr-find`: a learning-rate range test, and the rates that it suggests."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from ...experiments.errors import ExitCode
from .. import command as shared
from ..terminal.console import result, result_json, say


@shared.command(
    "lr-find",
    section="Run",
    examples="""
    optrun lr-find mom
    optrun lr-find adam --from 1e-6 --to 1 --steps 200 -o lr.svg
    optrun lr-find mom --beta 0.9  # less smoothing follows the loss closer
    optrun lr-find mom --json | jq '.suggestions.steepest'
    """,
)
@shared.target_argument("TARGET [KEY=VALUE]...")
@click.option("--from", "low", type=float, default=1e-7, show_default=True, help="The first rate.")
@click.option("--to", "high", type=float, default=10.0, show_default=True, help="The last rate.")
@click.option("--steps", type=int, default=100, show_default=True, help="How many rates are tried, a step each.")
@click.option("--beta", type=float, default=0.98, show_default=True, help="How much of the past smoothing keeps.")
@click.option("-o", "--output", metavar="FILE", help="Write a figure: .svg or .png.")
@shared.asks_before_code
@shared.json_option
@shared.quiet_option
def command(
    target: str,
    overrides: list[str],
    steps: int,
    output: str | None,
    as_json: bool,
    quiet: bool,
    **options: Any,  # low, high, beta: as `find_lr` takes them
) -> int:
    """Raise the rate step by step until the loss blows up.

    TARGET is as in `optrun train`. No run is made, and nothing is kept. Exit
    code 1: no rate among those that were tried lowered the loss.
    """
    from ...experiments.report.figures.figure_file import check_suffix
    from ...experiments.report.figures.lr_range import range_figure
    from ...experiments.studies.lr_finder import find_lr
    from ...experiments.training.load import load_config
    from ..terminal.logs import show_log
    from ..texts import lr_range_text as text

    if output is not None:
        check_suffix(output)
    show_log()
    config = load_config(target, overrides)
    found = find_lr(config, num_steps=steps, **options)
    if output is not None:
        range_figure(text.range_curve(found), output)
    if as_json:
        result_json("optrun/lr-find@1", **dataclasses.asdict(found), caveat=text.CAVEAT, file=output)
    else:
        result(text.suggestion_lines(found) if quiet else text.range_lines(config.name, found))
    if not quiet:
        wrote = [f"wrote {output}"] if output is not None else []
        for line in [*wrote, *text.next_lines(target, overrides, found)]:
            say(line)
    return ExitCode.DONE if text.suggestions(found) else ExitCode.NO

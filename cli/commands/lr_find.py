"""`optrun lr-find`: a learning-rate range test, and the rates that it suggests."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from .. import command as shared

if TYPE_CHECKING:
    from ...experiments.studies.lr_finder import LrRange

_CAVEAT = (
    "These few steps start at the initial weights, with one seed, and without the schedule: the rate that trains best "
    "may be several times higher or lower. Compare rates by what whole runs come to before you rely on one."
)


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
    from ...experiments.errors import UsageError
    from ...experiments.report.figures.figure_file import SUFFIXES
    from ...experiments.report.figures.lr_range import range_figure
    from ...experiments.studies.lr_finder import find_lr
    from ...experiments.training.load import load_config
    from ..terminal.console import result, result_json, say
    from ..terminal.logs import show_log

    if output is not None and not output.endswith(SUFFIXES):
        raise UsageError(f"{output}: a figure ends in {' or '.join(SUFFIXES)}")
    show_log()
    config = load_config(target, overrides)
    found = find_lr(config, num_steps=steps, **options)
    if output is not None:
        range_figure(_curve(found), output)
    if as_json:
        result_json("optrun/lr-find@1", **dataclasses.asdict(found), caveat=_CAVEAT, file=output)
    else:
        result(_rows(found) if quiet else _lines(config, found))
    suggested = [rate for rate in found.suggestions.values() if rate is not None]
    if not quiet:
        for line in _next(target, overrides, found, suggested, output):
            say(line)
    return 0 if suggested else 1


def _curve(found: LrRange) -> Any:
    from ...experiments.report.figures.lr_range import RangeCurve

    suggestions = {rule: rate for rule, rate in found.suggestions.items() if rate is not None}
    return RangeCurve(found.rates, found.losses, found.smoothed, suggestions)


def _lines(config: Any, found: LrRange) -> list[str]:
    import sys

    from ...experiments.report.figures.lr_range import range_text
    from ..terminal.charts import count
    from ..terminal.screen import width
    from ..terminal.streams import is_utf8

    tried = f"{count(len(found.rates), 'step')} of {found.batch_size} examples"
    groups = f", {found.num_groups} groups in their ratios" if found.num_groups > 1 else ""
    title = f"{config.name}: smoothed loss after {tried} at growing rates{groups}"
    picture = range_text(_curve(found), width=width(sys.stdout), unicode=is_utf8(sys.stdout))
    return [*_filled(title), *picture, *_rows(found), *_filled(_ending(found)), *_filled(_CAVEAT)]


def _rows(found: LrRange) -> list[str]:
    """Return a line for each rule: its mark in the picture, its name, its rate, what it goes by."""
    import sys

    from ...experiments.report.figures.lr_range import range_marks
    from ...experiments.studies.lr_finder import RULES
    from ..terminal.console import table
    from ..terminal.streams import is_utf8

    marks = iter(range_marks(is_utf8(sys.stdout)))
    rows = []
    for rule, rate in found.suggestions.items():
        rows.append((next(marks) if rate is not None else " ", rule, f"{rate:.2g}" if rate else "none", RULES[rule]))
    return [f"  {line}" for line in table(rows)]


def _ending(found: LrRange) -> str:
    at = f"at {found.end_lr:.3g}"
    return {
        "range": f"The loss had not blown up {at}, the last rate: --to can be higher.",
        "blow-up": f"It ended {at}, where the smoothed loss was above 4 times its best.",
        "infinite": f"It ended {at}: after that step loss or gradients were not finite.",
    }[found.end]


def _filled(text: str) -> list[str]:
    import sys
    import textwrap

    from ..terminal.screen import width

    return textwrap.wrap(text, width(sys.stdout), break_on_hyphens=False)


def _next(target: str, overrides: list[str], found: LrRange, suggested: list[float], output: str | None) -> list[str]:
    import shlex

    lines = [f"wrote {output}"] if output is not None else []
    if not suggested:
        return [*lines, f"no suggestion: the loss did not fall; begin lower than --from {found.rates[0]:g}"]
    others = [override for override in overrides if not override.startswith("optimizer.lr=")]
    spread = f"optimizer.lr=log:{min(suggested) / 3:.1g}:{max(suggested) * 3:.1g}"
    return [*lines, f"next: optrun sweep {shlex.join([target, spread, *others])}"]

"""`optrun plot schedule`: the learning rate of a whole run, before it is run; a part of `optrun plot`."""

from __future__ import annotations

import click

from ...experiments.errors import UsageError
from .. import command as shared
from ..terminal.console import result, result_json, say


@shared.command(
    "plot schedule",
    section="Read",
    examples="""
    optrun plot schedule mom
    optrun plot schedule mom schedule='{name: wsd, warmup: 5%, cooldown: 20%}'
    optrun plot schedule mom schedule=one_cycle train.epochs=90 -o lr.svg
    optrun plot schedule a.yaml b.yaml --log  # several in one picture
    optrun plot schedule mom --json | jq '.schedules[0].boundaries'
    """,
)
@shared.targets_argument("TARGET... [KEY=VALUE]...")
@click.option("--steps", type=click.IntRange(min=1), help="How far to draw; by default the whole run.")
@click.option("--log", is_flag=True, help="A logarithmic axis of rates.")
@click.option("-o", "--output", metavar="FILE", help="Write a figure: .svg or .png.")
@shared.asks_before_code
@shared.json_option
def command(
    targets: list[str], overrides: list[str], steps: int | None, log: bool, output: str | None, as_json: bool
) -> None:
    """Draw the learning rate over the whole run of TARGET, and list its steps.

    Nothing is trained: a boundary is the first step at a new rule, with the
    rates before it and at it. TARGET is as in `optrun train`.
    """
    if not targets:
        raise shared.no_target()

    from ...experiments.report.figures.figure_file import check_suffix
    from ..texts import schedule_text as text

    if output is not None:
        check_suffix(output)
    curves = [text.rate_curve(target, overrides, steps) for target in targets]
    if len({curve.is_rate for curve in curves}) > 1:
        raise UsageError("some of these targets have a rate and some only multiples of one: draw them one by one")
    for curve in curves:
        for metric in curve.watches:
            say(f"{curve.label}: goes by {metric}; drawn as if that never stopped improving")
    if output is not None:
        text.write_figure(curves, log, output)
    if as_json:
        result_json("optrun/plot_schedule@1", schedules=[text.curve_document(curve) for curve in curves], file=output)
    else:
        result(output if output is not None else text.schedule_lines(curves, log))

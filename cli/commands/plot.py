"""`optrun plot`: learning curves, in the terminal or as a figure; `optrun plot schedule` draws what is to come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from ...experiments.errors import UsageError
from .. import command as shared
from .. import completion
from ..terminal.console import result, result_json, say
from ..terminal.screen import width
from ..terminal.streams import is_utf8, results

_AXES = {"step": "step", "epoch": "epoch", "gradients": "gradient_evaluations", "time": "secs", "examples": "examples"}


class PlotCommand(shared.Command):
    """Draws runs, unless its first argument is `schedule`; a run of that name is given as a path."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args[:1] != ["schedule"]:
            return super().make_context(info_name, args, parent, **extra)
        from ._plot_schedule import command as schedule

        return schedule.make_context(f"{info_name} schedule", args[1:], parent, **extra)


def _offers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    first = [CompletionItem("schedule")] if not ctx.params.get("runs") and "schedule".startswith(incomplete) else []
    return [*first, *completion.runs_and_groups(ctx, param, incomplete)]


@shared.command(
    "plot",
    section="Read",
    examples="""
    optrun plot mom-0001  # in the terminal
    optrun plot @2 @1 --y loss --log --smooth 0.6
    optrun plot mom-0001 adam-0001 --x epoch -o curves.svg
    optrun plot compare-sgd-mom-1a2b3c  # medians over the seeds
    optrun plot schedule mom  # the rate of a run to come
    """,
    cls=PlotCommand,
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=_offers)
@click.option("--y", "metric", help="The metric, such as loss or val/accuracy; by default the one a run is judged by.")
@click.option("--x", "axis", type=click.Choice(list(_AXES)), default="step", show_default=True, help="The other axis.")
@click.option("--log", is_flag=True, help="A logarithmic y axis.")
@click.option(
    "--smooth", type=click.FloatRange(0, 1, max_open=True), default=0.0, help="Weight of the past, as in 0.6."
)
@click.option("-o", "--output", metavar="FILE", help="Write a figure: .svg or .png.")
@shared.json_option
def command(
    runs: tuple[str, ...],
    metric: str | None,
    axis: str,
    log: bool,
    smooth: float,
    output: str | None,
    as_json: bool,
) -> None:
    """Draw the learning curves of runs, or of one comparison.

    RUN is a name, the beginning of one, a path, or @1 for the latest.

    `optrun plot schedule TARGET` draws a learning-rate schedule instead.
    """
    from ...experiments.report.figures.curves_figure import curves_figure
    from ...experiments.report.figures.figure_file import COLUMN, PAGE, check_suffix
    from ...experiments.report.figures.terminal import curves_text
    from ...experiments.report.group import Group
    from ...experiments.report.learning_curves import group_bands, run_bands, smooth_bands
    from ...experiments.run_directory.lookup import find_run_or_group
    from ...experiments.run_directory.run import Run

    if output is not None:
        check_suffix(output)
    things = [find_run_or_group(name) for name in runs]
    is_group, x = any(isinstance(thing, Path) for thing in things), _AXES[axis]
    if is_group and len(things) > 1:
        raise UsageError("one comparison at a time, and no single runs beside it")
    if is_group:
        name, found = group_bands(Group(things[0]).labelled(), metric, trials="each")
    else:
        name, found = run_bands([Run(thing) for thing in things], metric)
    bands = [band for band in found.values() if band is not None]
    without = [label for label, band in found.items() if band is None]
    drawn = smooth_bands(bands, smooth) if smooth else bands
    if output is not None:
        wide = PAGE if not is_group and len(things) > 4 else COLUMN * 1.4
        lines = bands if is_group else list(found.values())
        curves_figure(lines, output, metric=name, x=x, log=log or None, smooth=smooth, width=wide)
    if as_json:
        lines = [{"label": band.label, "x": band.x[x].tolist(), "y": band.median.tolist()} for band in drawn]
        result_json("optrun/plot@1", metric=name, axis=axis, lines=lines, without=without, file=output)
    elif output is not None:
        result(output)
    else:
        unicode = is_utf8(results())
        result([name, *curves_text(drawn, x=x, width=width(results()), unicode=unicode, log=log)])
    if without:
        say(f"not drawn, since there are no rows of {name}: {', '.join(without)}")

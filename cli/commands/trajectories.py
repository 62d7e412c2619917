"""`optrun trajectories`: the trajectories of optimizers over a function of two numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ...experiments.errors import UsageError
from .. import command as shared
from ..terminal.console import result, result_json, say

if TYPE_CHECKING:
    from ...experiments.report.figures.surfaces import Scene
    from ...experiments.studies.trajectories import Race


@shared.command(
    "trajectories",
    section="Run",
    examples="""
    optrun trajectories beale -o beale.svg  # seven rules race
    optrun trajectories saddle sgd mom adam -o saddle.gif  # animated
    optrun trajectories beale adam adam adam-2:betas=[0.5,0.9]
    optrun trajectories rosenbrock adam --frames 4 -o strip.png
    optrun trajectories ./mine.py:Bowl mom nag --start -1 2
    """,
)
@shared.targets_argument("FUNCTION [OPTIMIZER]... [KEY=VALUE]...", required=True, shell_complete=None)
@click.option("--steps", type=click.IntRange(min=1), help="Length of the runs.  [default: the function's]")
@click.option("--start", type=float, nargs=2, metavar="X Y", help="Where they begin.  [default: the function's]")
@click.option("--view", type=float, nargs=4, metavar="X0 X1 Y0 Y1", help="The part of the plane that is drawn.")
@click.option(
    "-o", "--output", metavar="PATH", help="A picture (.png, .svg), an animation (.gif), or a folder/ of frames."
)
@click.option("--frames", type=click.IntRange(min=2), help="Moments: of an animation; side by side in a picture.")
@shared.asks_before_code
@shared.json_option
@shared.quiet_option
def command(
    targets: list[str],
    overrides: list[str],
    view: tuple[float, float, float, float] | None,
    output: str | None,
    frames: int | None,
    as_json: bool,
    quiet: bool,
    **options: Any,  # steps, start: as `race` takes them
) -> None:
    """Race optimizers over a function, and draw their ways.

    FUNCTION is beale, rosenbrock, quadratic, noisy_quadratic, saddle or
    monkey_saddle, or your own: ./file.py:NAME. NAME:KEY=VALUE changes an
    argument of one optimizer (adam:lr=0.1), KEY=VALUE a value of all.
    """
    if not targets:
        raise click.UsageError("over which function? Name one: optrun trajectories beale")
    if frames is not None and output is None:
        raise UsageError("--frames needs a place to draw them: -o strip.svg, -o race.gif or -o folder/")
    if view is not None and not (view[0] < view[1] and view[2] < view[3]):
        raise UsageError(f"--view {' '.join(map('{:g}'.format, view))}: expected left < right and bottom < top")
    draw = _drawing(output, frames) if output is not None else None

    from ...experiments.studies.trajectories import DEFAULT_RULES, race
    from ..terminal.logs import show_log
    from ..texts.race_text import race_document, race_table

    show_log()
    done = race(targets[0], targets[1:] or DEFAULT_RULES, overrides, **options)
    files = draw(_scene(done, view or done.view())) if draw is not None else []
    if as_json:
        result_json("optrun/trajectories@1", **race_document(done, view), files=files)
    else:
        result(race_table(done))
    for file in [] if quiet else files if len(files) < 4 else [f"{output} ({len(files)} frames)"]:
        say(f"wrote {file}")


def _drawing(output: str, frames: int | None) -> Callable[[Scene], list[str]]:
    """Return what draws a scene to `output` and names the files, after a look at whether it can."""
    from ...experiments.report.figures import animations, surfaces

    number = {} if frames is None else {"frames": frames}
    kind = surfaces.check_output(output)
    if kind == "frames":
        return lambda scene: [str(file) for file in animations.frame_files(scene, output, **number)]
    draw = animations.animation if kind == "animation" else surfaces.surface_figure
    return lambda scene: [str(draw(scene, output, **number))]


def _scene(done: Race, view: tuple[float, float, float, float]) -> Scene:
    from ...experiments.report.figures.surfaces import Scene, Track

    steps = max(each.steps for each in done.trajectories)
    tracks = [Track(each.label, each.points, each.outcome == "diverged") for each in done.trajectories]
    return Scene(*done.surface(view), minima=done.minima, tracks=tracks, title=f"{done.function}, {steps} steps")

"""`optrun resume`: go on where a run stopped."""

from __future__ import annotations

from typing import Any

import click

from .. import command as shared
from ..terminal.console import Output


@shared.command(
    "resume",
    section="Run",
    examples="""
    optrun resume mom-0001  # to the end, bit for bit as if never stopped
    optrun resume @1  # the latest run
    optrun resume mom-0001 train.epochs=40 --allow-change
    """,
)
@shared.run_argument
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@shared.allow_change_option
@shared.allow_code_option
@shared.profile_option
@shared.output_options
def command(run: str, overrides: tuple[str, ...], output: Output, **options: Any) -> int:
    """Go on with RUN from its latest checkpoint.

    RUN is a name, the beginning of one, a path, or @1 for the latest.
    """
    from ...experiments.training.train import resume
    from ..watching.watch import Watch

    watch = Watch("resume", output)
    return watch.follow(lambda: resume(run, overrides, **options, on_start=watch.start))

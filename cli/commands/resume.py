"""`optrun resume`: go on where a run stopped."""

from __future__ import annotations

import click

from .. import command as shared


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
@shared.json_option
@shared.quiet_option
@shared.verbose_option
def command(
    run: str,
    overrides: tuple[str, ...],
    allow_change: bool,
    allow_code: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Go on with RUN from its latest checkpoint.

    RUN is a name, the beginning of one, a path, or @1 for the latest.
    """
    from ...experiments.training.train import resume
    from ..terminal.console import show_log
    from ..watching.watch import Watch

    show_log(verbose)
    watch = Watch("resume", quiet, as_json)
    return watch.follow(
        lambda: resume(run, overrides, allow_change=allow_change, allow_code=allow_code, on_start=watch.start)
    )

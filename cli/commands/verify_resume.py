"""`optrun verify-resume`: does a run that is stopped and resumed give the same bits?"""

from __future__ import annotations

import dataclasses

import click

from ...experiments.errors import ExitCode
from .. import command as shared
from ..terminal.console import result, result_json


@shared.command(
    "verify-resume",
    section="Configure",
    examples="""
    optrun verify-resume mine.yaml
    optrun verify-resume mine.yaml --steps 40 --at 5,20  # stop after 5, after 20
    optrun verify-resume mine.yaml --steps 12 --every  # after each step
    optrun verify-resume mine.yaml --json | jq '.first.cause'
    """,
)
@shared.target_argument("TARGET [KEY=VALUE]...")
@click.option("--steps", type=int, help="How many steps.  [default: an epoch and two, at most 200]")
@click.option("--at", metavar="K,K,...", help="Stop after these.  [default: 1, middle, end of an epoch, last but one]")
@click.option("--every", is_flag=True, help="Stop after each step in turn.")
@shared.runs_own_code
@shared.json_option
def command(target: str, overrides: list[str], steps: int | None, at: str | None, every: bool, as_json: bool) -> int:
    """Prove that stopping and resuming TARGET changes no bit.

    Trains some steps in one go, then again with a stop after step K and a
    resume in a new process, for several K, your own code included. Compares
    weights, optimizer state, hooks, metric rows and what each step is made
    of, and names the first value that differs. Exit code 1: something does.
    """
    from ...experiments.studies.resume.check import verify_resume
    from ...experiments.training.load import load_config
    from ..terminal.logs import show_log
    from ..texts.resume_check_text import check_lines

    show_log()
    config = load_config(target, overrides)
    check = verify_resume(config, num_steps=steps, at=_points(at), every=every)
    if as_json:
        content = dataclasses.asdict(check)
        first = dataclasses.asdict(check.first) if check.first else None
        result_json("optrun/verify-resume@1", equal=check.is_equal, first=first, **content)
    else:
        result(check_lines(check))
    return ExitCode.DONE if check.is_equal else ExitCode.NO


def _points(at: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(point) for point in at.split(",")) if at is not None else ()
    except ValueError:
        raise click.UsageError(f"--at: expected steps such as 1,10,20, got '{at}'") from None

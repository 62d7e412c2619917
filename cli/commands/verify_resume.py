"""`optrun verify-resume`: does a run that is stopped and resumed give the same bits?"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from .. import command as shared

if TYPE_CHECKING:
    from ...experiments.studies.resume.check import ResumeCheck
    from ...experiments.studies.resume.trace import Difference

_NAMES = {"model": "weights", "optimizer": "optimizer state", "rng": "random states", "rows": "metric rows"}
_STAGES = {
    "repeated": "before it was stopped",
    "restored": "as it came from the checkpoint",
    "resumed": "after it was resumed",
}


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
@shared.json_option
def command(arguments: tuple[str, ...], steps: int | None, at: str | None, every: bool, as_json: bool) -> int:
    """Prove that stopping and resuming TARGET changes no bit.

    Trains some steps in one go, then again with a stop after step K and a
    resume in a new process, for several K, your own code included. Compares
    weights, optimizer state, hooks, metric rows and what each step is made
    of, and names the first value that differs. Exit code 1: something does.
    """
    target, overrides = shared.split_target(arguments, default=None)

    from ...experiments.studies.resume.check import verify_resume
    from ...experiments.training.load import load_config
    from ..terminal.console import result, result_json, show_log

    show_log()
    config = load_config(target, overrides)
    check = verify_resume(config, num_steps=steps, at=_points(at), every=every)
    if as_json:
        content = dataclasses.asdict(check)
        first = dataclasses.asdict(check.first) if check.first else None
        result_json("optrun/verify-resume@1", equal=check.is_equal, first=first, **content)
    else:
        result(_lines(check))
    return 0 if check.is_equal else 1


def _points(at: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(point) for point in at.split(",")) if at is not None else ()
    except ValueError:
        raise click.UsageError(f"--at: expected steps such as 1,10,20, got '{at}'") from None


def _lines(check: ResumeCheck) -> list[str]:
    from ..terminal.console import filled, table

    lines = [f"{check.name}: {check.num_steps} steps in one go, and in two processes"]
    differences = {each.save_point: each for each in check.differences}
    rows = []
    for point in check.save_points:
        found = differences.get(point)
        differs = f"differs at step {found.step}: {_place(found)}" if found else "equal"
        rows.append((f"stopped after {point}", differs))
    lines += [f"  {line}" for line in table(rows)]
    lines += _difference(check.first) if check.first else _digests(check)
    for note in check.notes:
        lines += filled(note, 2, "note: ")
    return lines


def _digests(check: ResumeCheck) -> list[str]:
    from ..terminal.console import table

    rows = [(_NAMES.get(section, section), digest[:16]) for section, digest in check.digests.items()]
    heading = f"SHA-256 after step {check.num_steps}, the same in all runs (--json has them in full)"
    return [heading, *(f"  {line}" for line in table(rows))]


def _difference(first: Difference) -> list[str]:
    from ..terminal.console import filled

    equal = f"equal at step {first.last_equal}" if first.last_equal is not None else "nothing before it compared"
    lines = [f"first: stopped after {first.save_point}, {_STAGES[first.stage]}, at step {first.step} ({equal})"]
    lines += filled(_place(first), 14, "  what        ")
    lines += filled(_value(first.expected), 14, "  in one go   ")
    lines += filled(_value(first.found), 14, "  in parts    ")
    lines += filled(first.cause, 14, "  often since ")
    if first.last_equal is not None and first.step - first.last_equal > 1:
        lines += filled("between the two steps anything may have come first: --every finds it", 2, "  ")
    return lines


def _place(found: Difference) -> str:
    index = f"[{', '.join(map(str, found.index))}]" if found.index else ""
    return f"{'/'.join(part for part in (found.section, found.name) if part)}{index}"


def _value(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)

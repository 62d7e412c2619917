"""`optrun plan`: what a run would do, before it is run."""

from __future__ import annotations

import dataclasses

import click

from .. import command as shared
from ..terminal.console import result, result_json


@shared.command(
    "plan",
    section="Configure",
    examples="""
    optrun plan mom  # steps, hooks, rates, duration
    optrun plan mom train.epochs=200 --no-probe  # takes no step
    optrun plan mom --json | jq '.duration.secs'
    """,
)
@shared.target_argument("TARGET [KEY=VALUE]...")
@click.option("--no-probe", is_flag=True, help="Take no step; leaves out duration and sizes.")
@shared.asks_before_code
@shared.json_option
def command(target: str, overrides: list[str], no_probe: bool, as_json: bool) -> None:
    """Print what a run of TARGET would do, without doing it.

    The parts of a step, the hooks and when they are called, the rates, the
    checkpoints, and about how long it takes: a few real steps are measured
    and thrown away. TARGET is as in `optrun train`; nothing is downloaded.
    """
    from ...experiments.studies.plan import plan
    from ...experiments.training.load import load_config
    from ..terminal.logs import show_log
    from ..texts.plan_text import plan_lines

    show_log()
    made = plan(load_config(target, overrides), measure=not no_probe)
    if as_json:
        content = dataclasses.asdict(made)
        listed = {name: [each._asdict() for each in getattr(made, name)] for name in ("parts", "selections", "rates")}
        initial = {"initial": made.initial.as_dict()} if made.initial else {}
        result_json("optrun/plan@1", **{**content, **listed, **initial})
    else:
        result(plan_lines(made))

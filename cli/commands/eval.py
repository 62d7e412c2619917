"""`optrun eval`: measure a checkpoint, or each one as it appears."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ...experiments.report.style import score
from .. import command as shared
from ..terminal.console import result, result_json


@shared.command(
    "eval",
    section="Run",
    examples="""
    optrun eval mom-0001  # the last checkpoint on the test split
    optrun eval mom-0001 --checkpoint best --split val
    optrun eval mom-0001 --weights ema --json
    optrun eval mom-0001 --watch  # beside the training, on the val split
    """,
)
@shared.run_argument
@click.option("--checkpoint", default="last", show_default=True, help="last, best, or a step.")
@click.option("--split", help="train, val or test.  [default: test; with --watch val]")
@click.option("--weights", metavar="NAME", help="raw, training, average or ema; by default as configured.")
@click.option("--watch", is_flag=True, help="Measure each new checkpoint until the run is over.")
@click.option(
    "--timeout", metavar="TIME", help="With --watch: wait so long for a new one, such as 10m, even if the run is over."
)
@click.option("--min-interval", metavar="TIME", help="With --watch: the least time between two, such as 30s.")
@shared.allow_code_option
@shared.allow_other_data_option
@shared.json_option
def command(
    run: str,
    checkpoint: str,
    split: str | None,
    watch: bool,
    timeout: str | None,
    min_interval: str | None,
    as_json: bool,
    **options: Any,  # weights, allow_code, allow_change: as `evaluate` takes them
) -> None:
    """Measure a checkpoint of RUN on one split.

    RUN is a name, the beginning of one, a path, or @1 for the latest. With --watch --json each line is a document.
    """
    from ...experiments.training.evaluate import evaluate, evaluate_each
    from ..terminal.logs import show_log

    show_log()
    if not watch:
        if timeout or min_interval:
            raise click.UsageError("--timeout and --min-interval belong to --watch")
        _show(evaluate(run, checkpoint=checkpoint, split=split or "test", **options), as_json, indent=2)
        return
    if checkpoint != "last":
        raise click.UsageError("--watch measures each new checkpoint: leave --checkpoint out")
    for measured in evaluate_each(
        run,
        split=split or "val",
        timeout_secs=None if timeout is None else _secs("--timeout", timeout),
        min_interval_secs=0.0 if min_interval is None else _secs("--min-interval", min_interval),
        **options,
    ):
        _show(measured, as_json, indent=None)


def _show(measured: Mapping[str, Any], as_json: bool, indent: int | None) -> None:
    if as_json:
        result_json("optrun/eval@1", indent=indent, **measured)
        return
    values = [f"{name} {score(value)}" for name, value in measured.items() if "/" in name]
    result(f"{measured['run']} at step {measured['step']}: {', '.join(values)}")


def _secs(option: str, text: str) -> float:
    """Return a time in seconds."""
    from ...experiments.config.lengths import Interval

    try:
        interval = Interval.parse(text)
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from error
    if interval.unit != "secs":
        raise click.UsageError(f"{option}: expected a time such as 30s or 10m, got '{text}'")
    return interval.amount

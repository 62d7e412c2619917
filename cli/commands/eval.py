"""`optrun eval`: measure a checkpoint, or each one as it appears."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from .. import command as shared


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
@click.option("--weights", type=click.Choice(["raw", "ema"]), help="Which weights; by default as configured.")
@click.option("--watch", is_flag=True, help="Measure each new checkpoint until the run is over.")
@click.option(
    "--timeout", metavar="TIME", help="With --watch: wait so long for a new one, such as 10m, even if the run is over."
)
@click.option("--min-interval", metavar="TIME", help="With --watch: the least time between two, such as 30s.")
@shared.allow_code_option
@shared.json_option
def command(
    run: str,
    checkpoint: str,
    split: str | None,
    weights: str | None,
    watch: bool,
    timeout: str | None,
    min_interval: str | None,
    allow_code: bool,
    as_json: bool,
) -> None:
    """Measure a checkpoint of RUN on one split.

    RUN is a name, the beginning of one, a path, or @1 for the latest. With --watch --json each line is a document.
    """
    from ...experiments.training.evaluate import evaluate, evaluate_each
    from ..terminal.console import result_json, show_log

    show_log()
    if not watch:
        if timeout or min_interval:
            raise click.UsageError("--timeout and --min-interval belong to --watch")
        measured = evaluate(run, checkpoint=checkpoint, split=split or "test", weights=weights, allow_code=allow_code)
        if as_json:
            result_json("optrun/eval@1", **measured)
        else:
            _say(measured)
        return
    if checkpoint != "last":
        raise click.UsageError("--watch measures each new checkpoint: leave --checkpoint out")
    for measured in evaluate_each(
        run,
        split=split or "val",
        weights=weights,
        allow_code=allow_code,
        timeout_secs=_secs("--timeout", timeout),
        min_interval_secs=_secs("--min-interval", min_interval) or 0.0,
    ):
        if as_json:
            result_json("optrun/eval@1", indent=None, **measured)
        else:
            _say(measured)


def _say(measured: Mapping[str, Any]) -> None:
    from ..terminal.charts import figure
    from ..terminal.console import result

    values = [f"{name} {figure(value)}" for name, value in measured.items() if "/" in name]
    result(f"{measured['run']} at step {measured['step']}: {', '.join(values)}")


def _secs(option: str, text: str | None) -> float | None:
    """Return a time in seconds."""
    from ...experiments.config.lengths import Interval

    if text is None:
        return None
    try:
        interval = Interval.parse(text)
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from error
    if interval.unit != "secs":
        raise click.UsageError(f"{option}: expected a time such as 30s or 10m, got '{text}'")
    return interval.amount

"""`optrun eval`: measure a checkpoint."""

from __future__ import annotations

import click

from .. import command as shared


@shared.command(
    "eval",
    section="Run",
    examples="""
    optrun eval mom-0001  # the last checkpoint on the test split
    optrun eval mom-0001 --checkpoint best --split val
    optrun eval mom-0001 --weights ema --json
    """,
)
@shared.run_argument
@click.option("--checkpoint", default="last", show_default=True, help="last, best, or a step.")
@click.option("--split", default="test", show_default=True, help="train, val or test.")
@click.option("--weights", type=click.Choice(["raw", "ema"]), help="Which weights; by default as configured.")
@shared.allow_code_option
@shared.json_option
def command(run: str, checkpoint: str, split: str, weights: str | None, allow_code: bool, as_json: bool) -> None:
    """Measure a checkpoint of RUN on one split.

    RUN is a name, the beginning of one, a path, or @1 for the latest.
    """
    from ...experiments import training
    from ..charts import figure
    from ..console import result, result_json, show_log

    show_log()
    measured = training.evaluate(run, checkpoint=checkpoint, split=split, weights=weights, allow_code=allow_code)
    if as_json:
        result_json("optrun/eval@1", **measured)
        return
    values = [f"{name} {figure(value)}" for name, value in measured.items() if "/" in name]
    result(f"{measured['run']} at step {measured['step']}: {', '.join(values)}")

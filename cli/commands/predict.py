"""`optrun predict`: what a trained model says of a split, or of the rows of a file."""

from __future__ import annotations

from typing import Any

import click

from ...experiments.system.places import shown
from .. import command as shared
from ..terminal.console import result, result_json


@shared.command(
    "predict",
    section="Read",
    examples="""
    optrun predict mom-0001 -o test.csv  # the test split
    optrun predict mom-0001 --split val -o val.parquet
    optrun predict prices-0001 new.csv -o prices.csv  # no target needed
    optrun predict cats-0001 photos/ -o cats.jsonl --json
    """,
)
@shared.run_argument
@click.argument("data", required=False, type=click.Path())
@click.option("-o", "--output", metavar="FILE", required=True, help="Write a .csv, .parquet, .jsonl or .npz.")
@click.option("--split", help="train, val or test, of the run's own data.  [default: test, without DATA]")
@click.option("--checkpoint", default="best", show_default=True, help="best, last, or a step.")
@click.option(
    "--weights", metavar="NAME", help="raw, training, average, ema; by default an average, where the run keeps one."
)
@shared.of_option
@shared.force_option
@shared.allow_code_option
@shared.allow_other_data_option
@shared.json_option
def command(run: str, data: str | None, output: str, force: bool, as_json: bool, **options: Any) -> None:
    """Write what the model of RUN says of DATA, or of a split.

    RUN is a name, the beginning of one, a path, or @1 for the latest. DATA is a
    file or folder of the kind that the run's data set reads; it is prepared
    by what the run fitted to its training rows.
    """
    from ...experiments.training.predict import check_output, predict
    from ..terminal.logs import show_log

    show_log()
    check_output(output, force)
    found = predict(run, data, **options)
    path = found.write(output, force=force)
    about = {"run": found.run, "step": found.step, "weights": found.weights, "of": found.of, "part": found.part}
    if as_json:
        result_json("optrun/predict@1", **about, rows=len(found), columns=list(found.columns), file=shown(path))
        return
    part = f", {found.part} of its outputs" if found.part else ""
    what = f"{found.run} at step {found.step}, {found.weights} weights, on {found.of}{part}"
    result(f"{shown(path)}: {len(found)} rows of {', '.join(_some(list(found.columns)))} ({what})")


def _some(names: list[str], most: int = 6) -> list[str]:
    return names if len(names) <= most else [*names[: most - 1], f"… ({len(names)} columns)"]

"""`optrun export`: a trained model as a file for other programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from .. import command as shared
from ..terminal.console import result, result_json, say_warning


@shared.command(
    "export",
    section="Read",
    examples="""
    optrun export mom-0001 --to safetensors -o model.safetensors
    optrun export mom-0001 --to program -o model.pt2  # torch.export, any batch
    optrun export mom-0001 --to onnx -o model.onnx --weights ema
    optrun export @1 --to program --no-preprocessing -o bare.pt2 --force
    """,
)
@shared.run_argument
@click.option(
    "--to",
    "to",
    type=click.Choice(["torch", "safetensors", "onnx", "program"]),
    required=True,
    help="torch, safetensors: weights by name; program, onnx: the calculation too.",
)
@click.option("-o", "--output", metavar="FILE", required=True, help="The file to write.")
@click.option("--checkpoint", default="best", show_default=True, help="best, last, or a step.")
@click.option(
    "--weights", metavar="NAME", help="raw, training, average, ema; by default an average, where the run keeps one."
)
@shared.of_option
@click.option(
    "--preprocessing/--no-preprocessing",
    default=None,
    help="Of a program: take raw rows and give values in original units (the default), or be the model alone.",
)
@click.option(
    "--tolerance",
    type=shared.FiniteRange(min=0),
    default=1e-4,
    show_default=True,
    help="The largest difference from the model, in parts of its largest output.",
)
@shared.force_option
@shared.allow_code_option
@shared.json_option
def command(run: str, as_json: bool, **options: Any) -> None:
    """Write the model of RUN into a file that is checked.

    RUN is a name, the beginning of one, a path, or @1 for the latest. The file
    is read back and run against the model on examples of the run's data
    before it is in its place.
    """
    from ...experiments.training.export import export_model
    from ..terminal.logs import show_log

    show_log()
    done = export_model(run, **options)
    checked = done["checked"]
    if checked["of"] == "random":
        say_warning(f"checked on made-up rows, since the data cannot be read: {checked['reason']}")
    if as_json:
        result_json("optrun/export@1", **done)
        return
    result(_lines(done))


def _lines(done: Mapping[str, Any]) -> list[str]:
    checked, inputs = done["checked"], done["inputs"]
    what = f"{done['run']} at step {done['step']}, {done['weights']} weights"
    lines = [f"{done['file']}: {what}, {done['bytes']:,} bytes"]
    if done["to"] in ("onnx", "program"):
        shape = ", ".join(["batch", *map(str, inputs["shape"])])
        taken = "raw rows" if done["preprocessing"] else "what the model takes"
        lines += [f"  inputs    {inputs['type']} ({shape}), {taken}"]
        lines += [f"            {_column(each)}" for each in inputs.get("columns", ())]
    if done["preprocessing"]:
        lines.append(f"  with      {', '.join(done['preprocessing'])}")
    examples = f"{checked['examples']} {'rows of the data' if checked['of'] == 'data' else 'made-up rows'}"
    lines.append(f"  checked   on {examples}: largest difference {checked['largest_difference']:.3g}")
    return lines


def _column(column: Mapping[str, Any]) -> str:
    numbered = ", ".join(f"{number} {name}" for number, name in enumerate(column.get("categories", ()), 1))
    return f"{column['name']} ({numbered}; 0 any other)" if numbered else str(column["name"])

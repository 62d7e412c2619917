"""`optrun train`: from a configuration to a trained, resumable, readable run."""

from __future__ import annotations

from typing import Any

import click

from .. import command as shared
from ..terminal.console import Output


@shared.command(
    "train",
    section="Run",
    examples="""
    optrun train  # the preset `mom`, on digits
    optrun train configs/mom.yaml optimizer.lr=0.05 train.epochs=40
    optrun train adam --seed 3 --name adam-3  # again: resumes, or reports
    optrun train mom --dry-run  # build everything, take one step
    optrun train mom --profile  # where the time of a step goes
    optrun train mom --json | jq '.final["test/accuracy"]'
    """,
)
@shared.target_argument("[TARGET] [KEY=VALUE]...", default="mom")
@click.option("--name", help="Name of the run directory; makes the command repeatable.")
@click.option("--seed", type=click.IntRange(min=0), help="Short for seed=N.")
@click.option("--device", help="Short for train.device=...: auto, cpu, cuda:N, mps.")
@click.option("--precision", help="Short for train.precision=...: fp32, bf16.")
@click.option("--dry-run", is_flag=True, help="Build everything, take one step, keep nothing.")
@click.option("--fresh", is_flag=True, help="With --name: move what is there into the trash and start anew.")
@shared.allow_change_option
@shared.allow_code_option
@shared.profile_option
@shared.output_options
def command(
    target: str,
    overrides: list[str],
    seed: int | None,
    device: str | None,
    precision: str | None,
    dry_run: bool,
    output: Output,
    **options: Any,  # name, fresh, allow_change, allow_code, profile: as `train` takes them
) -> int:
    """Train one model.

    TARGET is a YAML file, the name of one in ./configs, or a preset (default:
    mom). KEY=VALUE changes a value of it.
    """
    short = {"seed": seed, "train.device": device, "train.precision": precision}
    overrides = [f"{key}={value}" for key, value in short.items() if value is not None] + overrides
    if options["name"] is None and (options["fresh"] or options["allow_change"]):
        raise click.UsageError("--fresh and --allow-change speak of an existing run: add --name")
    if dry_run and options["profile"]:
        raise click.UsageError("--dry-run takes one step, which says little of the others: leave it or --profile out")

    from ...experiments.training.load import load_config
    from ...experiments.training.train import train
    from ..watching.watch import Watch

    watch = Watch("train", output)
    if dry_run:
        return watch.dry_run(load_config(target, overrides, allow_code=options["allow_code"]))
    return watch.follow(lambda: train(target, overrides, **options, on_start=watch.start))

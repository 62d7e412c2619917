"""`optrun sweep`: how much depends on one setting, or on several?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from .. import command as shared
from ..terminal.console import Output

if TYPE_CHECKING:
    from ...experiments.comparison.result import Comparison

_RANGE = re.compile(r"(?:log|lin|int):")


@shared.command(
    "sweep",
    section="Run",
    examples="""
    optrun sweep mom optimizer.lr=log:1e-3:1
    optrun sweep mom optimizer.momentum=0,0.5,0.9,0.99 train.epochs=3 --seeds 3
    optrun sweep adam optimizer.lr=log:1e-4:0.1 --method random --trials 12
    optrun sweep mom data.batch_size=int:16:128 --trials 5
    optrun sweep mom optimizer.lr=0.1,0.3 optimizer.momentum=0.8,0.9
    """,
)
@shared.target_argument("TARGET KEY=SPEC... [KEY=VALUE]...")
@click.option("--trials", type=click.IntRange(min=2), help="Values of a range.  [default: 9]")
@click.option("--seeds", type=click.IntRange(min=1), default=2, show_default=True, help="Runs with each setting.")
@click.option(
    "--method", type=click.Choice(["grid", "random"]), default="grid", show_default=True, help="Spread, or drawn."
)
@click.option(
    "--most-runs", type=click.IntRange(min=1), default=100, show_default=True, help="Of several keys: refuse more."
)
@shared.jobs_option
@shared.engine_option
@shared.verify_batched_option
@shared.fresh_runs_option
@shared.runs_own_code
@shared.export_option
@shared.output_options
def command(
    target: str,
    overrides: list[str],
    exports: tuple[str, ...],
    output: Output,
    **options: Any,  # trials, seeds, method, most_runs, jobs, engine, fresh: as `sweep` takes them
) -> int:
    """Try values of one setting, and see how much depends on it.

    TARGET is a preset, a YAML file, or an optimizer. KEY=VALUE changes a value.
    Of several KEY=SPEC all combinations are tried.

    \b
    SPEC is one of
      log:1e-3:1   a range, even on a log scale
      lin:0:1      a range
      int:2:8      whole numbers
      a,b,c        the values themselves
    """
    specs = [override for override in overrides if is_spec(override.partition("=")[2])]
    overrides = [override for override in overrides if override not in specs]
    if not specs:
        raise click.UsageError("sweep what? Give KEY=SPEC, such as optimizer.lr=log:1e-3:1 or optimizer.lr=0.1,0.3,1")
    tried: dict[str, str] = {}
    for each in specs:
        key, _, spec = each.partition("=")
        if key in tried:
            raise click.UsageError(f"{key} is swept twice, with {tried[key]} and with {spec}: give all values at once")
        if not _RANGE.match(spec) and not all(_is_number(value) for value in spec.split(",") if value):
            raise click.UsageError(f"{each}: a sweep is over numbers; `optrun compare` is for things with names")
        tried[key] = spec
    if options["trials"] is not None and not any(_RANGE.match(spec) for spec in tried.values()):
        lists = "lists its values" if len(specs) == 1 else "list their values"
        raise click.UsageError(f"--trials is for ranges; {' and '.join(specs)} {lists}")

    from ..watching.comparing import CompareWatch, asked_by

    watch = CompareWatch("sweep", output, exports=exports, train=["optrun", "train", target, *overrides])
    asked = asked_by("sweep", output, options, targets=[target], overrides=overrides, tried=tried)

    def work() -> Comparison:
        from ...experiments.comparison.sweep import sweep  # with torch, which an answer that is known does without

        return sweep(target, tried, overrides=overrides, **options, on_event=watch.on_event)

    return watch.follow(work, asked)


def is_spec(text: str) -> bool:
    """Return True if a value names several: a range, or a list with commas that stand in no bracket or quote."""
    outside = re.sub(r"\[[^\]]*\]|\{[^}]*\}|\"[^\"]*\"|'[^']*'", "", text)
    return bool(_RANGE.match(text)) or "," in outside


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

"""`optrun compare`: which is better, and how sure is that?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .. import command as shared
from ..terminal.console import Output

if TYPE_CHECKING:
    from ...experiments.comparison.result import Comparison


@shared.command(
    "compare",
    section="Run",
    examples="""
    optrun compare sgd mom adam  # on 10 fresh seeds
    optrun compare mine.yaml --optimizers adam,mom,sgd  # on your own problem
    optrun compare mom adam train.epochs=3 adam:optimizer.lr=3e-3 --no-tune
    optrun compare mom adam --target 0.96 --baseline mom -j 4
    optrun compare mom new.yaml --gate 'new not worse than mom within 0.005'
    optrun compare study.yaml --export result.md --export result.svg
    """,
)
@shared.targets_argument("TARGET... [KEY=VALUE]...")
@click.option(
    "--optimizers", multiple=True, metavar="NAME,...", help="Run these on the problem of TARGET, a file. Repeatable."
)
@click.option("--name", help="Name of the comparison's folder; the same question under it goes on.")
@click.option("--seeds", type=click.IntRange(min=1), help="Seeds of the evaluation.  [default: 10]")
@click.option("--first-seed", type=click.IntRange(min=0), help="The first of them.  [default: 0]")
@click.option("--tune", type=click.IntRange(min=0), help="Rates tried for each entry, on 2 seeds each.  [default: 5]")
@click.option("--no-tune", is_flag=True, help="Compare the entries with their settings as given.")
@click.option("--metric", help="The one endpoint of the verdict, such as test/accuracy.")
@click.option("--target", type=shared.Finite(), help="A value of the validation metric: epochs to it are compared too.")
@click.option("--baseline", metavar="NAME", help="Compare the others with this entry only.")
@click.option("--margin", type=shared.FiniteRange(min=0), help="The largest difference that does not matter.")
@click.option(
    "--alpha", type=shared.FiniteRange(0, 0.5, min_open=True, max_open=True), help="Of all tests.  [default: 0.05]"
)
@click.option("--across-problems", is_flag=True, help="Entries are meant to have different problems.")
@shared.jobs_option
@shared.engine_option
@shared.verify_batched_option
@shared.fresh_runs_option
@click.option("--no-train", is_flag=True, help="Read the runs that are there; refuse if one is missing.")
@shared.runs_own_code
@shared.export_option
@click.option(
    "--gate", "gates", multiple=True, metavar="EXPR", help="A condition; exit with 1 unless it holds. Repeatable."
)
@shared.output_options
def command(
    targets: list[str],
    overrides: list[str],
    tune: int | None,
    no_tune: bool,
    no_train: bool,
    exports: tuple[str, ...],
    gates: tuple[str, ...],
    output: Output,
    optimizers: tuple[str, ...],
    **options: Any,  # name, seeds, first_seed, metric, target, baseline, margin, … : as `compare` takes them
) -> int:
    """Compare optimizers: tuned alike, paired by seed.

    TARGET is a preset, a YAML file, an optimizer, run:NAME for finished runs,
    or one file with `entries:`. KEY=VALUE changes a value of all entries,
    NAME:KEY=VALUE one of the entry NAME.

    \b
    EXPR is one of
      ENTRY.METRIC >= NUMBER   (also <=, > and <)
      A better than B
      A not worse than B within NUMBER
      A equivalent to B within NUMBER
    """
    if not targets:
        raise click.UsageError("compare what? Name two presets, files or optimizers: optrun compare mom adam")
    if optimizers:
        options["optimizers"] = [name.strip() for each in optimizers for name in each.split(",") if name.strip()]
    if tune is not None and no_tune:
        raise click.UsageError("--tune and --no-tune exclude each other")
    if options["fresh"] and no_train:
        raise click.UsageError("--fresh repeats runs, and --no-train makes none: leave one out")
    if no_tune or tune is not None:
        options["tune"] = tune

    from ..watching.comparing import CompareWatch, asked_by

    watch = CompareWatch("compare", output, gates, exports)
    asked = asked_by("compare", output, options, targets=targets, overrides=overrides, train=not no_train)

    def work() -> Comparison:
        from ...experiments.comparison.compare import compare  # with torch, which an answer that is known does without

        return compare(targets, overrides, **options, train=not no_train, on_event=watch.on_event)

    return watch.follow(work, asked)

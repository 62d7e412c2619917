"""`optrun diff`: what two runs differ in."""

from __future__ import annotations

import click

from ...experiments.errors import ExitCode
from ...experiments.system.places import shown
from .. import command as shared
from .. import completion
from ..terminal.console import result, result_json
from ..terminal.screen import width
from ..terminal.streams import results

_NEVER_THE_SAME = ("train_secs", "cpu_secs")  # of two runs, however equal


@shared.command(
    "diff",
    section="Read",
    examples="""
    optrun diff mom-0001 adam-0001
    optrun diff @2 @1  # the latest run and the one before it
    optrun diff mom-0001 mom-0002 --exit-code || echo changed
    """,
)
@click.argument("run_a", metavar="A", shell_complete=completion.runs)
@click.argument("run_b", metavar="B", shell_complete=completion.runs)
@click.option("--exit-code", is_flag=True, help="Exit with 1 where they differ in more than seconds.")
@shared.json_option
def command(run_a: str, run_b: str, exit_code: bool, as_json: bool) -> int:
    """Show what differs between two runs.

    That is settings, results and environment. A and B are names, beginnings of names, paths, or @1 for the latest.
    """
    from ...experiments.report.tables.diff import diff_table
    from ...experiments.report.tables.table import text_table
    from ...experiments.run_directory.lookup import find_run
    from ...experiments.run_directory.run import Run

    a, b = Run(find_run(run_a)), Run(find_run(run_b))
    table = diff_table(a, b)
    differs = any(row["key"] not in _NEVER_THE_SAME for row in table.rows)
    if as_json:
        result_json("optrun/diff@1", a=shown(a.path), b=shown(b.path), differs=differs, differences=table.rows)
    elif table.rows:
        result(text_table(table, width(results())))
    else:
        result(f"{a.name} and {b.name}: no difference")
    return ExitCode.NO if exit_code and differs else ExitCode.DONE

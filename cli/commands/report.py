"""`optrun report`: a page for a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...experiments.errors import UsageError
from ...experiments.system.places import shown
from .. import command as shared
from .. import completion
from ..terminal.console import result, result_json


@shared.command(
    "report",
    section="Read",
    examples="""
    optrun report compare-sgd-mom-1a2b3c --open
    optrun report compare-sgd-mom-1a2b3c -o result.md
    optrun report mom-0001 adam-0001 -o two.html  # runs side by side
    """,
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...|GROUP", shell_complete=completion.runs_and_groups)
@click.option(
    "-o", "--output", metavar="FILE", help=".html; of a comparison also .md, .csv, .json, .png, .svg; - for Markdown."
)
@click.option("--open", "in_browser", is_flag=True, help="Show it in the browser.")
@shared.json_option
def command(runs: tuple[str, ...], output: str | None, in_browser: bool, as_json: bool) -> None:
    """Write a report of runs, or of one comparison, to one file.

    RUN and GROUP are names, beginnings of names, or paths. By default the page
    is report.html beside what it is about.
    """
    from ...experiments.run_directory.lookup import find_run_or_group

    things = [find_run_or_group(name) for name in runs]
    groups = [thing for thing in things if isinstance(thing, Path)]
    if groups and len(things) > 1:
        raise UsageError("one comparison at a time, and no single runs beside it")
    if output == "-":
        result(_markdown(groups))
        return
    file = _group_report(groups[0], output) if groups else _runs_report(things, output)
    if as_json:
        result_json("optrun/report@1", file=shown(file))
    else:
        result(shown(file))
    if in_browser:
        import webbrowser

        webbrowser.open(file.resolve().as_uri())


def _group_report(group: Path, output: str | None) -> Path:
    from ...experiments.report.export import export

    return export(group, output or group / "report.html")


def _markdown(groups: list[Path]) -> str:
    from ...experiments.report.export import markdown
    from ...experiments.report.report import Report

    if not groups:
        raise UsageError("single runs have no report in Markdown: give -o FILE.html, or see `optrun show`")
    return markdown(Report(groups[0])).rstrip()


def _runs_report(runs: list[Any], output: str | None) -> Path:
    from ...experiments.report.page.html import runs_page
    from ...experiments.run_directory.run import Run
    from ...experiments.run_directory.run_dir import default_root
    from ...experiments.system.storage import write_derived

    beside = runs[0].path if len(runs) == 1 else default_root()
    file = Path(output) if output else beside / "report.html"
    if file.suffix != ".html":
        raise UsageError(f"{file}: the report of single runs is a page: give -o FILE.html")
    if not file.parent.is_dir():
        raise UsageError(f"{file}: there is no folder {file.parent}")
    write_derived(file, runs_page([Run(run) for run in runs]))
    return file

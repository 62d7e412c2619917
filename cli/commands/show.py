"""`optrun show`: one run, whole."""

from __future__ import annotations

from pathlib import Path

import click

from ...experiments.system.places import shown
from .. import command as shared
from .. import completion
from ..terminal.console import filled, result, result_json


@shared.command(
    "show",
    section="Read",
    examples="""
    optrun show mom-0001
    optrun show @1  # the latest
    optrun show mom-0001 --json | jq .config.optimizer
    optrun show compare-sgd-mom-1a2b3c  # a comparison, without training
    """,
)
@click.argument("run", shell_complete=completion.runs_and_groups)
@shared.json_option
def command(run: str, as_json: bool) -> None:
    """Show RUN: result, environment, configuration.

    RUN is a name, the beginning of one, a path, or @1 for the latest; or the
    name of a comparison or sweep.
    """
    from ...experiments.run_directory.lookup import find_run_or_group
    from ...experiments.run_directory.run import Run
    from ..texts.saved_run import saved_run_lines

    wanted = find_run_or_group(run)
    if isinstance(wanted, Path):
        _show_group(wanted, as_json)
        return
    found = Run(wanted)
    if as_json:
        result_json(
            "optrun/show@1",
            run=found.name,
            path=shown(found.path),
            status=found.status,
            summary=found.summary,
            config=found.config,
            environment=found.env,
            checkpoints=[{"step": file.step, "path": shown(file.path)} for file in found.checkpoints],
        )
    else:
        result(saved_run_lines(found))


def _show_group(path: Path, as_json: bool) -> None:
    """Show a comparison or sweep as it ended, and what was done."""
    from ...experiments.report.export import as_dict
    from ...experiments.report.report import Report
    from ...experiments.report.words.states import count_states
    from ..texts.comparison_text import result_lines

    report = Report(path)
    group = report.group
    if as_json:
        content = {key: value for key, value in as_dict(report).items() if key != "schema"}
        result_json("optrun/show-group@1", **content, path=shown(path))
        return
    counts = count_states([group.result_state(record) for record in group.records])
    lines = [f"{group.name}: {counts}", "", *result_lines(report), ""]
    result([*lines, *(line for text in report.protocol for line in filled(text, break_long_words=True))])

"""`optrun show`: one run, whole."""

from __future__ import annotations

from typing import Any

import click

from .. import command as shared
from .. import completion


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
    from pathlib import Path

    from ...experiments.run_directory.lookup import find_run_or_group
    from ...experiments.run_directory.run import Run
    from ..terminal.console import result, result_json

    wanted = find_run_or_group(run)
    if isinstance(wanted, Path):
        _show_group(wanted, as_json)
        return
    found = Run(wanted)
    if as_json:
        result_json(
            "optrun/show@1",
            run=found.name,
            path=str(found.path),
            status=found.status,
            summary=found.summary,
            config=found.config,
            environment=found.env,
            checkpoints=[{"step": file.step, "path": str(file.path)} for file in found.checkpoints],
        )
    else:
        result([*_result(found), "", *_facts(found), "", *_config(found)])


def _show_group(path: Any, as_json: bool) -> None:
    """Show a comparison or sweep as it ended, and what was done."""
    from ...experiments.report.export import as_dict
    from ...experiments.report.report import Report
    from ...experiments.report.words.headline import count_states
    from ..terminal.console import result, result_json
    from ..texts.comparison_text import result_lines, wrapped

    report = Report(path)
    group = report.group
    if as_json:
        content = {key: value for key, value in as_dict(report).items() if key != "schema"}
        result_json("optrun/show-group@1", **content, path=str(path))
        return
    lines = [f"{group.name}: {count_states(group.records)}", "", *result_lines(report), ""]
    result([*lines, *(line for text in report.protocol for line in wrapped(text))])


def _result(run: Any) -> list[str]:
    from ..texts.run_text import colored, result_lines, resume_command

    state = run.state
    if run.summary and state != "running":
        lines = result_lines(run.name, run.summary)
        lines += _divergence(run) if state == "diverged" else []
    else:
        step = f" at step {run.rows[-1]['step']}" if run.rows else ""
        lines = [f"{run.name}: {colored(state)}{step}"]
    return [*lines, f"  resume: {resume_command(run.dir)}"] if state in ("interrupted", "failed") else lines


def _divergence(run: Any) -> list[str]:
    """Return why a run diverged, its last rows, and how to go on."""
    from ..texts.diverged_text import history_lines, ways_out, why_lines

    return [*why_lines(run), *history_lines(run), *ways_out(run)]


def _facts(run: Any) -> list[str]:
    from ..terminal.charts import count

    status, environment = run.status, run.env
    lines = [f"path      {run.path}", f"started   {status.get('started', '')[:19].replace('T', ' ')} UTC"]
    if environment:
        versions = ", ".join(f"{name} {environment.get(name)}" for name in ("optrun", "torch", "python"))
        threads = count(environment.get("threads", 1), "thread")
        lines.append(f"made with {versions}; {environment.get('device')}, {threads}")
    if run.checkpoints:
        best = (run.summary.get("best") or {}).get("step")
        steps = [f"{file.step}{' (best)' if file.step == best else ''}" for file in run.checkpoints]
        lines.append(f"saved     at {'step' if len(steps) == 1 else 'steps'} {', '.join(steps)}")
    return lines


def _config(run: Any) -> list[str]:
    """Return what the configuration says beyond the defaults, as YAML."""
    from ...experiments.config import to_yaml

    origins = run.dir.read_json("origins.json") or {}
    chosen = {key: _chosen(value, key, origins) for key, value in run.config.items()}
    chosen = {key: value for key, value in chosen.items() if value is not None}
    return [f"# all but defaults; {run.dir.config_path} has everything", *to_yaml(chosen).rstrip().splitlines()]


def _chosen(value: Any, key: str, origins: dict[str, str]) -> Any:
    """Return the part of a value that is not a default, or None."""
    if isinstance(value, dict):
        inner = {name: _chosen(item, f"{key}.{name}", origins) for name, item in value.items()}
        return {name: item for name, item in inner.items() if item is not None} or None
    return None if origins.get(key, "default") == "default" and not _below(key, origins) else value


def _below(key: str, origins: dict[str, str]) -> bool:
    """Tell whether something inside a list was chosen: `metrics.0`."""
    return any(place != "default" and inner.startswith(f"{key}.") for inner, place in origins.items())

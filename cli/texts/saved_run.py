"""A run as its directory describes it, whole: result, environment, what its configuration says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...experiments.config import to_yaml
from ...experiments.report.style import many
from ...experiments.system.places import shown
from ..terminal.streams import results
from .diverged_text import history_lines, ways_out, why_lines
from .run_text import colored, profile_lines, result_lines, resume_command, slow_hook_lines

if TYPE_CHECKING:
    from ...experiments.run_directory.run import Run


def saved_run_lines(run: Run) -> list[str]:
    """Return the lines on a run: its result, where and with what it was made, and all settings but defaults."""
    return [*_result(run), "", *_facts(run), "", *_config(run)]


def _result(run: Run) -> list[str]:
    state = run.state
    if run.summary and state != "running":
        lines = result_lines(run.name, run.result)
        lines += [f"  {line}" for line in slow_hook_lines(run.result, results())]
        lines += profile_lines(run.result)
        lines += _divergence(run) if state == "diverged" else []
    else:
        step = f" at step {run.rows[-1]['step']}" if run.rows else ""
        lines = [f"{run.name}: {colored(state)}{step}"]
    return [*lines, f"  resume: {resume_command(run.dir)}"] if state in ("interrupted", "failed") else lines


def _divergence(run: Run) -> list[str]:
    """Return why a run diverged, its last rows, and how to go on."""
    return [*why_lines(run), *history_lines(run), *ways_out(run)]


def _facts(run: Run) -> list[str]:
    status, environment = run.status, run.env
    lines = [f"path      {shown(run.path)}", f"started   {status.get('started', '')[:19].replace('T', ' ')} UTC"]
    if environment:
        versions = ", ".join(f"{name} {environment.get(name)}" for name in ("optrun", "torch", "python"))
        threads = many(environment.get("threads", 1), "thread")
        lines.append(f"made with {versions}; {environment.get('device')}, {threads}")
    if batches := environment.get("batches"):
        per_epoch = batches["steps_per_epoch"]  # of a stream it may not be known
        epoch = "" if per_epoch is None else f", {many(per_epoch, 'step')} an epoch"
        lines.append(f"batches   of {many(batches['size'], 'example')}{epoch}")
    if run.checkpoints:
        steps = [f"{file.step}{' (best)' if file.step == run.best_step else ''}" for file in run.checkpoints]
        lines.append(f"saved     at {'step' if len(steps) == 1 else 'steps'} {', '.join(steps)}")
    return lines


def _config(run: Run) -> list[str]:
    """Return what the configuration says beyond the defaults, as YAML."""
    origins = run.dir.read_json("origins.json") or {}
    chosen = {key: _chosen(value, key, origins) for key, value in run.config.items()}
    chosen = {key: value for key, value in chosen.items() if value is not None}
    return [f"# all but defaults; {shown(run.dir.config_path)} has everything", *to_yaml(chosen).rstrip().splitlines()]


def _chosen(value: Any, key: str, origins: dict[str, str]) -> Any:
    """Return the part of a value that is not a default, or None."""
    if isinstance(value, dict):
        inner = {name: _chosen(item, f"{key}.{name}", origins) for name, item in value.items()}
        return {name: item for name, item in inner.items() if item is not None} or None
    return None if origins.get(key, "default") == "default" and not _below(key, origins) else value


def _below(key: str, origins: dict[str, str]) -> bool:
    """Return True if something inside a list was chosen: `metrics.0`."""
    return any(place != "default" and inner.startswith(f"{key}.") for inner, place in origins.items())

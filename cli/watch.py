"""What is said around a run: the header before it, progress during it, the result and the next command after it."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ..experiments.errors import DivergedError, Interrupted
from .charts import sparkline
from .console import is_live, result, result_json, say, style, unicode_ok

_WIDTH = 80


class Watch:
    """Speaks for one command that trains.

    Args:
        quiet: no header and no progress.
        as_json: the result is one JSON document.
    """

    def __init__(self, quiet: bool = False, as_json: bool = False):
        self.quiet, self.as_json = quiet, as_json
        self._run_dir: Any = None

    def start(self, experiment: Any, run_dir: Any) -> Sequence[Any]:
        """Print the header, and return the hook that shows progress; `train`'s on_start."""
        self._run_dir = run_dir
        if self.quiet:
            return []
        for line in header(experiment, run_dir):
            say(line)
        if run_dir is None:
            return []
        from .progress import LineProgressHook, LiveProgressHook

        kind = LiveProgressHook if is_live(style()) else LineProgressHook
        length = experiment.length
        return [kind(run_dir.name, length.num_steps, length.steps_per_epoch, experiment.eval_metric[0])]

    def finish(self, run: Any, command: str) -> int:
        """Print what came of the run, and return the exit code."""
        summary = run.summary
        if self.as_json:
            result_json(f"optrun/{command}@1", run=run.name, path=str(run.path), **_without_schema(summary))
        elif self.quiet:
            result(" ".join([run.name, summary["outcome"], *_pairs(summary["final"])]))
        else:
            for line in result_lines(run.name, summary):
                result(line)
            say(f"next: {_next_command(run)}")
        _github_step_summary(run, summary)
        return DivergedError.exit_code if summary["outcome"] == "diverged" else 0

    def stopped(self, stop: Interrupted) -> None:
        """Say what is saved, and how to go on."""
        if self._run_dir is None:
            return
        say(f"stopped by a signal; {self._run_dir.name} is saved")
        say(f"resume: {resume_command(self._run_dir)}")


def header(experiment: Any, run_dir: Any) -> list[str]:
    """Return the lines that say what is trained, on what, and where it goes."""
    config = experiment.config
    place = str(run_dir.path) if run_dir is not None else "dry run: nothing is kept"
    title = f"{config.name if run_dir is None else run_dir.name} · {_target(config.target)}"
    sizes = ", ".join(f"{name} {size}" for name, size in experiment.splits.sizes().items())
    threads = f"{experiment.threads} thread{'s' if experiment.threads > 1 else ''}"
    facts = {
        "optimizer": f"{_call(config.optimizer)} · {_schedule(experiment)}",
        "model": f"{_call(config.model)} · {experiment.num_parameters:,} parameters",
        "data": f"{config.data.name} · {sizes} · batch {config.data.batch_size}"
        + (f" in {config.train.accumulate} parts" if config.train.accumulate > 1 else ""),
        "length": _length(experiment),
        "device": f"{experiment.device} · {config.train.precision} · {threads} · seed {config.seed}",
    }
    gap = " " * max(2, _WIDTH - len(title) - len(place))
    lines = [f"{title}{gap}{place}" if len(title) + len(place) + 2 <= _WIDTH else f"{title}\n  {place}"]
    for name, text in facts.items():
        lines += textwrap.wrap(text, _WIDTH, initial_indent=f"  {name:<11}", subsequent_indent=" " * 13)
    return lines if unicode_ok(sys.stderr) else [line.replace(" · ", ", ") for line in lines]


def result_lines(name: str, summary: Mapping[str, Any]) -> list[str]:
    """Return the lines of a run's result: outcome, final values, best, target, curve."""
    unicode = unicode_ok(sys.stdout)
    epochs = f", {summary['epochs']:g} epochs" if summary.get("epochs") else ""
    skipped = f", {summary['skipped']} batches skipped" if summary.get("skipped") else ""
    lines = [f"{name}: {summary['outcome']} after {summary['steps']} steps{epochs} in {summary['train_secs']:.2f} s{skipped}"]
    if summary.get("message") and summary["outcome"] != "done":
        lines += textwrap.wrap(summary["message"], _WIDTH, initial_indent="  ", subsequent_indent="  ")
    metric = summary["metric"]["name"]
    for key, value in summary["final"].items():
        lines.append(f"  {key:<16}{value:.4f}")
        if key == metric:
            best = summary["best"]
            lines[-1] += f"   best {best[key]:.4f} at step {best['step']}" if best else ""
            lines[-1] += f"   {sparkline(summary['curve'], 20, unicode)}".rstrip()
    if not summary["final"] and summary["best"]:
        lines.append(f"  {metric:<16}best {summary['best'][metric]:.4f} at step {summary['best']['step']}")
    if summary["metric"]["target"] is not None:
        reached = summary["target_reached"]
        when = f"reached at step {reached['step']}" if reached else "not reached"
        lines.append(f"  target {summary['metric']['target']:g} {when}")
    return lines


def resume_command(run_dir: Any) -> str:
    """Return the command that goes on with a run."""
    root = run_dir.path.parent
    known = os.environ.get("OPTRUN_RUNS_DIR") or "runs"
    return f"optrun resume {run_dir.name if str(root) == known else run_dir.path}"


def _target(target: Any) -> str:
    kinds = {"preset": f"preset {target.name}", "python": "from Python"}
    return kinds.get(target.kind, str(target.path))


def _next_command(run: Any) -> str:
    if run.state in ("interrupted", "diverged", "failed"):
        return resume_command(run.dir)
    return f"optrun show {run.name}"


def _call(component: Any) -> str:
    given = {name: value for name, value in component.args.items() if name in component.given or name == "lr"}
    return f"{component.label}({', '.join(f'{name}={_plain(value)}' for name, value in given.items())})"


def _plain(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(_plain(item) for item in value)}]"
    if hasattr(value, "component"):
        return value.label
    return f"{value:g}" if isinstance(value, float) else str(value)


def _schedule(experiment: Any) -> str:
    config = experiment.config.schedule
    warmup = f" after {config.warmup} of warm-up" if config.warmup else ""
    return (config.label if config.label == "constant" else _call(config)) + warmup


def _length(experiment: Any) -> str:
    length, config = experiment.length, experiment.config
    if length.num_steps is None:
        return f"{config.train.max_time}"
    epochs = f"{length.num_steps / length.steps_per_epoch:g} epochs of {length.steps_per_epoch} steps"
    limit = f", at most {config.train.max_time}" if config.train.max_time else ""
    return f"{length.num_steps} steps, {epochs}{limit}"


def _pairs(values: Mapping[str, float]) -> list[str]:
    return [f"{name}={value:.4f}" for name, value in values.items()]


def _without_schema(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in summary.items() if key != "schema"}


def _github_step_summary(run: Any, summary: Mapping[str, Any]) -> None:
    """Add a row of Markdown to the job's page when running in a GitHub workflow."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path or os.environ.get("GITHUB_ACTIONS") != "true":
        return
    names = list(summary["final"])
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"| run | outcome | steps | {' | '.join(names)} |\n|{' --- |' * (3 + len(names))}\n")
        values = " | ".join(f"{value:.4f}" for value in summary["final"].values())
        file.write(f"| {run.name} | {summary['outcome']} | {summary['steps']} | {values} |\n")

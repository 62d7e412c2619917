"""A run in words: the header before it, the result after it, the command that goes on with it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any

from ...experiments.report.style import many, score, seconds
from ...experiments.report.tables.step_profile import profile_text, slow_hook_text
from ...experiments.run_directory.final_values import not_finite, not_finite_text
from ...experiments.run_directory.run_dir import default_root
from ...experiments.system.places import shown
from ..terminal.charts import sparkline
from ..terminal.console import filled, titled
from ..terminal.screen import paint, width
from ..terminal.streams import is_utf8, results

if TYPE_CHECKING:
    from ...experiments.config.configuration import TargetInfo
    from ...experiments.config.sections import ComponentConfig, OptimizerConfig, ScheduleConfig
    from ...experiments.run_directory.run_dir import RunDir
    from ...experiments.training.experiment import Experiment

_COLORS = {"done": "green", "stopped": "green", "running": "cyan", "interrupted": "yellow"}


def header(experiment: Experiment, run_dir: RunDir | None) -> list[str]:
    """Return the lines that say what is trained, on what, and where it goes."""
    config = experiment.config
    threads = many(experiment.threads, "thread")
    facts = {
        "optimizer": _call(config.optimizer) + _groups(config.optimizer),
        "schedule": _schedule(config.schedule),
        "model": f"{_call(config.model)} · {experiment.num_parameters:,} parameters",
        "data": _data(experiment),
        "length": _length(experiment),
        "device": f"{experiment.device} · {config.train.precision} · {threads} · seed {config.seed}",
    }
    name, place = (run_dir.name, f"{shown(run_dir.path)}/") if run_dir else (config.name, "dry run: nothing is kept")
    lines = titled(name, f" · {target_text(config.target)}", place, "run")
    for name, text in facts.items():
        lines += filled(text, f"  {name:<11}", stream=sys.stderr, break_on_hyphens=True, break_long_words=True)
    return lines


def result_lines(name: str, summary: Mapping[str, Any], with_message: bool = True) -> list[str]:
    """Return the lines of a run's result: outcome, and why it is not `done`; final values, best, target, curve."""
    room, metric = width(results()), summary["metric"]
    lines = [f"{paint(results(), name, bold=True)}: {colored(summary['outcome'])} after {_amount(summary)}"]
    if with_message and summary.get("message") and summary["outcome"] != "done":
        lines += filled(summary["message"], "  ", break_on_hyphens=True, break_long_words=True)
    values = _final_values(summary)
    values.setdefault(metric["name"], "")  # a run that was cut short has a best value, but no last one
    longest = max(len(key) for key in values)
    for key, value in values.items():
        line = f"  {key:<{longest}}  {value}".rstrip()
        if key == metric["name"]:
            best = summary["best"]
            if best and best.get(key) is not None:
                line += f"   best {score(best[key])} at step {best.get('step')}"
            elif key in summary["final"]:
                line += "   no best: it was never a finite number"
            curve = sparkline(summary["curve"], 20, is_utf8(results()))
            line += f"   {curve}" if curve and len(line) + 3 + len(curve) <= room else ""
        if line.strip() != key:
            lines.append(line)
    if text := not_finite_text(summary):
        lines += filled(f"not finite: {text}", "  ")
    if metric["target"] is not None:
        reached = summary["target_reached"]
        when = f"reached at step {reached.get('step')}" if reached else "not reached"
        lines.append(f"  target {metric['target']:g} {when}")
    return lines


def profile_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the lines that say where the time of a step went; none for a run that was not profiled."""
    return profile_text(summary["profile"]).split("\n") if "profile" in summary else []


def slow_hook_lines(summary: Mapping[str, Any], stream: IO[str]) -> list[str]:
    """Return the lines that name hooks which took much of the time."""
    return [
        line for slow in summary.get("slow_hooks", ()) for line in filled(slow_hook_text(slow), indent=2, stream=stream)
    ]


def result_pairs(name: str, summary: Mapping[str, Any]) -> str:
    """Return a run's result in one line, for scripts: `mom-0001 done test/accuracy=0.9749`."""
    return " ".join([name, summary["outcome"], *(f"{key}={value}" for key, value in _final_values(summary).items())])


def _final_values(summary: Mapping[str, Any]) -> dict[str, str]:
    return {key: score(value) for key, value in summary["final"].items()} | not_finite(summary)


def colored(outcome: str) -> str:
    """Return the outcome of a run, in its colour where stdout has any."""
    return paint(results(), outcome, fg=_COLORS.get(outcome, "red"))


def resume_command(run_dir: RunDir) -> str:
    """Return the command that goes on with a run, as it can be pasted into a shell."""
    is_here = run_dir.path.parent == default_root()
    return f"optrun resume {run_dir.name if is_here else shlex.quote(shown(run_dir.path))}"


def target_text(target: TargetInfo) -> str:
    """Return where a configuration was found: `preset mom`, `configs/mom.yaml`."""
    kinds = {"preset": f"preset {target.name}", "python": "from Python"}
    return kinds.get(target.kind, str(target.path))


def _amount(summary: Mapping[str, Any]) -> str:
    parts = [
        many(summary["steps"], "step"),
        many(round(summary["epochs"], 2), "epoch") if summary.get("epochs") else "",
        f"{many(summary['skipped'], 'batch', 'batches')} skipped" if summary.get("skipped") else "",
    ]
    took = "" if summary["train_secs"] is None else f" in {seconds(summary['train_secs'], 2)}"
    return ", ".join(part for part in parts if part) + took


def _call(component: ComponentConfig) -> str:
    """Return a component as a call: its rate, what was given, and what is not the default."""
    given = {name: value for name, value in component.args.items() if name in component.given or name == "lr"}
    inside = ", ".join(f"{name}={setting_text(value)}" for name, value in given.items())
    return f"{component.label}({inside})" if inside else component.label


def setting_text(value: Any, separator: str = ", ") -> str:
    """Return a setting as in YAML, with a component as a call."""
    if isinstance(value, tuple | list):
        return f"[{separator.join(setting_text(item, separator) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{separator.join(f'{key}: {setting_text(item, separator)}' for key, item in value.items())}}}"
    if hasattr(value, "component"):
        return _call(value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _groups(optimizer: OptimizerConfig) -> str:
    return f" · {many(len(optimizer.groups), 'parameter group')} of its own" if optimizer.groups else ""


def _schedule(config: ScheduleConfig) -> str:
    return f"{_call(config)} after {config.warmup} of warm-up" if config.warmup else _call(config)


def _data(experiment: Experiment) -> str:
    data = experiment.config.data
    sizes = ", ".join(
        f"{name} {'a stream' if size is None else size}" for name, size in experiment.splits.sizes().items()
    )
    augment = f" · augmented by {', '.join(item.label for item in data.augment)}" if data.augment else ""
    drawn = f" · drawn {experiment.batches.drawn}" if experiment.batches.drawn else ""
    parts = experiment.config.train.accumulate
    size = experiment.batches.batch_size
    batch = (
        f"batch {size}"
        + (" (full)" if data.batch_size == "full" else "")
        + (f" in {parts} micro-batches" if parts > 1 else "")
    )
    name = _call(data) if data.given - {"batch_size", "eval_batch_size"} else data.label
    return f"{name} · {sizes} · {batch}{drawn}{augment}"


def _length(experiment: Experiment) -> str:
    return " · ".join(_length_parts(experiment))


def _length_parts(experiment: Experiment) -> Iterator[str]:
    num_steps, per_epoch = experiment.length.num_steps, experiment.length.steps_per_epoch
    if num_steps is not None:
        yield many(num_steps, "step")
        if per_epoch:
            yield f"{many(round(num_steps / per_epoch, 2), 'epoch')} of {many(per_epoch, 'step')}"
    if experiment.config.train.max_time is not None:
        yield f"at most {experiment.config.train.max_time}"

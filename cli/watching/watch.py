"""A run on the command line: the header before it, progress during it, the result and the next command after it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...experiments.errors import DivergedError, ExitCode, Interrupted
from ...experiments.system.places import shown
from ..terminal import github
from ..terminal.console import Output, result, result_json, say, say_error
from ..terminal.logs import show_log
from ..texts.run_text import (
    header,
    profile_lines,
    result_lines,
    result_pairs,
    resume_command,
    slow_hook_lines,
)

if TYPE_CHECKING:
    from ...experiments.components.hooks.hook import Hook
    from ...experiments.config import Config
    from ...experiments.run_directory.run import Run
    from ...experiments.run_directory.run_dir import RunDir
    from ...experiments.training.experiment import Experiment

_AFTER_THE_END = {
    "train": "--fresh starts it anew",
    "resume": "for more, add train.epochs=N --allow-change",
}


_CODES = {"done": ExitCode.DONE, "stopped": ExitCode.DONE, "diverged": ExitCode.DIVERGED}


def progress_hooks(experiment: Experiment, name: str) -> list[Hook]:
    """Return the hook that shows how far a run is: in place where a person watches, else by lines."""
    from ..terminal.live import in_notebook
    from ..terminal.screen import is_live
    from .progress import LineProgressHook, LiveProgressHook

    hook, length = LiveProgressHook if in_notebook() or is_live() else LineProgressHook, experiment.length
    return [hook(name, length.num_steps, length.steps_per_epoch, experiment.goal.metric)]


def progress_events() -> Callable[[Mapping[str, Any]], None]:
    """Return what shows how far a comparison is, from its events."""
    from ..terminal.live import in_notebook
    from ..terminal.screen import is_live
    from .board import Board, LineProgress

    return (Board() if in_notebook() or is_live() else LineProgress()).handle


class Watch:
    """Speaks for one command that trains.

    Args:
        command: its name, which is also its JSON schema's.
        output: when quiet, no header and no progress.
    """

    def __init__(self, command: str, output: Output):
        show_log(output.verbose)
        self.command, self.quiet, self.as_json = command, output.quiet, output.as_json
        self._run_dir: RunDir | None = None
        self._target = ""

    def start(self, experiment: Experiment, run_dir: RunDir | None) -> Sequence[Hook]:
        """Print the header, and return the hook that shows progress; `training.train`'s on_start."""
        self._run_dir, target = run_dir, experiment.config.target
        self._target = {"path": str(target.path), "python": ""}.get(target.kind, target.name)
        if self.quiet:
            return []
        for line in header(experiment, run_dir):
            say(line)
        if run_dir is None:
            return []
        return progress_hooks(experiment, run_dir.name)

    def follow(self, work: Callable[[], Run]) -> int:
        """Do the work, which returns a run; say what came of it, and return the exit code."""
        from ...experiments.run_directory.run import Run

        try:
            run = work()
        except (DivergedError, Interrupted) as end:
            if self._run_dir is None:  # nothing has begun
                raise
            run = Run(self._run_dir)
            self._conclude(run, end)
            return end.exit_code
        if self._run_dir is None and not self.quiet:
            say(f"{run.name} was finished before: this is its result; {_AFTER_THE_END[self.command]}")
        self._conclude(run)
        return _CODES.get(run.result["outcome"], ExitCode.BUG)  # a run without an outcome is no success

    def dry_run(self, config: Config) -> int:
        """Build everything, take one step, say what came of it, and return the exit code."""
        from ...experiments.training.train import dry_run

        values = dry_run(config, self.start)
        if self.as_json:
            result_json("optrun/dry-run@1", values=values)
        else:
            result("dry run: one step; " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
        return ExitCode.DONE

    def _conclude(self, run: Run, end: DivergedError | Interrupted | None = None) -> None:
        summary = run.result
        if isinstance(end, DivergedError):
            say_error(end)
        elif end is not None:
            say(f"stopped by {signal.Signals(end.signum).name} after step {summary['steps']}; the state is saved")
        if summary["outcome"] == "diverged":
            self._explain(run)
        for note in getattr(end, "__notes__", ()):  # what went wrong besides, such as a last save
            say(f"  {note}")
        if self.as_json:
            content = {key: value for key, value in summary.items() if key != "schema"}
            result_json(f"optrun/{self.command}@1", run=run.name, path=shown(run.path), **content)
        elif self.quiet:
            result(result_pairs(run.name, summary))
        elif not isinstance(end, Interrupted):
            result(result_lines(run.name, summary, with_message=end is None))
        if "profile" in summary and not (self.quiet or self.as_json):
            result(["", *profile_lines(summary)])
        if not self.quiet:
            for line in slow_hook_lines(summary, sys.stderr):
                say(line)
        github.add_step_summary(run.name, summary)
        if isinstance(end, Interrupted):
            say(f"resume: {resume_command(run.dir)}")
        elif not self.quiet:
            say(f"next: {self._next_command(run.name, summary)}")

    def _explain(self, run: Run) -> None:
        from ..texts.diverged_text import ways_out, why_lines

        for line in [*why_lines(run), *ways_out(run)]:
            say(line)

    def _next_command(self, name: str, summary: Mapping[str, Any]) -> str:
        lr = summary["config"]["optimizer"].get("lr")
        if summary["outcome"] == "diverged" and self._target and lr:
            return f"optrun train {self._target} optimizer.lr={lr / 10:g}"
        return f"optrun show {name}"

"""Proof, for one configuration, that a run which is stopped and resumed is the run that was never stopped.

Each part trains in a new process, as a user would have it, so that nothing is left in memory; the run in one go writes
down what it consists of (`resume_trace`), and the runs in parts compare themselves with it, bit by bit.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ...components.data import StreamBatches
from ...config import Config, ConfigError
from ...config.problems import Problem
from ...errors import Interrupted, UsageError
from ...registry.handed import is_of_a_program
from ...run_directory.run_dir import RunDir
from ...system import ranks, signals
from ...system.places import held_places
from ...system.processes import Processes
from ...system.raised import refusing_exits
from ...system.switches import held_switches
from ...training.build import build
from ...training.experiment import Experiment
from ...training.load import load_config
from ...training.train import resume, train
from .trace import STATE, Difference, Recorder

_MOST_STEPS = 200  # unless told otherwise: an epoch may take hours
_REMOTE = ("mlflow", "wandb")  # they would send these runs to a server


@dataclass(frozen=True)
class ResumeCheck:
    """The result of `verify_resume`.

    Args:
        name: of the configuration.
        num_steps: how many steps each run took.
        save_points: the steps after which a run was stopped and resumed.
        digests: SHA-256 after the last step of the run in one go, by section: model, optimizer, updates, hooks,
            counters, rng, and rows (the metric rows, but for their `time`).
        differences: the first one of each save point that has any.
        notes: what else there is to know.
    """

    name: str
    num_steps: int
    save_points: tuple[int, ...]
    digests: Mapping[str, str]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        """True if nothing differs."""
        return not self.differences

    @property
    def first(self) -> Difference | None:
        """Return the difference that comes up first."""
        return min(self.differences, key=lambda each: (each.step, each.save_point), default=None)


@held_places()
@held_switches()
@refusing_exits()
def verify_resume(
    config: Config | str | Path | Mapping[str, Any],
    *,
    num_steps: int | None = None,
    at: Sequence[int] = (),
    every: bool = False,
) -> ResumeCheck:
    """Compare a run of some steps with runs that are stopped on the way and resumed in a new process.

    All of it happens in a folder that is deleted. It holds up to two states for each save point; the hooks of the
    configuration take part, except those that send rows to a server.

    Args:
        config: of the run: from `load_config`, or what it takes.
        num_steps: how many; by default an epoch and two steps, but at most 200 and at most the whole run.
        at: stop after these steps; by default after the first, at the middle, at the end of the first epoch, and one
            before the last.
        every: stop after each step in turn.

    Raises:
        UsageError: the run has no such steps, or ends earlier.
        DivergedError: the run meets a value that is not finite within these steps.
    """
    ranks.refuse_several("verify-resume")
    config = load_config(config)
    if own := [part for part in config.components() if is_of_a_program(part.name)]:
        raise UsageError(
            f"{own[0].path}: {own[0].label} is of a notebook or program, which the processes that train do not have: "
            "put it into a file, and import it from there or name it ./file.py:Name"
        )
    experiment = build(config)  # what cannot be built is found here, at its place in the configuration
    num_steps = _num_steps(num_steps, experiment)
    points = _save_points(num_steps, experiment.length.steps_per_epoch, at, every)
    notes = _notes(num_steps, experiment, bool(at) or every)
    jobs = _num_jobs(experiment, len(points))
    del experiment
    steps = sorted({1, num_steps, *points, *(point + 1 for point in points)})
    with _placed(config), tempfile.TemporaryDirectory(prefix="optrun-") as folder, signals.graceful() as stop:
        task = _Task(_plain(config), Path(folder), tuple(steps))
        processes = Processes(stop)
        straight = processes.call(_train_part, task, "straight", None, num_steps)
        if straight.step < num_steps:
            raise UsageError(
                f"the run ends by itself after step {straight.step} of {num_steps}: verify fewer steps "
                f"(--steps {straight.step})"
            )

        def in_parts(point: int) -> Difference | None:
            run = f"stopped-{point}"
            return (
                processes.call(_train_part, task, run, point, point).difference
                or processes.call(_resume_part, task, run, point, num_steps).difference
            )

        with ThreadPoolExecutor(jobs) as threads:
            found = list(threads.map(processes.guarded(in_parts), points))
    digests = {section: straight.digests[section] for section in STATE if section in straight.digests}
    return ResumeCheck(config.name, num_steps, points, digests, tuple(each for each in found if each), notes)


class _Task(NamedTuple):
    """The things that all parts have in common: the configuration, the folder for everything, the steps to compare."""

    config: dict[str, Any]
    folder: Path
    steps: tuple[int, ...]


class _Part(NamedTuple):
    """The result of a part."""

    step: int
    digests: dict[str, str]
    difference: Difference | None


def _train_part(task: _Task, run: str, save_point: int | None, until: int) -> _Part:
    """Train from the beginning until a step; without a save point, write down what there is to compare."""
    recorder = Recorder(task.folder / "trace", task.steps, until, save_point)
    with contextlib.suppress(_Asked), _asking(recorder):
        train(task.config, name=run, root=task.folder / "runs", on_start=lambda *_: [recorder])
    return _Part(recorder.step, recorder.digests, recorder.difference)


def _resume_part(task: _Task, run: str, save_point: int, until: int) -> _Part:
    """Go on with what `_train_part` left."""
    recorder = Recorder(task.folder / "trace", task.steps, until, save_point)
    with contextlib.suppress(_Asked), _asking(recorder):
        resume(RunDir(task.folder / "runs" / run), on_start=lambda *_: [recorder])
    return _Part(recorder.step, recorder.digests, recorder.difference)


class _Asked(Exception):
    """The recorder's own signal ended the run."""


@contextlib.contextmanager
def _asking(recorder: Recorder):
    try:
        yield
    except Interrupted:
        if not recorder.asked:
            raise
        raise _Asked from None


def _num_steps(wanted: int | None, experiment: Experiment) -> int:
    length = experiment.length
    if wanted is None:
        most = min(_MOST_STEPS, length.num_steps or _MOST_STEPS)
        wanted = min(most, (length.steps_per_epoch or _MOST_STEPS) + 2)
    if length.num_steps is not None and wanted > length.num_steps:
        raise UsageError(f"the run ends at step {length.num_steps}: cannot verify {wanted} steps of it (--steps)")
    if wanted < 2:
        raise UsageError(f"cannot stop within {wanted} steps and resume: verify at least 2 (--steps, train.steps)")
    return wanted


def _save_points(num_steps: int, per_epoch: int | None, at: Collection[int], every: bool) -> tuple[int, ...]:
    if every and at:
        raise UsageError("--every stops after each step: leave --at out")
    if every:
        return tuple(range(1, num_steps))
    for point in at:
        if not 1 <= point < num_steps:
            raise UsageError(f"cannot stop after step {point} of {num_steps}: give steps from 1 to {num_steps - 1}")
    points = at or {1, max(1, num_steps // 2), per_epoch or 1, num_steps - 1}
    return tuple(sorted({point for point in points if point < num_steps}))


def _notes(num_steps: int, experiment: Experiment, chosen: bool) -> tuple[str, ...]:
    per_epoch, data = experiment.length.steps_per_epoch, experiment.batches
    notes = []
    if isinstance(data, StreamBatches):
        way = "its own state" if data.is_exact else "counting: batches before its place are read again"
        notes.append(f"{data.name} is a stream, in which a resumed run finds its place by {way}")
    if not (chosen or per_epoch is None or per_epoch < num_steps or experiment.length.num_steps == num_steps):
        notes.append(f"an epoch is {per_epoch} steps: --steps {per_epoch + 2} includes the end of one")
    return tuple(notes)


def _num_jobs(experiment: Experiment, num_points: int) -> int:
    """Return how many runs at a time: as many as there are cores for, one where there is one device."""
    if experiment.device.type != "cpu":
        return 1
    return max(1, min(num_points, (os.cpu_count() or 1) // experiment.threads))


def _plain(config: Config) -> dict[str, Any]:
    """Return the configuration as plain data, without what sends rows to a server."""
    plain = config.to_dict()
    plain["log"]["to"] = [place for place in plain["log"]["to"] if place not in _REMOTE]
    plain["hooks"] = [hook for hook, part in zip(plain["hooks"], config.hooks, strict=True) if part.name not in _REMOTE]
    return plain


@contextlib.contextmanager
def _placed(config: Config):
    """Place what a part tells of its plain data (`_plain`) in the configuration itself, at the user's line."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(_there(config, problem) for problem in error.problems) from error


def _there(config: Config, problem: Problem) -> Problem:
    section, _, rest = problem.key.partition(".")
    place, _, inner = rest.partition(".")
    if section == "hooks" and place.isdecimal():
        kept = [hook.path for hook in config.hooks if hook.name not in _REMOTE]
        key = ".".join([kept[int(place)], *([inner] if inner else [])])
        return replace(problem, key=key, origin=config.origin(key))
    return replace(problem, origin=config.origin(problem.key))

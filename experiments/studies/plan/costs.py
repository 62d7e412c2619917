"""The cost of a step, an evaluation and a checkpoint: measured on a few real ones, nothing of which is kept."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...components.hooks.checkpoint import CheckpointHook, CheckpointListener
from ...components.hooks.hook import Every, Hook
from ...components.hooks.learning_rate import LearningRateSetterHook
from ...components.hooks.logging import LoggingHook
from ...components.hooks.session_view import BoundSession
from ...components.hooks.stop import StopAfterHook, StopAtStepHook
from ...errors import DivergedError
from ...run_directory.state_tree import flatten_state
from ...training.experiment import Experiment
from ...training.session.session import MonitoredTrainingSession
from ...training.step_timing import Block, mean_secs, time_block, time_steps

_NEVER = Every(secs=1e9)


@dataclass(frozen=True)
class Probe:
    """The costs on this machine, now.

    Args:
        num_steps: how many steps were measured, after the first two.
        step_secs: seconds of a step: in the fastest block of steps, over all of them, in the slowest block.
        evaluation_secs: seconds of one evaluation of the validation part; None where there is none.
        save_secs: seconds of one checkpoint, in the folder for temporary files.
        checkpoint_bytes: its size.
        grows: whether the optimizer's state still grew during these steps, and checkpoints with it.
        compiling_secs: that steps waited for compiled graphs, which are not among their seconds.
    """

    num_steps: int
    step_secs: tuple[float, float, float]
    evaluation_secs: float | None
    save_secs: float
    checkpoint_bytes: int
    grows: bool
    compiling_secs: float = 0.0


def probe(experiment: Experiment, budget_secs: float = 1.0) -> Probe:
    """Take a few steps, evaluate the validation part once and save once, in a folder that is deleted.

    Hooks of the user's own, and those that send or write elsewhere, take no part.

    Args:
        experiment: built for this; its weights are not those of a start afterwards.
        budget_secs: about how long the steps may take; but a run of any length takes three.

    Raises:
        DivergedError: these few steps met a value that is not finite.
    """
    stopwatch = _Stopwatch()
    own = (LearningRateSetterHook, StopAtStepHook, StopAfterHook, LoggingHook)
    hooks = [hook for hook in experiment.hooks[: _num_stock(experiment)] if isinstance(hook, own)]
    with tempfile.TemporaryDirectory(prefix="optrun-") as folder:
        session = MonitoredTrainingSession(
            experiment.train_op,
            checkpoint_dir=folder,
            hooks=[*hooks, _Later(hooks), CheckpointHook(_NEVER, listeners=[stopwatch])],  # saves once, at the end
            evaluators=experiment.evaluators,
            init_fn=experiment.initialise if experiment.config.init is not None else None,
        )
        with session:
            blocks, sizes = _timed_steps(session, experiment, budget_secs)
            evaluation_secs = _timed_evaluation(experiment)
        if isinstance(session.error, DivergedError):  # the policy `stop` ends a session without raising
            raise session.error
    times = [block.secs / block.num_steps for block in blocks]
    return Probe(
        sum(block.num_steps for block in blocks),
        (min(times), mean_secs(blocks), max(times)),
        evaluation_secs,
        stopwatch.secs,
        stopwatch.num_bytes,
        sizes[1] > sizes[0],
        experiment.train_op.compiled.compiling_secs,
    )


class _Later(Hook):
    """Stands for what evaluates in the run, and not in these few steps, what other hooks wait for."""

    def __init__(self, hooks: Iterable[Hook]):
        self.publishes = tuple(metric for hook in hooks for metric in hook.watches)


class _Stopwatch(CheckpointListener):
    """Takes the time of a save."""

    def __init__(self) -> None:
        self.secs, self.num_bytes = 0.0, 0

    def before_save(self, session: BoundSession, step: int) -> None:
        self.secs = -time.perf_counter()

    def after_save(self, session: BoundSession, step: int, path: Path) -> None:
        self.secs += time.perf_counter()
        self.num_bytes = path.stat().st_size


def _num_stock(experiment: Experiment) -> int:
    """Return how many of the hooks the sections of the configuration ask for; the user's come after them."""
    return len(experiment.hooks) - len(experiment.config.hooks)


def _timed_steps(
    session: MonitoredTrainingSession, experiment: Experiment, budget_secs: float
) -> tuple[list[Block], tuple[int, int]]:
    """Return blocks of steps with their seconds, and the bytes of the state after the first step and at the end."""

    def take(size: int) -> int:
        before = experiment.train_op.batch
        for _ in range(size):
            if session.should_stop():
                break
            session.run(experiment.train_op)
        return experiment.train_op.batch - before

    def compiling_secs() -> float:
        return experiment.train_op.compiled.compiling_secs

    first = time_block(take, 1, experiment.device, compiling_secs)
    before = _state_bytes(experiment)
    blocks = time_steps(take, experiment.device, budget_secs, compiling_secs)
    return blocks or [first], (before, _state_bytes(experiment))


def _timed_evaluation(experiment: Experiment) -> float | None:
    """Measure the validation part; the test part is not looked at for a plan."""
    if "val" not in experiment.evaluators:
        return None
    started = time.perf_counter()
    experiment.evaluators["val"]()
    return time.perf_counter() - started


def _state_bytes(experiment: Experiment) -> int:
    tensors, _ = flatten_state("optimizer", experiment.train_op.state_dict()["optimizer"])
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())

"""Decisions before a session starts: the order and the names of its hooks, and that something will end it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...components.hooks.checkpoint import CheckpointHook
from ...components.hooks.evaluation import EvaluationHook
from ...components.hooks.hook import Every, Hook, defines
from ...components.hooks.step_counter import StepCounterHook
from ...components.hooks.summary import SummaryHook
from ...errors import SessionError, UsageError, unknown_name
from ..step.train_op import TrainOp


def arrange_hooks(
    hooks: Sequence[Hook], chief_only_hooks: Sequence[Hook], default_hooks: Sequence[Hook], is_chief: bool
) -> dict[str, Hook]:
    """Return the hooks that take part, by name, in the order in which they are called.

    Hooks of one name are numbered in the order of their registration: `logging`, `logging_2`.

    Args:
        hooks: the session's; those that are `chief_only` are left out elsewhere.
        chief_only_hooks: left out elsewhere too.
        default_hooks: those that the session's own arguments ask for; left out elsewhere too.
        is_chief: whether this process is the chief.
    """
    taking_part = [hook for hook in hooks if is_chief or not hook.chief_only]
    if is_chief:
        taking_part += [*chief_only_hooks, *default_hooks]
    named: dict[str, Hook] = {}
    for hook in sorted(taking_part, key=lambda hook: hook.phase):
        name, number = hook.name, 1
        while name in named:
            number += 1
            name = f"{hook.name}_{number}"
        named[name] = hook
    return named


@dataclass(frozen=True)
class Defaults:
    """The hooks that a session sets up by itself, with TensorFlow 1's names; each pair excludes each other.

    Args:
        save_checkpoint_secs: seconds between checkpoints; 600 if neither this nor steps is given.
        save_checkpoint_steps: updates between checkpoints.
        save_summaries_secs: seconds between summaries; none if neither this nor steps is given.
        save_summaries_steps: updates between summaries, the first at step 1.
        log_step_count_steps: updates between two counts of steps per second; none if not given.

    Raises:
        SessionError: both of a pair are given.
    """

    save_checkpoint_secs: float | None = None
    save_checkpoint_steps: int | None = None
    save_summaries_secs: float | None = None
    save_summaries_steps: int | None = None
    log_step_count_steps: int | None = None

    def __post_init__(self) -> None:
        for what in ("save_checkpoint", "save_summaries"):
            if getattr(self, f"{what}_secs") is not None and getattr(self, f"{what}_steps") is not None:
                raise SessionError(f"{what}_secs and {what}_steps exclude each other: give one")

    def hooks(self, given: Sequence[Hook], has_checkpoints: bool, has_summaries: bool) -> list[Hook]:
        """Make the hooks that are asked for; a CheckpointHook also unasked, where there is a folder and none is given.

        Args:
            given: the session's hooks.
            has_checkpoints: whether there is a checkpoint_dir.
            has_summaries: whether there is a folder for summaries.

        Raises:
            SessionError: a CheckpointHook is both given and asked for, or summaries have no folder to go to.
        """
        hooks: list[Hook] = []
        if self.log_step_count_steps is not None:
            hooks.append(StepCounterHook(Every(steps=self.log_step_count_steps), first=1))
        if (every := _every(self.save_summaries_secs, self.save_summaries_steps)) is not None:
            if not has_summaries:
                raise SessionError("save_summaries_secs and _steps need a folder: give summary_dir or checkpoint_dir")
            hooks.append(SummaryHook(every=every, first=None if every.secs else 1))
        every = _every(self.save_checkpoint_secs, self.save_checkpoint_steps)
        if any(isinstance(hook, CheckpointHook) for hook in given):
            if every is not None:
                raise SessionError("save_checkpoint_secs and _steps set up a CheckpointHook: do not give one as well")
        elif has_checkpoints:
            hooks.append(CheckpointHook(every or Every(secs=600.0)))
        return hooks


def _every(secs: float | None, steps: int | None) -> Every | None:
    if secs is not None:
        return Every(secs=secs)
    return Every(steps=steps) if steps is not None else None


def check_metrics(hooks: Mapping[str, Hook], evaluators: Mapping[str, Any]) -> None:
    """Refuse hooks that wait for a metric which nothing will evaluate while the session trains, as far as it is known.

    What an evaluator without `metrics` returns is not known, nor what a user's own hook publishes.

    Args:
        hooks: of the session, by name.
        evaluators: by the split that they measure.

    Raises:
        UsageError: the message names the hook, and the nearest metric.
    """
    splits = {split for hook in hooks.values() if isinstance(hook, EvaluationHook) for split in hook.splits}
    published = {name for hook in hooks.values() for name in hook.publishes}
    has_own = any(type(hook).__module__.partition(".")[0] != __name__.partition(".")[0] for hook in hooks.values())
    for hook_name, hook in hooks.items():
        for metric in hook.watches:
            split = metric.partition("/")[0]
            if metric in published or (has_own and split not in splits):
                continue
            if split not in splits:
                have = f"evaluated are: {', '.join(sorted(splits))}" if splits else "nothing is evaluated"
                raise UsageError(
                    f"hook '{hook_name}' waits for {metric}, which nothing evaluates in this session: {have}"
                )
            measured = getattr(evaluators.get(split), "metrics", None)
            names = [] if measured is None else [f"{split}/{label}" for label in ("loss", *measured)]
            if names and metric not in names:
                raise UsageError(f"hook '{hook_name}' waits for it: {unknown_name('metric', metric, names)}")


def stop_compiling_for(hooks: Mapping[str, Hook], train_op: TrainOp) -> None:
    """Take steps uncompiled where a hook looks at gradients, which a compiled step keeps to itself."""
    for name, hook in hooks.items():
        if defines(hook, "after_gradients"):
            train_op.compiled.stop(f"hook '{name}' looks at gradients")
        elif "grad_norm" in hook.fetches:
            train_op.compiled.stop(f"hook '{name}' fetches grad_norm")


def check_that_it_ends(hooks: Iterable[Hook], train_op: TrainOp | None) -> None:
    """Refuse a session that would never end.

    Raises:
        SessionError: no hook stops it, and the data is endless, or not known yet.
    """
    data: Any = train_op.data if train_op is not None else None
    if getattr(data, "num_batches", None) is None and not any(hook.stops for hook in hooks):
        raise SessionError(
            "nothing would end this session: add StopAtStepHook(last_step=…), a hook with `stops = True`, "
            "or give the session a train op whose data is finite"
        )

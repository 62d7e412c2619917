"""Checkpoints: when they are saved, and which are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ...errors import UsageError
from ...registry.arguments import MetricName, Positive
from ...run_directory import checkpoints
from ...system import ranks
from ..metrics import own_goal
from . import register_hook
from .hook import Evaluation, Every, Hook, Phase, defines
from .session_view import BoundSession, SessionView, StepView


class CheckpointListener:
    """Something that is told of each checkpoint; define only what you need. A hook has events of the same names.

    Source: tf.train.CheckpointSaverListener, TensorFlow 1.
    """

    def begin(self, session: SessionView) -> None:
        """Prepare; called once, before anything is restored."""

    def before_save(self, session: BoundSession, step: int) -> None:
        """See the session before its state of `step` completed updates is written."""

    def after_save(self, session: BoundSession, step: int, path: Path) -> bool | None:
        """See the file that was written; True ends the session."""

    def end(self, session: SessionView, step: int) -> None:
        """Finish; called after the last checkpoint, whatever the outcome."""


class _Saving(Hook):
    """The second call of a CheckpointHook at a step: all that save this step have said so by now.

    Args:
        hook: that asks for it.
    """

    def __init__(self, hook: CheckpointHook):
        self._hook, self.name = hook, hook.name

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        self._hook.save(ctx.session)


class SaveFunctions(Hook):
    """Functions around each checkpoint, for `session.on_checkpoint`.

    Args:
        before: is given the step.
        after: is given the file, and ends the session if it returns True.
    """

    def __init__(self, before: Callable[[int], object] | None, after: Callable[[Path], object] | None):
        self._before, self._after = before, after

    @property
    def sees_files(self) -> bool:
        """Return True if there is a function that is given the file."""
        return self._after is not None

    def before_save(self, session: BoundSession, step: int) -> None:
        if self._before is not None:
            self._before(step)

    def after_save(self, session: BoundSession, step: int, path: Path) -> bool:
        return self._after is not None and self._after(path) is True


@register_hook("checkpoint", source="tf.train.CheckpointSaverHook and tf.train.Saver (TensorFlow 1)")
class CheckpointHook(Hook):
    """Save the whole state, and keep the newest, the best and one every few hours.

    The restored step is not saved again, step 0 only where other ranks wait for it, the last step always.

    A thread writes the file, from a copy in memory, while the next steps are taken; older files are deleted when it is
    durable. Where somebody is to see it (`listeners`, a hook with `after_save`) the next step waits for it.

    Each of several such hooks keeps what it has saved by its own rule. What two save at one step is one file, which
    stays while either wants it. A checkpoint says which hooks keep it, by name; none deletes what a hook that is gone
    has kept, or what was saved by `session.save_checkpoint()`.

    Args:
        every: when, in steps, epochs or seconds.
        keep: how many of the newest to keep, at least 2.
        best: also save and keep the step at which this metric was best, such as `val/accuracy`.
        mode: whether `max` or `min` of it is better; left out, what the metric itself has, which it may not contradict.
        keep_every_hours: also keep one checkpoint for each so many hours of the run.
        listeners: are told of each checkpoint, in this order; in Python only.

    Raises:
        UsageError: fewer than 2 are kept: then a damaged file could be the only one. Or nothing says which way `best`
            is better.
    """

    only_reads = True
    phase = Phase.PERSIST
    chief_only = True

    def __init__(
        self,
        every: Every = Every(secs=600.0),  # noqa: B008 (frozen)
        keep: int = 5,
        best: MetricName | None = None,
        mode: Literal["max", "min"] | None = None,
        keep_every_hours: Positive | None = None,
        listeners: Sequence[CheckpointListener] = (),
    ):
        if keep < 2:
            raise UsageError(f"CheckpointHook keeps at least 2 checkpoints, got keep={keep}")
        self.trigger = every
        self.keep, self.keep_every_hours = keep, keep_every_hours
        self.goal = None if best is None else own_goal(best, mode)
        self.watches = () if best is None else (best,)
        self._best_of = [best, mode or ("max" if self.goal is None else self.goal.mode)]
        self.listeners = tuple(listeners)
        self.best_step: int | None = None
        self.best_value: float | None = None
        self._for_good: list[int] = []  # one for each so many hours, and what was best by another metric
        self._hours_kept = 0.0
        self._asked_step: int | None = None  # that it wants to be saved
        self._saved_step: int | None = None
        self._saving = _Saving(self)

    def begin(self, session: SessionView) -> None:
        self._asked_step = self._saved_step = None
        for listener in self.listeners:
            listener.begin(session)

    def after_create_session(self, session: BoundSession) -> None:
        if session.restored_step is not None:
            self._asked_step, self._saved_step = None, session.restored_step
        elif ranks.world_size() > 1:  # the others wait for it
            self._save_for_all(session)

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        self._ask(ctx.session)

    def before_save(self, session: BoundSession, step: int) -> None:
        for listener in self.listeners:
            listener.before_save(session, step)

    def after_save(self, session: BoundSession, step: int, path: Path) -> bool:
        answers = [listener.after_save(session, step, path) for listener in self.listeners]  # each is told
        return any(answer is True for answer in answers)

    def end(self, session: SessionView, outcome: str) -> None:
        # A session that failed in the middle of a step, or diverged, has nothing whole to save.
        if session.train_op is not None and session.is_whole and outcome != "diverged" and session.step > 0:
            self._save_for_all(session, at_end=True)
        for listener in self.listeners:
            listener.end(session, session.step)

    def after_evaluation(self, session: BoundSession, evaluation: Evaluation) -> None:
        value = None if self.goal is None else evaluation.values.get(self.goal.metric)
        if self.goal is not None and value is not None and self.goal.is_better(value, self.best_value):
            self.best_step, self.best_value = evaluation.step, value
            self._ask(session)

    def rule(self) -> Callable[[Sequence[int]], set[int]]:
        """Return what it wants to keep as of now: a function of the steps of its checkpoints, oldest first."""
        best = [] if self.best_step is None else [self.best_step]
        chosen = {*self._for_good, *best}
        return lambda own: {*own[-self.keep :], *chosen}

    def save(self, session: SessionView, at_end: bool = False) -> None:
        """Save the step for all hooks that have asked for it, unless it is saved; delete what none wants any more."""
        step, folder = session.step, session.checkpoint_dir
        if folder is None or self._asked_step != step or self._saved_step == step:
            return
        hooks = {name: hook for name, hook in session.named_hooks.items() if isinstance(hook, CheckpointHook)}
        asking = {name: hook for name, hook in hooks.items() if hook._asked_step == step}
        for hook in asking.values():
            hook._keep_for_its_hour(session)
        if at_end or any(map(_sees_files, session.hooks)):
            session.save_checkpoint(kept_by=asking)
            checkpoints.prune(folder, {name: hook.rule() for name, hook in hooks.items()})
        else:
            rules = {name: hook.rule() for name, hook in hooks.items()}
            session.save_in_background(self._saving, asking, then=lambda: checkpoints.prune(folder, rules))
        for hook in asking.values():
            hook._saved_step = step

    def _save_for_all(self, session: SessionView, at_end: bool = False) -> None:
        for hook in session.hooks:
            if isinstance(hook, CheckpointHook):
                hook._asked_step = session.step
        self.save(session, at_end)

    def _ask(self, session: BoundSession) -> None:
        if self._asked_step != session.step:
            self._asked_step = session.step
            session.request_call(self._saving)

    def _keep_for_its_hour(self, session: SessionView) -> None:
        hours = session.elapsed_secs / 3600
        if self.keep_every_hours and hours >= self._hours_kept + self.keep_every_hours:
            self._hours_kept = hours
            self._for_good.append(session.step)

    def state_dict(self) -> dict[str, Any]:
        return {
            "best_of": self._best_of,
            "best_step": self.best_step,
            "best_value": self.best_value,
            "hourly": self._for_good,
            "hours_kept": self._hours_kept,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._for_good, self._hours_kept = list(state["hourly"]), state["hours_kept"]
        if state["best_of"] == self._best_of:
            self.best_step, self.best_value = state["best_step"], state["best_value"]
        elif state["best_step"] is not None:  # a best value of another metric means nothing here, but is not deleted
            self._for_good.append(state["best_step"])


def _sees_files(hook: Hook) -> bool:
    """Return True if a hook is to see each file when it is there."""
    if isinstance(hook, CheckpointHook) and type(hook).after_save is CheckpointHook.after_save:
        return bool(hook.listeners)
    return hook.sees_files if isinstance(hook, SaveFunctions) else defines(hook, "after_save")

"""The number of evaluations and checkpoints of a run, and the time that all of it takes."""

from __future__ import annotations

from dataclasses import dataclass

from ...components.hooks.checkpoint import CheckpointHook
from ...components.hooks.evaluation import EvaluationHook
from ...training.experiment import Experiment
from .costs import Probe
from .evaluating import Evaluating
from .saving import Saving

_SPREAD = 0.1  # what a minute on the same machine differs from the next by, besides what the probe saw


@dataclass(frozen=True)
class Saves:
    """The checkpoints of a run, of all its checkpoint hooks.

    Args:
        trigger: when one is saved besides the best and the last.
        count: how many steps that makes, the last one included; None where a clock decides and no time is known.
        num_best: how many more there can be, one for each evaluation that is the best so far; None where that is not
            known.
        most_files: how many are kept at the same time; None where that is not known.
        num_bytes: the size of one, None if it was not measured.
        grows: whether they were still growing.
    """

    trigger: str
    count: int | None
    num_best: int | None
    most_files: int | None
    num_bytes: int | None
    grows: bool


@dataclass(frozen=True)
class Duration:
    """The duration of a run in seconds, with its bounds; and its steps, where a clock ends it."""

    secs: float
    low_secs: float
    high_secs: float
    num_steps: int


class Forecast:
    """Counts evaluations and saves, and adds up their times.

    Args:
        experiment: with the hooks of the run.
        probed: what things cost, if that was measured.
    """

    def __init__(self, experiment: Experiment, probed: Probe | None):
        config = experiment.config
        sizes = experiment.splits.sizes().items()
        self._probe, self._sizes = probed, {name: size for name, size in sizes if size is not None}
        evaluating = [hook for hook in experiment.hooks if isinstance(hook, EvaluationHook)]
        hooks = [hook for hook in experiment.hooks if isinstance(hook, CheckpointHook)]
        goals = {hook.goal for hook in hooks if hook.goal is not None}
        self._num_goals = len(goals) if any(hook.splits for hook in evaluating) else 0
        self.max_secs = config.train.max_time.amount if config.train.max_time else None
        per_epoch = experiment.length.steps_per_epoch
        self.num_steps = experiment.length.num_steps
        if self.num_steps is None and probed is not None and self.max_secs is not None:
            self.num_steps = max(1, round(self.max_secs / probed.step_secs[1]))
        self._evaluating = Evaluating(evaluating, self._sizes, per_epoch, self.num_steps)
        self.num_evaluations = self._evaluating.count()
        self._saving = Saving(hooks, per_epoch, self.num_steps)

    def saves(self) -> Saves:
        """Return what is known of the checkpoints."""
        num_best = self._evaluating.num_steps() if self._num_goals else 0
        duration, count = self.duration(), self._num_saves()
        hours = [hook.keep_every_hours for hook in self._saving.hooks if hook.keep_every_hours]
        most = None
        if duration or not hours:
            hourly = sum(int(duration.secs / 3600 / each) for each in hours) if duration else 0
            most = self._saving.most_newest(bool(self._num_goals)) + self._num_goals + hourly
        if most is not None and count is not None and num_best is not None:
            most = min(most, count + num_best)
        return Saves(
            self._saving.trigger,
            count,
            num_best,
            most,
            self._probe.checkpoint_bytes if self._probe else None,
            bool(self._probe and self._probe.grows),
        )

    def duration(self) -> Duration | None:
        """Return the duration of the run; None if nothing was measured."""
        if self._probe is None or self.num_steps is None:
            return None
        num_best = (self._evaluating.num_steps() or 0) if self._num_goals else 0
        saves, save_secs = self._num_saves() or 1, self._probe.save_secs
        others = self._evaluation_secs() + saves * save_secs
        low, mean, high = (self.num_steps * secs for secs in self._probe.step_secs)
        bounds = [(low + others) * (1 - _SPREAD), mean + others, (high + others) * (1 + _SPREAD)]
        bounds[1] += save_secs * num_best / 2  # somewhere between none and all of them are better than those before
        bounds[2] += save_secs * num_best
        low, mean, high = (min(secs, self.max_secs or secs) for secs in bounds)
        return Duration(mean, low, high, self.num_steps)

    def _num_saves(self) -> int | None:
        """Count the checkpoints that the triggers ask for, and the last."""
        secs = None
        if self._saving.goes_by_the_clock and self._probe is not None and self.num_steps is not None:
            secs = self.num_steps * self._probe.step_secs[1] + self._evaluation_secs()
            secs = min(secs, self.max_secs or secs)
        return self._saving.count(secs)

    def _evaluation_secs(self) -> float:
        """Return the seconds of all evaluations; other parts take those of as many examples of the validation's."""
        probed = self._probe
        if probed is None or probed.evaluation_secs is None or self.num_steps is None:
            return 0.0
        return probed.evaluation_secs * self._evaluating.num_examples() / self._sizes["val"]

"""The values of all schedules over a whole run, evaluated before it."""

from __future__ import annotations

from ...components.hooks.scheduled import ScheduledHook
from ...components.schedules.rate import LearningRate
from ...components.schedules.values import checked
from ...config.located import located
from ...training.experiment import Experiment

_MOST = 100_000  # values; of a longer run, or one without a known length, steps at equal distances or the first ones


def try_schedules(experiment: Experiment) -> None:
    """Ask the schedules of the rate and of other hyperparameters for their value at each step of the run.

    Raises:
        ConfigError: one gives no finite number, or a negative one.
    """
    num_steps = experiment.length.num_steps or 1000
    steps = range(0, num_steps, -(-num_steps // _MOST))
    rate = LearningRate.of(experiment.schedule, experiment.train_op.optimizer)
    with located(experiment.config, "schedule"):
        for step in (*steps, num_steps - 1):
            rate(step)
    parts = experiment.config.hooks
    for hook, part in zip(experiment.hooks[len(experiment.hooks) - len(parts) :], parts, strict=True):
        if isinstance(hook, ScheduledHook):
            with located(experiment.config, f"{part.path}.schedule"):
                for step in (*steps, num_steps - 1):
                    checked(hook.schedule(step), hook.schedule, step)

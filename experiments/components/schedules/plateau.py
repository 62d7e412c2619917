"""A schedule that goes by what the run has measured."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from annotated_types import Gt, Lt

from ...registry.arguments import Fraction, MetricName, Natural, NonNegative
from . import Steps, register_schedule


@register_schedule("plateau", source="torch.optim.lr_scheduler.ReduceLROnPlateau")
class Plateau:
    """Multiply the rate by `factor` when a metric has not improved for some evaluations.

        value(step) = max(lowest, factor^d),  d = the number of times until this step that more than `patience`
        evaluations in a row were no better than the best one before them

    It is worked out anew from the evaluations of the run, which the hook that feeds the value keeps, and is a function
    of these and of the step alone: a resumed run, which has the same evaluations, runs at the same rates. Another
    `eval.every` means other evaluations, and so other rates.

    Args:
        metric: what is watched: `val/loss`, or another metric of the evaluations.
        mode: whether `min` or `max` is better; left out, what the metric itself has: `min` for a loss, and for others
            what the configuration knows; in Python it is needed for these.
        factor: what the rate is multiplied by.
        patience: so many evaluations in a row without improvement change nothing yet.
        threshold: by how much a value must be better than the best one to be an improvement.
        threshold_mode: `rel`: the threshold is a part of the best value's size; `abs`: it is the difference itself.
        cooldown: so many evaluations after a reduction are not counted as bad.
        lowest: the multiple of optimizer.lr below which it does not fall (torch: min_lr).
        start: evaluations after this step count; left out, those after the warm-up, or in its piece of a sequence.

    Source: torch's ReduceLROnPlateau, without its `eps`. Below zero, torch's `rel` lets a value that is a little worse
    than the best one pass for an improvement; here it does not.

    Example:
        >>> from optrun.experiments import make_schedule
        >>> schedule = make_schedule("plateau", patience=1)
        >>> schedule.function.see([(step, {"val/loss": 2.0}) for step in (10, 20, 30)])
        >>> [round(schedule(step), 4) for step in (29, 30)]  # two evaluations no better than the first
        [1.0, 0.1]
    """

    def __init__(
        self,
        *,
        metric: MetricName = "val/loss",
        mode: Literal["max", "min"] | None = None,
        factor: Annotated[float, Gt(0), Lt(1)] = 0.1,
        patience: Natural = 10,
        threshold: NonNegative = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: Natural = 0,
        lowest: Fraction = 0.0,
        start: Steps | None = None,
    ):
        if mode is None and metric.rpartition("/")[2] != "loss":
            raise ValueError(f"mode: say whether `max` or `min` of {metric} is better")
        self.metric, self.mode, self.factor, self.patience = metric, mode or "min", factor, patience
        self.threshold, self.threshold_mode, self.cooldown = threshold, threshold_mode, cooldown
        self.lowest, self.start = lowest, start or 0
        self.see([])

    def __call__(self, step: int) -> float:
        return self._values[bisect_right(self._drops, step)]

    def see(self, evaluations: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Go by these evaluations from now on: all those of the run, (step, metrics), in the order of their steps."""
        self._drops: list[int] = []
        self._values = [1.0]
        best, bad, resting = math.inf if self.mode == "min" else -math.inf, 0, 0
        for step, metrics in evaluations:
            if step <= self.start or self.metric not in metrics:
                continue
            value = metrics[self.metric]
            best, bad = (value, 0) if self._is_better(value, best) else (best, bad + 1)
            if resting:
                resting, bad = resting - 1, 0
            if bad > self.patience:
                self._drops.append(step)
                self._values.append(max(self._values[-1] * self.factor, self.lowest))
                resting, bad = self.cooldown, 0

    def _is_better(self, value: float, best: float) -> bool:
        """Compare; nan is never better."""
        sign = -1 if self.mode == "min" else 1
        if math.isinf(best):
            return sign * value > sign * best
        if self.threshold_mode == "abs":
            return sign * value > sign * (best + sign * self.threshold)
        outwards = sign if best >= 0 else -sign  # the bar lies on the better side of the best value, below zero too
        return sign * value > sign * best * (1 + outwards * self.threshold)

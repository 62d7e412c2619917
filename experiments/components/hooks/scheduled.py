"""The common part of the hooks that feed scheduled values: they keep the evaluations that some schedules go by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..schedules import watching
from .hook import Evaluation, Hook, Phase
from .session_view import BoundSession, SessionView


class ScheduledHook(Hook):
    """Feeds what a schedule says, a function of the step and, for a schedule that watches a metric, of evaluations.

    The evaluations are its only state, and what the schedule makes of them is worked out again from all of them.

    Args:
        schedule: a function of the step.
    """

    phase = Phase.CONTROL

    def __init__(self, schedule: Callable[[int], float]):
        self.schedule = schedule
        self._watching = watching(schedule)
        self.watches = tuple(part.metric for part in self._watching)
        self._evaluations: list[tuple[int, dict[str, float]]] = []

    def begin(self, session: SessionView) -> None:
        self._go_by([])

    def after_evaluation(self, session: BoundSession, evaluation: Evaluation) -> None:
        """Note an evaluation; splits that are measured separately at one step make one."""
        if not self._watching:
            return
        last, known = self._evaluations[-1] if self._evaluations else (-1, {})
        if evaluation.step == last:
            self._go_by([*self._evaluations[:-1], (last, {**known, **evaluation.values})])
        elif evaluation.step > last:
            self._go_by([*self._evaluations, (evaluation.step, dict(evaluation.values))])

    def _go_by(self, evaluations: list[tuple[int, dict[str, float]]]) -> None:
        self._evaluations = evaluations
        for part in self._watching:
            part.see(evaluations)

    def state_dict(self) -> dict[str, Any]:
        return {"evaluations": self._evaluations} if self._watching else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._go_by([(step, values) for step, values in state.get("evaluations", [])])

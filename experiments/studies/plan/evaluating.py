"""The evaluations that all evaluation hooks of a run make, while it trains and at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...components.hooks.evaluation import EvaluationHook
from .firing import firing, steps_of


class Evaluating:
    """Counts the evaluations of a run, and the examples that they measure.

    Args:
        hooks: of the run, in their order.
        sizes: of the splits, in examples.
        steps_per_epoch: for triggers in epochs.
        num_steps: of the run; None where that is not known.
    """

    def __init__(
        self,
        hooks: Sequence[EvaluationHook],
        sizes: Mapping[str, int],
        steps_per_epoch: int | None,
        num_steps: int | None,
    ):
        self._hooks, self._sizes, self._num_steps = hooks, sizes, num_steps
        self._fired = [firing("evaluation", hook, steps_per_epoch, num_steps) for hook in hooks]

    def count(self) -> int | None:
        """Return how many there are while it trains, of all hooks; None where that is not known."""
        return None if self._num_steps is None else sum(len(steps) for steps in self._steps())

    def num_steps(self) -> int | None:
        """Return after how many steps anything is measured; None where that is not known."""
        steps = self._steps()
        if self._num_steps is None:
            return None
        return len(steps[0]) if len(steps) == 1 else len(set().union(*steps))

    def num_examples(self) -> int:
        """Return how many examples all of them measure, those at the end included, where the run's steps are known."""
        during, known = 0, set[str]()
        for hook, steps in zip(self._hooks, self._steps(), strict=True):
            during += len(steps) * self._size_of(hook.splits)
            if steps and steps[-1] == self._num_steps:
                known = set(hook.splits)  # what is published last is not measured again at the end
        return during + sum(
            self._size_of([split for split in hook.final if split not in known]) for hook in self._hooks
        )

    def _steps(self) -> list[range]:
        """Return the steps at which each hook measures something."""
        return [
            steps_of(fired) if hook.splits else range(0) for hook, fired in zip(self._hooks, self._fired, strict=True)
        ]

    def _size_of(self, splits: Sequence[str]) -> int:
        return sum(self._sizes.get(split, 0) for split in splits)

"""The checkpoints that all checkpoint hooks of a run save and keep together, one file for each step that any wants."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ...components.hooks.checkpoint import CheckpointHook
from .firing import firing, steps_of

_MOST_SIMULATED = 100_000  # saves


class Saving:
    """Counts the files of the checkpoint hooks of a run, besides those of what was best.

    Args:
        hooks: of the run.
        steps_per_epoch: for triggers in epochs.
        num_steps: of the run; None where that is not known.
    """

    def __init__(self, hooks: Sequence[CheckpointHook], steps_per_epoch: int | None, num_steps: int | None):
        self.hooks, self._num_steps = hooks, num_steps
        fired = [firing("checkpoint", hook, steps_per_epoch, num_steps) for hook in hooks]
        self.trigger = " and ".join(dict.fromkeys(each.trigger for each in fired))
        self._clocks = [
            hook.trigger.secs for hook in hooks if hook.trigger is not None and hook.trigger.secs is not None
        ]
        self._steps: list[range] | None = None
        if num_steps is not None:
            self._steps = [steps_of(each) for each in fired]

    @property
    def goes_by_the_clock(self) -> bool:
        """Return True if the number of saves depends on how long the run takes."""
        return bool(self._clocks)

    def count(self, secs: float | None = None) -> int | None:
        """Return how many steps are saved that a trigger asks for, and the last; None where that is not known.

        Args:
            secs: of the run; None where no time is known.
        """
        if self._steps is None or (self._clocks and secs is None):
            return None
        by_clock = sum(int((secs or 0.0) // every) for every in self._clocks)
        if len(self._steps) == 1:
            (steps,) = self._steps
            return len(steps) + (not steps or steps[-1] != self._num_steps) + by_clock
        return len({self._num_steps}.union(*self._steps)) + by_clock

    def most_newest(self, has_best: bool) -> int:
        """Return how many files at the same time are among the newest of some hook.

        Args:
            has_best: whether what is best is saved as well, at steps that nobody knows.
        """
        most = sum(hook.keep for hook in self.hooks)
        if has_best or self._clocks or self._steps is None or sum(map(len, self._steps)) > _MOST_SIMULATED:
            return most
        kept: list[deque[int]] = [deque(maxlen=hook.keep) for hook in self.hooks]
        found = 0
        for step in sorted({self._num_steps or 0}.union(*self._steps)):
            for newest, steps in zip(kept, self._steps, strict=True):
                if step in steps or step == self._num_steps:  # at the end each hook saves
                    newest.append(step)
            found = max(found, len(set().union(*kept)))
        return found

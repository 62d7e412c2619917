"""What several runs do together: their steps, and their evaluations."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from .evaluated_together import EvaluatedTogether
from .experiment import Experiment
from .step.stacked.stack import Answer, Stack
from .step.steps import Steps


class Together:
    """Takes the steps of several runs at once, and measures them at once; each may also do so by itself.

    Args:
        is_compiled: whether their steps are compiled, which takes a while once.

    Attributes:
        stack: takes the steps.
    """

    def __init__(self, is_compiled: bool):
        self.is_compiled = is_compiled
        self.stack = Stack(is_compiled)
        self._evaluated = EvaluatedTogether(is_compiled)

    def join(self, experiment: Experiment) -> None:
        """Let a run evaluate together with others."""
        self._evaluated.join(experiment)

    def rest(self) -> None:
        """Forget the runs, which have ended, but not what is known of graphs: others of the same problem may follow."""
        self.stack.rest()
        self._evaluated.rest()

    def take(self, asked: Sequence[Steps]) -> list[tuple[Steps, Answer]]:
        """Take steps, and return for some of those that were asked for what has become of them; see `Stack.take`."""
        for each in asked:
            if not each.is_next:
                self._evaluated.forget(each.train_op)
        answers = self.stack.take(asked)
        self._evaluated.begin(each.train_op for each, answer in answers if answer is True)
        return answers

    def take_all(self, blocks: Generator[Steps, bool, None]) -> None:
        """Take all steps of one run."""
        asked = next(blocks, None)
        while asked is not None:
            for _, answer in self.take([asked]):
                try:
                    asked = blocks.throw(answer) if isinstance(answer, BaseException) else blocks.send(answer)
                except StopIteration:
                    asked = None

"""Runs whose steps are taken together: each is a run like any other, with its own session, hooks and directory."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence

from ..run_directory.run import Run
from ..system import signals
from .attempt import Attempt
from .step.stacked.stack import Answer
from .step.steps import Steps
from .together import Together


class _Member:
    """A run on its way.

    Args:
        attempt: its steps.

    Attributes:
        asked: steps that it waits for; None before it begins, and when it has ended.
        result: the run when it has ended, or what has ended it.
    """

    def __init__(self, attempt: Attempt):
        self._attempt = attempt
        self._context = contextvars.copy_context()  # such as that of its log
        self.asked: Steps | None = None
        self.result: Run | BaseException | None = None

    def go_on(self, answer: Answer | None = None) -> None:
        """Let it go on to its next steps, or to its end.

        Args:
            answer: what has become of the last ones; None before the first.
        """
        try:
            if isinstance(answer, BaseException):
                self.asked = self._context.run(self._attempt.throw, answer)
            else:
                self.asked = self._context.run(self._attempt.send, answer)  # type: ignore[arg-type] (None begins)
        except StopIteration as end:
            self.asked, self.result = None, end.value
        except BaseException as error:  # noqa: BLE001 (whoever asked for the runs is told)
            self.asked, self.result = None, error


def train_together(
    attempts: Sequence[Attempt], together: Together | None, on_end: Callable[[int, Run | BaseException], None]
) -> None:
    """Train several runs at once, until the last has ended.

    Args:
        attempts: one for each run, all with `together`.
        together: takes their steps; None where they take these themselves, one run after the other.
        on_end: is told the place of a run among them when it has ended, and the run, or what has ended it.
    """
    members = [_Member(attempt) for attempt in attempts]
    waiting: dict[Steps, int] = {}

    def go_on(place: int, answer: Answer | None = None) -> None:
        member = members[place]
        member.go_on(answer)
        if member.asked is not None:
            waiting[member.asked] = place
        elif member.result is not None:
            on_end(place, member.result)

    with signals.graceful():  # what one run hears, all hear
        for place in range(len(members)):
            go_on(place)
        while waiting:
            assert together is not None
            for asked, answer in together.take(list(waiting)):
                go_on(waiting.pop(asked), answer)

"""The hook through which a run in a worker process talks to its parent."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any

from ..components.hooks.hook import Every, Hook, RunArgs
from ..components.hooks.session_view import StepView


class ReportHook(Hook):
    """Send step and loss to the parent a few times a second, and end the run when the parent wants to stop.

    Args:
        index: of the task.
        num_steps: in the whole run.
        events: the queue to the parent.
        stop: set when the parent was told to stop.
    """

    name = "report"
    trigger = Every(secs=0.25)

    def __init__(self, index: int, num_steps: int | None, events: Any, stop: Any):
        self._index, self._num_steps, self._events, self._stop = index, num_steps, events, stop

    def before_run(self, ctx: StepView) -> RunArgs:
        return RunArgs(("loss",))

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        self._events.put((self._index, ctx.step, self._num_steps, values["loss"]))
        if self._stop.is_set():
            os.kill(os.getpid(), signal.SIGTERM)  # the session saves, as for any SIGTERM

"""A staggered start: waiting until the chief's training has come so far."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from ...errors import SessionError, UsageError, WaitTimeoutError
from ...registry.arguments import Natural, Positive
from ...run_directory.checkpoint_files import list_checkpoints
from ...system.places import shown
from . import register_hook
from .hook import Hook, Phase
from .session_view import SessionView

log = logging.getLogger("optrun")


@register_hook("step_waiter", source="tf.train.GlobalStepWaiterHook (TensorFlow 1)")
class StepWaiterHook(Hook):
    """Wait, before anything is restored, until the chief has saved a checkpoint of a certain step.

    The session then starts from that checkpoint, or a later one. It is for workers that step on their own; those that
    exchange gradients at every step take the first one together, and must not wait for each other here.

    Args:
        wait_until_step: the step; 0 does not wait. K * log(rank + 1) starts worker after worker.
        poll_secs: how often to look.
        max_wait_secs: how long to wait.

    Raises:
        UsageError: the session has no checkpoint_dir to look into.
        SessionError: it is the chief, which would wait for itself.
        WaitTimeoutError: the step was not reached in time.
    """

    phase = Phase.CONTROL

    def __init__(self, wait_until_step: Natural = 0, poll_secs: Positive = 0.5, max_wait_secs: Positive = 7200.0):
        self.wait_until_step, self.poll_secs, self.max_wait_secs = wait_until_step, poll_secs, max_wait_secs

    def begin(self, session: SessionView) -> None:
        if self.wait_until_step == 0:
            return
        if session.checkpoint_dir is None:
            raise UsageError("StepWaiterHook looks at the chief's checkpoints: give the session its checkpoint_dir")
        deadline = time.monotonic() + self.max_wait_secs
        reached = self._reached(session.checkpoint_dir)
        if reached < self.wait_until_step and session.is_chief:
            raise SessionError(
                f"the chief would wait for itself to reach step {self.wait_until_step}: use StepWaiterHook on other "
                "ranks (RANK > 0), or with wait_until_step=0 here"
            )
        if reached < self.wait_until_step:
            log.info("waiting until the chief has saved step %d", self.wait_until_step)
        while reached < self.wait_until_step and not session.interrupted:
            left = deadline - time.monotonic()
            if left <= 0:
                raise WaitTimeoutError(
                    f"waited {self.max_wait_secs:g} s for step {self.wait_until_step}, but the newest checkpoint in "
                    f"{shown(session.checkpoint_dir)} is of step {reached}: does the chief run, with the same "
                    "checkpoint_dir?"
                )
            time.sleep(min(left, self.poll_secs))
            reached = self._reached(session.checkpoint_dir)

    def _reached(self, folder: Path) -> int:
        return max((file.step for file in list_checkpoints(folder)), default=0)

"""Going back to the last good checkpoint: after an error that passes, or on a rank that waits for the chief's first."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...errors import TransientError, WaitTimeoutError
from ...system.places import shown
from .saved_state import SavedState, load_latest_state

log = logging.getLogger("optrun")

#: Errors that pass: the session goes back to its last good checkpoint and tries again.
TRANSIENT_ERRORS: tuple[type[Exception], ...] = (TransientError, ConnectionError)


@dataclass(frozen=True)
class Recovery:
    """Finds the checkpoint that a session starts from, or goes back to.

    Args:
        folder: of the checkpoints; None has none.
        transient: errors that lead back to the last checkpoint instead of ending the session.
        max_recoveries: how often in a row, without a new checkpoint between, it may go back.
        retry_wait_secs: the pause before the first of these, doubled each time.
        max_wait_secs: how long another rank waits for the chief's checkpoint.
        poll_secs: how often it looks.
    """

    folder: Path | None
    transient: tuple[type[Exception], ...]
    max_recoveries: int
    retry_wait_secs: float
    max_wait_secs: float
    poll_secs: float

    def latest(self) -> SavedState | None:
        """Return the newest checkpoint that verifies, if there is one."""
        return load_latest_state(self.folder, report=log.warning) if self.folder else None

    def after(self, error: Exception, count: int, interrupted: Callable[[], bool]) -> SavedState:
        """Return the checkpoint to go back to after an error, when its pause is over.

        Args:
            error: that passes.
            count: of recoveries without a new checkpoint between, this one included.
            interrupted: ends the pause.

        Raises:
            Exception: the error itself, after the last recovery, or where there is no checkpoint.
        """
        if count > self.max_recoveries:
            error.add_note(f"gave up after {self.max_recoveries} recoveries in a row")
            raise error
        saved = self.latest()
        if saved is None:
            error.add_note("there is no checkpoint to go back to")
            raise error
        pause = self.retry_wait_secs * 2 ** (count - 1)
        log.warning("%s: %s; going back to step %d in %g s", type(error).__name__, error, saved.step, pause)
        _sleep_unless(interrupted, pause)
        return saved

    def wait_for_chief(self, rank: int, should_stop: Callable[[], bool]) -> SavedState | None:
        """Return the chief's latest checkpoint as soon as there is one; None if the session is to stop before.

        Raises:
            WaitTimeoutError: there was none in time.
        """
        if self.folder is None:
            return None
        deadline = time.monotonic() + self.max_wait_secs
        while (saved := self.latest()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise WaitTimeoutError(
                    f"rank {rank} waited {self.max_wait_secs:g} s for the chief's first checkpoint in "
                    f"{shown(self.folder)}: is the chief (RANK=0) running, with the same checkpoint_dir?"
                )
            _sleep_unless(should_stop, min(left, self.poll_secs))
            if should_stop():
                return None
        return saved


def _sleep_unless(stop: Callable[[], bool], secs: float) -> None:
    deadline = time.monotonic() + secs
    while not stop() and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))

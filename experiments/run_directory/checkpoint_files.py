"""Following a run from outside: its checkpoints, one after another, as they appear."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .run_dir import CheckpointFile, list_checkpoints


def checkpoints_iterator(
    folder: str | Path,
    *,
    min_interval_secs: float = 0.0,
    timeout_secs: float | None = None,
    timeout_fn: Callable[[], bool] | None = None,
    poll_secs: float = 1.0,
) -> Iterator[CheckpointFile]:
    """Yield the newest checkpoint in `folder`, and then each newer one; those between two looks are passed over.

    Args:
        folder: a run's `checkpoints/`; it need not exist yet.
        min_interval_secs: the least time between two of them.
        timeout_secs: how long to wait for the next one; None waits for ever.
        timeout_fn: asked after each time-out: True ends the iteration, False waits once more. Without it, a time-out
            ends it.
        poll_secs: the time between two looks.

    Source: tf.train.checkpoints_iterator, TensorFlow 1.
    """
    latest = ""
    while True:
        waiting_since, is_over = time.monotonic(), False
        while (file := _newest(folder)) is None or file.path.name == latest:
            if is_over:
                return
            if timeout_secs is not None and time.monotonic() - waiting_since >= timeout_secs:
                is_over = timeout_fn is None or timeout_fn()  # one more look: the last may have come just before that
                waiting_since = time.monotonic()
            else:
                time.sleep(min(poll_secs, timeout_secs) if timeout_secs else poll_secs)
        latest, yielded = file.path.name, time.monotonic()
        yield file
        time.sleep(max(0.0, yielded + min_interval_secs - time.monotonic()))


def _newest(folder: str | Path) -> CheckpointFile | None:
    return next(reversed(list_checkpoints(folder)), None)

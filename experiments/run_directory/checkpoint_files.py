"""Checkpoints as files: their names, those in a folder, and those that appear in it one after another."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_CHECKPOINT = re.compile(r"step-(\d{8,18})-([0-9a-f]{64})\.safetensors", re.ASCII)


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint as its file name describes it.

    Args:
        path: the file.
        step: the global step after which it was saved.
        sha256: of the whole file, in hex.
    """

    path: Path
    step: int
    sha256: str


def checkpoint_name(step: int, sha256: str) -> str:
    """Return the file name of a checkpoint: `step-00000300-<hash>.safetensors`."""
    return f"step-{step:08d}-{sha256}.safetensors"


def parse_checkpoint_name(name: str) -> tuple[int, str] | None:
    """Return (step, SHA-256) from a checkpoint's file name, or None when it is not one."""
    match = _CHECKPOINT.fullmatch(name)
    return (int(match[1]), match[2]) if match else None


def list_checkpoints(folder: str | Path) -> list[CheckpointFile]:
    """Return the checkpoints in `folder`, oldest step first; none where there is no such folder.

    Two of the same step, which only a kill between saving one and deleting the other leaves, are in order of time.
    """
    found = []
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            parsed = parse_checkpoint_name(entry.name)
            if parsed:
                file = CheckpointFile(Path(entry.path), *parsed)
                found.append((file.step, entry.stat().st_mtime_ns, file.sha256, file))
    return [file for *_, file in sorted(found, key=lambda item: item[:3])]


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

"""What a worker process does: one run after another, telling the parent how it goes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_events: Any = None  # the queue to the parent
_stop: Any = None  # set by the parent when a signal came
_parent: int | None = None
_PATIENCE_SECS = 10.0  # longer than the workers of a killed comparison need to notice, and to save their runs


def start(events: Any, stop: Any, parent: int) -> None:
    """Prepare a fresh worker process; signals from the keyboard are the parent's business."""
    global _events, _stop, _parent
    _events, _stop, _parent = events, stop, parent
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def run(index: int, config: Mapping[str, Any], folder: str) -> tuple[str, str]:
    """Train one run, or finish what is left of it; return its state and, if it failed, why.

    Args:
        index: of the task, for the events.
        config: as plain data.
        folder: the run directory.
    """
    from ..errors import DivergedError, Interrupted

    path = Path(folder)

    def on_start(experiment: Any, run_dir: Any) -> list[Any]:
        from .fingerprints import fingerprint
        from .reporting import ReportHook

        if not (run_dir.path / "pairing.json").exists():  # a resumed run has its first weights no more
            run_dir.write_json("pairing.json", fingerprint(experiment))
        return [ReportHook(index, experiment.length.num_steps, _events, _stop)]

    try:
        finished = _train({**config, "name": path.name}, name=path.name, root=path.parent, on_start=on_start)
        return ("diverged" if finished.state == "diverged" else "done"), ""
    except DivergedError as error:
        return "diverged", str(error)
    except Interrupted:
        return "interrupted", ""
    except Exception as error:  # noqa: BLE001 (one failing run must not end the others: it is reported as failed)
        return "failed", f"{type(error).__name__}: {error}"
    finally:
        if _parent is not None and os.getppid() != _parent:  # the run is saved; the next task would never come
            os._exit(128 + signal.SIGTERM)


def _train(*args: Any, **options: Any) -> Any:
    """Train, once the workers of a comparison that was killed a moment ago have let the run go."""
    from ..errors import RunInUseError
    from ..training.train import train

    deadline = time.monotonic() + _PATIENCE_SECS
    while True:
        try:
            return train(*args, **options)
        except RunInUseError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: nobody would read its results."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)

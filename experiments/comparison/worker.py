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


def start(events: Any, stop: Any, parent: int) -> None:
    """Prepare a fresh worker process; signals from the keyboard are the parent's business."""
    global _events, _stop
    _events, _stop = events, stop
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
    from ..training import train

    path = Path(folder)

    def on_start(experiment: Any, run_dir: Any) -> list[Any]:
        from .pairing import fingerprint
        from .reporting import ReportHook

        if not (run_dir.path / "pairing.json").exists():  # a resumed run has its first weights no more
            run_dir.write_json("pairing.json", fingerprint(experiment))
        return [ReportHook(index, experiment.length.num_steps, _events, _stop)]

    try:
        finished = train({**config, "name": path.name}, name=path.name, root=path.parent, on_start=on_start)
        return ("diverged" if finished.state == "diverged" else "done"), ""
    except DivergedError as error:
        return "diverged", str(error)
    except Interrupted:
        return "interrupted", ""
    except Exception as error:  # noqa: BLE001 (one failing run must not end the others: it is reported as failed)
        return "failed", f"{type(error).__name__}: {error}"


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: nobody would read its results."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)

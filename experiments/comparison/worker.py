"""The work of a worker process: one run after another, with reports to the parent."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..components.hooks.hook import Every, Hook, RunArgs
from ..components.hooks.session_view import StepView
from ..errors import DivergedError, Interrupted, RunInUseError
from ..training.train import train
from .fingerprints import fingerprint
from .shipping import Shipment

_events: Any = None  # the queue to the parent
_stop: Any = None  # set by the parent when a signal came
_parent: int | None = None
_shipment: Shipment | None = None  # what is not registered here yet
_PATIENCE_SECS = 10.0  # longer than the workers of a killed comparison need to notice, and to save their runs


class ReportHook(Hook):
    """Send step and loss to the parent a few times a second, and end the run when the parent wants to stop.

    Args:
        index: of the task.
        num_steps: in the whole run.
    """

    name = "report"
    trigger = Every(secs=0.25)

    def __init__(self, index: int, num_steps: int | None):
        self._index, self._num_steps = index, num_steps

    def before_run(self, ctx: StepView) -> RunArgs:
        return RunArgs(("loss",))

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        _events.put((self._index, ctx.step, self._num_steps, values["loss"]))
        if _stop.is_set():
            os.kill(os.getpid(), signal.SIGTERM)  # the session saves, as for any SIGTERM


def start(events: Any, stop: Any, parent: int, shipment: Shipment) -> None:
    """Prepare a fresh worker process; signals from the keyboard are the parent's business."""
    global _events, _stop, _parent, _shipment
    _events, _stop, _parent, _shipment = events, stop, parent, shipment
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def run(index: int, config: Mapping[str, Any], folder: str) -> tuple[str, str]:
    """Train one run, or finish what is left of it; return its state and, if it failed, why.

    Args:
        index: of the task, for the events.
        config: as plain data.
        folder: the run directory.
    """
    path = Path(folder)

    def on_start(experiment: Any, run_dir: Any) -> list[Any]:
        if not (run_dir.path / "pairing.json").exists():  # a resumed run has its first weights no more
            run_dir.write_json("pairing.json", fingerprint(experiment))
        return [ReportHook(index, experiment.length.num_steps)]

    try:
        _unpack()
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


def _unpack() -> None:
    """Register what was sent, with the first run: an error then is that run's result, and does not end the worker."""
    global _shipment
    if _shipment is not None:
        _shipment.unpack()
        _shipment = None


def _train(*args: Any, **options: Any) -> Any:
    """Train, once the workers of a comparison that was killed a moment ago have let the run go."""
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

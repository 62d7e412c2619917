"""The events that a comparison tells while it works: a mapping for each, `kind` first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ..run_directory.comparison_file import FINISHED
from ..system.places import shown
from ..training.display import watching
from .ledger import Ledger
from .protocol import Protocol
from .tasks import Task

OnEvent = Callable[[dict[str, Any]], None]


def watched(on_event: OnEvent | None, progress: bool) -> OnEvent | None:
    """Return what hears the events: `on_event`, and the display of progress where it is wanted."""
    if not progress:
        return on_event
    show = watching().progress_events()

    def tell(event: dict[str, Any]) -> None:
        show(event)
        if on_event is not None:
            on_event(event)

    return tell


def question(ledger: Ledger, metrics: list[str]) -> dict[str, Any]:
    """Return the first event, before any run is looked for: what is asked, so that whoever hears it may refuse it.

    Args:
        ledger: with entries and protocol.
        metrics: final values that every entry's runs will have.
    """
    return {"kind": "question", **_asked(ledger, metrics)}


def plan(ledger: Ledger, num_runs: int, num_cached: int, metrics: list[str]) -> dict[str, Any]:
    """Return the event before the first run: what will be done.

    Args:
        ledger: with entries, protocol and, if known, the time that it will take.
        num_runs: planned, extensions of the grid apart.
        num_cached: of them, there already.
        metrics: final values that every entry's runs will have.
    """
    data = ledger.data
    planned = {
        "name": ledger.path.name,
        "path": shown(ledger.path),
        **_asked(ledger, metrics),
        "runs": num_runs,
        "cached": num_cached,
        "engine": data["engine"],
        "estimate_secs": data["estimate_secs"],
        "differences": data["pairing"]["differences"],
    }
    return {"kind": "plan", "plan": planned}


def _asked(ledger: Ledger, metrics: list[str]) -> dict[str, Any]:
    kept = ("name", "label", "target")
    entries = [{key: entry[key] for key in kept if key in entry} for entry in ledger.data["entries"]]
    return {"entries": entries, "protocol": ledger.data["protocol"], "metrics": metrics}


def phase(name: str, tasks: Sequence[Task]) -> dict[str, Any]:
    """Return the event at the beginning of a phase: the runs in all, and by entry.

    Args:
        name: `tune`, `extend`, `evaluate`, or `verify` for runs of a batch that are made again by themselves.
        tasks: of the phase.
    """
    todo = sum(task.state not in FINISHED for task in tasks)
    each = dict(Counter(task.entry for task in tasks))
    return {"kind": "phase", "phase": name, "total": len(tasks), "todo": todo, "entries": each}


def progress(task: Task, step: int, num_steps: int | None, loss: float | None) -> dict[str, Any]:
    """Return the event of a run in progress; `num_steps` is None where a clock ends the run."""
    return {"kind": "progress", **_run(task), "step": step, "num_steps": num_steps, "loss": loss}


def waiting(task: Task, holder: str) -> dict[str, Any]:
    """Return the event of a run that another process makes at the moment, told again and again until it has ended.

    Args:
        task: that waits for it.
        holder: who that is.
    """
    return {"kind": "waiting", **_run(task), "settings": task.settings, "holder": holder}


def retried(task: Task, why: str) -> dict[str, Any]:
    """Return the event of a run whose worker process died, and which is tried once more."""
    return {"kind": "retried", **_run(task), "settings": task.settings, "message": why}


def finished(task: Task, protocol: Protocol) -> dict[str, Any]:
    """Return the event of a run that ended, now or before.

    Args:
        task: in its last state.
        protocol: has the metric whose final value is told, the selector, and that by which a run is judged: a trial by
            the selector, others by the endpoint.
    """
    select, endpoint = protocol.select.metric, protocol.endpoint.metric
    judged = select if task.role == "tune" else endpoint
    return {
        "kind": "finished",
        **_run(task),
        "settings": task.settings,
        "state": task.state,
        "value": task.value(select),
        "result": task.result_state(judged),
        "metric": judged,
        "cached": task.cached,
        "secs": task.summary.get("train_secs"),
        "message": task.message,
    }


def _run(task: Task) -> dict[str, Any]:
    return {"run": task.number, "entry": task.entry, "seed": task.seed, "role": task.role}

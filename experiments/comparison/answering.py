"""What a runner tells of its answer, so that a command that asks the same again finds it (`asked_again`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from ..config import Config
from ..run_directory.comparison_file import FINISHED
from ..system.surroundings import gpus
from ..training.record import RunRecord, data_files, local_components
from . import events
from .dependencies import Facts
from .entry import Entry
from .ledger import Ledger
from .protocol import Protocol
from .tasks import Task, TaskMaker
from .trying import has_own_code

_GPU = "cuda"


def facts_of(
    ledger: Ledger,
    entries: Sequence[Entry],
    protocol: Protocol,
    maker: TaskMaker,
    phases: Sequence[tuple[str, list[Task]]],
    beginning: Sequence[dict[str, Any]],
) -> Facts:
    """Return the facts of a comparison or sweep that has ended.

    Args:
        ledger: with all of its runs.
        entries: the contenders.
        protocol: how they were compared.
        maker: of the tasks.
        phases: in which the runs were, in order.
        beginning: the events that a repeat tells before the first phase.
    """
    root = ledger.path.parent
    told = list(beginning)
    for name, tasks in phases:
        found = [replace(task, cached=True) for task in tasks]
        told.append(events.phase(name, found))
        told += [events.finished(task, protocol) for task in found]
    code: dict[str, str] = {}
    for entry in entries:
        code |= entry.config.reached.files
    for task in ledger.tasks:  # a run may have imported more, by names that it worked out
        if task.run is not None:
            code = {**RunRecord(task.run.dir).code, **code}
    return Facts(
        path=ledger.path,
        events=told,
        code=code,
        data=frozenset(path for entry in entries for path in data_files(entry.config)),
        runs={root / task.path: task.sha256 for task in ledger.tasks},
        keys=frozenset(maker.key_file(task) for task in ledger.tasks),
        has_own_code=any(has_own_code(entry.config) for entry in entries),
        doubt=_doubt(ledger, entries, maker),
    )


def _doubt(ledger: Ledger, entries: Sequence[Entry], maker: TaskMaker) -> str:
    """Return why the same question may have another answer though no file has changed; empty for nothing."""
    if maker.unkeyed:
        return "runs of an entry are made anew each time"
    if any(task.state not in FINISHED or task.run is None or not task.sha256 for task in ledger.tasks):
        return "a run has no result"
    for entry in entries:
        if doubt := _doubt_of(entry.config) or ("it was made of finished runs" if entry.runs else ""):
            return f"{entry.name}: {doubt}"
    devices = {str(task.run.env.get("device")).partition(":")[0] for task in ledger.tasks if task.run is not None}
    if not devices <= {"cpu", _GPU} or torch.backends.mps.is_available() or (_GPU in devices and not gpus()):
        return f"whether these devices are there is not known without torch: {', '.join(sorted(devices))}"
    return ""


def _doubt_of(config: Config) -> str:
    if local_components(config):
        return "a component has no file"
    if any(part.component.roots() or part.component.is_of_a_program for part in config.data.nested()):
        return "its data is made by the user's code, which may read anything"
    if config.init is not None:
        return "its first weights are read from elsewhere"
    if config.train.compile:
        return "its steps are compiled, where there is a compiler"
    return ""

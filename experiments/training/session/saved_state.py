"""A session's whole state as one checkpoint, and back: train op, hooks, metrics log, random states, clock."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...components.hooks.hook import Hook, defines, noting
from ...components.hooks.session_view import TrainOpView
from ...errors import CheckpointError
from ...run_directory import checkpoints
from ...run_directory.rows import RowLog
from ...system.places import shown
from ..step.train_op import TrainOp

_TRAIN_OP_SECTIONS = ("model", "optimizer", "updates", "counters")


class Clock:
    """Time spent in a run, over all the processes that worked on it.

    Args:
        elapsed_secs: by the clock, in earlier processes.
        cpu_secs: of CPU time, all threads, in earlier processes.
    """

    def __init__(self, elapsed_secs: float = 0.0, cpu_secs: float = 0.0):
        self._before = elapsed_secs, cpu_secs
        self._started = time.monotonic(), time.process_time()

    @property
    def elapsed_secs(self) -> float:
        return self._before[0] + time.monotonic() - self._started[0]

    @property
    def cpu_secs(self) -> float:
        return self._before[1] + time.process_time() - self._started[1]


@dataclass(frozen=True)
class SavedState:
    """A verified checkpoint, read into memory.

    Args:
        path: the file.
        step: updates completed when it was saved.
        sections: the state by section: model, optimizer, updates, counters, hooks, rng.
        rows: offset and SHA-256 of the metrics log at that step.
        spent: elapsed and CPU seconds until then.
        fitted: what was fitted to the training rows, as JSON; None where nothing was, or nothing was kept.
        switches: process-wide ones that were turned during the run, with their values before and then.
    """

    path: Path
    step: int
    sections: dict[str, Any]
    rows: dict[str, Any]
    spent: tuple[float, float]
    fitted: dict[str, Any] | None = None
    switches: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    def restore(
        self, train_op: TrainOp, hooks: Mapping[str, Hook], rows: RowLog | None, report: Callable[[str], None]
    ) -> None:
        """Put everything back as it was.

        Args:
            train_op: takes weights, optimizer state and counters.
            hooks: take their states, by name.
            rows: the metrics log to cut back to this step, once it is released; None leaves it alone.
            report: is told of states that found no hook, and hooks that found no state.
        """
        if rows is not None:  # first, since this is what may not fit although the checkpoint verifies
            rows.rewind(self.rows["offset"], self.rows["sha256"])
        train_op.load_state_dict(self.sections)
        states = dict(self.sections["hooks"])
        for name, hook in hooks.items():
            if name in states:
                with noting(hook, "load_state_dict", name=name):
                    hook.load_state_dict(states.pop(name))
            elif defines(hook, "state_dict"):
                report(f"hook '{name}' is new since step {self.step}: it starts without a state")
        if states:
            report(f"the checkpoint has a state for hooks that are gone: {', '.join(sorted(states))}")
        _set_random_states(self.sections["rng"])


def whole_state(train_op: TrainOpView, hooks: Mapping[str, Hook]) -> dict[str, Any]:
    """Return all that the steps to come depend on, by section: model, optimizer, updates, counters, hooks, rng."""
    hook_states = {}
    for name, hook in hooks.items():
        if defines(hook, "state_dict"):
            with noting(hook, "state_dict", name=name):
                hook_states[name] = hook.state_dict()
    return train_op.state_dict() | {"hooks": hook_states, "rng": _random_states()}


@dataclass(frozen=True)
class Snapshot:
    """The whole state after a step, to be written.

    Args:
        step: completed updates.
        tensors: by section and name.
        facts: the rest, as JSON.
        rows: the metrics log, which holds those of this step by now.
    """

    step: int
    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any]
    rows: RowLog

    def write(self, folder: Path) -> Path:
        """Write it into a folder, and return the file when it is durable.

        Raises:
            StorageError: it could not be written; the checkpoints before it are untouched.
        """
        self.rows.sync()  # a checkpoint must not speak of rows that a power cut could still take
        return checkpoints.save(folder, self.step, self.tensors, self.facts).path


def take_snapshot(
    train_op: TrainOp, hooks: Mapping[str, Hook], rows: RowLog, clock: Clock, more: Mapping[str, Any], copies: bool
) -> Snapshot:
    """Return the state of the last completed step, with `more` facts beside it.

    Args:
        train_op: whose weights, optimizer state and counters are part of it.
        hooks: whose states are.
        rows: the metrics log.
        clock: of the run.
        more: JSON.
        copies: whether it may be written while training goes on; else before the next step.

    Raises:
        DivergedError: weights or optimizer state are not finite.
        UsageError: a state cannot be stored.
    """
    tensors: dict[str, Any] = {}
    skeletons: dict[str, Any] = {}
    for section, content in whole_state(train_op, hooks).items():
        found, skeletons[section] = checkpoints.flatten_state(section, content)
        tensors |= found
    facts = {
        "state": skeletons,
        "rows": {"offset": rows.offset, "sha256": rows.digest()},
        "spent": [round(clock.elapsed_secs, 4), round(clock.cpu_secs, 4)],
        **more,
    }
    step, exempt = train_op.global_step, train_op.may_be_infinite
    return Snapshot(step, *checkpoints.snapshot(step, tensors, facts, exempt, copies), rows)


def load_latest_state(folder: Path, report: Callable[[str], None]) -> SavedState | None:
    """Return the newest checkpoint in `folder` that verifies, or None; damaged ones are reported and set aside.

    Raises:
        CheckpointError: there were checkpoints, and all are damaged: to begin at step 0 would throw the run away.
    """
    found = checkpoints.load_latest(folder, report)
    if found is None and (damaged := sorted(folder.glob("*.bad"))):
        raise CheckpointError(
            f"all {len(damaged)} checkpoints in {shown(folder)} are damaged: put a good copy there, or start anew "
            "(--fresh)"
        )
    return _read(*found) if found else None


def load_state(file: Any) -> SavedState:
    """Return the state in one named checkpoint.

    Raises:
        CheckpointError: it is damaged.
    """
    return _read(file, *checkpoints.load(file))


def _read(file: Any, tensors: dict[str, Any], facts: dict[str, Any]) -> SavedState:
    try:
        sections = {name: checkpoints.unflatten_state(tensors, skeleton) for name, skeleton in facts["state"].items()}
        missing = {*_TRAIN_OP_SECTIONS, "hooks", "rng"} - sections.keys()
        rows = {"offset": int(facts["rows"]["offset"]), "sha256": str(facts["rows"]["sha256"])}
        elapsed_secs, cpu_secs = map(float, facts["spent"])
        turned = {str(name): (before, now) for name, (before, now) in facts.get("switches", {}).items()}
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{shown(file.path)} holds no state of a run: {error!r}") from error
    if missing or rows["offset"] < 0:
        raise CheckpointError(f"{shown(file.path)} holds no state of a run: {', '.join(sorted(missing)) or 'rows'}")
    return SavedState(file.path, file.step, sections, rows, (elapsed_secs, cpu_secs), facts.get("fitted"), turned)


def _random_states() -> dict[str, Any]:
    """Return the global states of `random` and NumPy: optrun draws from neither, a user's hook may."""
    version, words, gauss = random.getstate()
    return {
        "python": {"version": version, "words": np.array(words, dtype=np.int64), "gauss": gauss},
        "numpy": np.random.get_state(legacy=False),
    }


def _set_random_states(states: dict[str, Any]) -> None:
    python = states["python"]
    random.setstate((python["version"], tuple(int(word) for word in python["words"]), python["gauss"]))
    np.random.set_state(states["numpy"])

"""How the runs of a comparison share this machine: each in a process of its own, or many in one batch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from .. import config as configuration
from ..components.data.tree import tensors
from ..components.hooks.hook import Hook, defines
from ..components.hooks.remote import RemoteHook
from ..components.registries import REGISTRIES
from ..errors import UsageError
from ..system.raised import refusing_exits, type_and_text
from ..training.build import build
from ..training.experiment import Experiment
from ..training.step.compiled.reasons import why_not_stacked
from ..training.step.stacked.stack import Stack
from ..training.step.steps import Steps
from ..training.step.train_op import TrainOp
from .entry import Entry
from .estimate import time_run
from .identity import BATCHED, PROCESSES
from .trying import has_own_code

log = logging.getLogger("optrun")

AUTO = "auto"
_LEAST_SECS = 15.0  # of a comparison, below which to find out costs more than it brings
_LEAST_RUNS = 4  # in a worker, likewise
_LEAST_GAIN = 1.15  # by which a batch has to be faster, measured on a few steps
_LEAST_SECS_IF_LARGE = 240.0  # of a comparison whose steps are long, and gain less
_LARGE_WORK_PER_TENSOR = 1_000_000  # multiply-adds in a batch
_WIDTH, _STEPS = 8, 4  # of the probe
_SECS, _CALLS = 0.1, 4  # for each of its two measurements, at least
_MOST_SECS = 60.0


@dataclass(frozen=True)
class Engine:
    """What trains the runs of a group, and why.

    Args:
        name: `processes` or `batched`.
        why: in words; empty where it was asked for, or nothing else was thought of.
        reasons: why not in a batch, by entry.
        gain: how many times as fast a step in a batch was, when it was probed.
    """

    name: str
    why: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict)
    gain: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what comparison.json keeps."""
        return {key: value for key, value in asdict(self).items() if key == "name" or value}


def asked_for(name: str, entries: Sequence[Entry]) -> Engine:
    """Return the engine that was asked for by its name.

    Raises:
        UsageError: runs of an entry cannot be trained in a batch, or would depend on each other there.
    """
    if name == PROCESSES:
        return Engine(PROCESSES)
    probe = _Probe()
    for entry in entries:
        reason = _reason(entry)
        if reason is None and not probe.is_independent(entry):
            reason = _DEPENDENT
        if reason is not None:
            raise UsageError(
                f"--engine batched: runs of entry '{entry.name}' cannot be trained in one batch: {reason}: "
                "leave --engine out (in Python `engine=`)"
            )
    return Engine(BATCHED)


def chosen(entries: Sequence[Entry], num_runs: int, jobs: int) -> Engine:
    """Return the engine that is faster here, by a rule and a measurement of a few steps.

    Args:
        entries: the contenders.
        num_runs: that are to be made.
        jobs: worker processes.
    """
    first = entries[0].config
    if num_runs < _LEAST_RUNS * jobs or has_own_code(first):
        return Engine(PROCESSES)
    secs = time_run(first.to_dict())
    if secs is None or secs * num_runs / jobs < _LEAST_SECS:
        return Engine(PROCESSES)
    reasons = {entry.name: reason for entry in entries if (reason := _reason(entry)) is not None}
    if not reasons and secs * num_runs / jobs < _LEAST_SECS_IF_LARGE and _is_large(build(first).train_op):
        return Engine(PROCESSES, "steps of this model are long enough by themselves")
    probe = _Probe()
    if not reasons:
        reasons = {entry.name: _DEPENDENT for entry in entries if not probe.is_independent(entry)}
    if reasons:
        name, reason = next(iter(reasons.items()))
        return Engine(PROCESSES, f"{name}: {reason}", reasons)
    gain = probe.gain(entries[0])
    if gain < _LEAST_GAIN:
        return Engine(PROCESSES, f"a batch of runs is no faster here ({gain:.2g} times)", gain=round(gain, 2))
    return Engine(BATCHED, f"a step of many runs at once is {gain:.2g} times as fast here", gain=round(gain, 2))


def _is_large(op: TrainOp) -> bool:
    """Return True if a step spends most of its time in products and convolutions, whoever takes it."""
    num_tensors = sum(len(group["params"]) for group in op.optimizer.param_groups)
    return op.options.work is not None and op.options.work > _LARGE_WORK_PER_TENSOR * num_tensors


_DEPENDENT = "in a batch its bits would depend on the other runs there"


def _reason(entry: Entry) -> str | None:
    """Return why runs of an entry cannot be trained in a batch, in words; None if nothing is known."""
    if entry.runs:
        return "its runs are made already"
    if has_own_code(entry.config):
        return "code of your own may do more than compute"
    try:
        with refusing_exits():
            return why_not_batched(build(entry.config))
    except Exception as error:  # noqa: BLE001 (its runs will say so)
        return type_and_text(error)


def why_not_batched(experiment: Experiment) -> str | None:
    """Return why the steps of a run cannot be taken together with those of others, in words; None if they can.

    The answer is the same whenever it is asked of the same configuration.
    """
    reason = why_not_stacked(experiment.train_op)
    return reason if reason is not None else next(map(_reason_of_hook, filter(_stands_around, experiment.hooks)), None)


def _stands_around(hook: Hook) -> bool:
    """Return True if a hook sees single steps from within, or speaks for the whole process."""
    is_known = any(defines(hook, name) for name in ("feed_at", "fetches_at"))
    looks_within = defines(hook, "after_gradients") or "grad_norm" in hook.fetches
    return isinstance(hook, RemoteHook) or looks_within or (defines(hook, "before_run") and not is_known)


def _reason_of_hook(hook: Hook) -> str:
    if isinstance(hook, RemoteHook):
        return f"log.to {hook.log_to} is for one run in a process"
    return f"hook '{hook.name}' looks into single steps"


class _Probe:
    """Takes a few steps of runs, alone and in batches."""

    def __init__(self) -> None:
        self._many, self._two = Stack(), Stack()
        self._ops: dict[str, list[TrainOp]] = {}

    def is_independent(self, entry: Entry) -> bool:
        """Return True if the bits of two runs are the same beside others, and in another order.

        Batches of all shapes are among those of the steps, since they begin shortly before the end of an epoch.
        """
        try:
            many, two = _ops(entry, range(_WIDTH)), _ops(entry, [1, 0])
            _take(self._many, many, _STEPS)
            _take(self._two, two, _STEPS)
        except Exception as error:  # noqa: BLE001 (then it is not batched, and its runs will say what is wrong)
            log.debug("%s is not batched: %s", entry.name, type_and_text(error))
            return False
        self._ops[entry.name] = many
        return _same(many[0], two[1]) and _same(many[1], two[0])

    def gain(self, entry: Entry) -> float:
        """Return how many times as fast a step of a run is in a batch as by itself, after `is_independent`."""
        ops, alone = self._ops[entry.name], _ops(entry, [0])[0]
        in_batch = _secs(lambda: _take(self._many, ops, ops[0].global_step + _STEPS))
        return _secs(lambda: alone.run_block(_STEPS, lambda step: {})) / (in_batch / _WIDTH)


def _ops(entry: Entry, seeds: Sequence[int]) -> list[TrainOp]:
    """Return train ops of an entry's runs, shortly before the end of an epoch."""
    plain, ops = entry.config.to_dict(), []
    for seed in seeds:
        op = build(configuration.load({**plain, "seed": seed}, registries=REGISTRIES)).train_op
        op.batch = max(0, (getattr(op.data, "steps_per_epoch", None) or 0) - _STEPS // 2)
        ops.append(op)
    return ops


def _take(stack: Stack, ops: Sequence[TrainOp], num_steps: int) -> None:
    """Take steps of train ops together, until each has taken so many.

    Raises:
        Exception: one of them cannot, or diverges.
    """
    deadline, is_next = time.monotonic() + _MOST_SECS, False
    while left := [op for op in ops if op.global_step < num_steps]:
        asked = [
            Steps(op, num_steps - op.global_step, lambda step: {}, lambda: deadline - time.monotonic(), is_next)
            for op in left
        ]
        is_next = True
        for _, answer in stack.take(asked):
            if isinstance(answer, Exception):
                raise answer


def _same(one: TrainOp, other: TrainOp) -> bool:
    """Return True if the states of two train ops have the same bits."""
    pairs = zip(tensors(one.state_dict()), tensors(other.state_dict()), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


def _secs(take: Callable[[], object]) -> float:
    """Return the shortest time of a call, of some."""
    times: list[float] = []
    while len(times) < _CALLS or sum(times) < _SECS:
        start = time.perf_counter()
        take()
        times.append(time.perf_counter() - start)
    return min(times)

"""Steps of runs in a batch, tried by a worker process before the first run: what depends on what, how fast they are."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .. import config as configuration
from ..components.data.tree import tensors
from ..components.hooks.hook import Hook, defines
from ..components.hooks.remote import RemoteHook
from ..components.registries import REGISTRIES
from ..system.raised import refusing_exits, type_and_text
from ..training.build import build
from ..training.experiment import Experiment
from ..training.step.compiled.reasons import why_not_stacked
from ..training.step.stacked.graph import NotCompiledError
from ..training.step.stacked.stack import Stack
from ..training.step.steps import Steps
from ..training.step.train_op import TrainOp

log = logging.getLogger("optrun")

DEPENDENT = "in a batch its bits would depend on the other runs there"
_WIDTH, _LEAST_WIDTH, _STEPS = 8, 5, 4  # of the probe, which is wider for the first entry
_SECS, _CALLS = 0.1, 4  # for each of its two measurements, at least
_MOST_SECS = 600.0


@dataclass(frozen=True)
class Probed:
    """What was found out about steps of runs in a batch.

    Args:
        reasons: why runs are not trained in one, by entry.
        work: multiply-adds of a step for each tensor of weights; None where that is not known.
        gain: how many times as fast a step in a batch is as by itself; None where that was not measured.
        num_missing: operations in the graph that would have to be compiled for that; None where none would.
    """

    reasons: Mapping[str, str] = field(default_factory=dict)
    work: float | None = None
    gain: float | None = None
    num_missing: int | None = None


def look_at(configs: Mapping[str, Mapping[str, Any]]) -> Probed:
    """Return what can be told without a step, of configurations by the names of their entries."""
    reasons: dict[str, str] = {}
    work = None
    for name, plain in configs.items():
        try:
            with refusing_exits():
                experiment = build(_config(plain))
        except Exception as error:  # noqa: BLE001 (its runs will say so)
            reasons[name] = type_and_text(error)
            continue
        if (reason := why_not_batched(experiment)) is not None:
            reasons[name] = reason
        work = _work_per_tensor(experiment.train_op) if work is None else work
    return Probed(reasons, work)


def probe(stack: Stack, configs: Mapping[str, Mapping[str, Any]]) -> Probed:
    """Take a few steps of runs in batches, and by themselves.

    The bits of two runs have to be the same beside others, and in another order. Batches of all shapes are among those
    of the steps, since they begin shortly before the end of an epoch.

    Args:
        stack: that takes the steps, and forgets them afterwards.
        configs: by the names of their entries.
    """
    try:
        return _probed(stack, configs)
    finally:
        stack.rest()


def _probed(stack: Stack, configs: Mapping[str, Mapping[str, Any]]) -> Probed:
    first, two = next(iter(configs.values())), stack.twin()
    if not stack.graphs.may_compile and (missing := _missing(stack.twin(), first)) is not None:
        return Probed(num_missing=missing)
    taken: list[TrainOp] = []
    for name, plain in configs.items():
        try:
            width = stack.graphs.width(_WIDTH)
            ops, pair = _ops(plain, range(min(_LEAST_WIDTH, width) if taken else width)), _ops(plain, [1, 0])
            _take(stack, ops, _STEPS)
            _take(two, pair, _STEPS)
        except Exception as error:  # noqa: BLE001 (then it is not batched, and its runs will say what is wrong)
            return Probed({name: type_and_text(error)})
        if not (_same(ops[0], pair[1]) and _same(ops[1], pair[0])):
            return Probed({name: DEPENDENT})
        taken = taken or ops
    try:
        alone = _ops(first, [0])[0]
        in_batch = _secs(lambda: _take(stack, taken, taken[0].global_step + _STEPS))
        return Probed(gain=_secs(lambda: alone.run_block(_STEPS, lambda step: {})) / (in_batch / len(taken)))
    except Exception as error:  # noqa: BLE001 (likewise)
        return Probed({next(iter(configs)): type_and_text(error)})


def _missing(stack: Stack, plain: Mapping[str, Any]) -> int | None:
    """Return how many operations are in the first graph of a run that is not compiled; None where all are."""
    try:
        _take(stack, _ops(plain, [0]), _STEPS)
    except NotCompiledError as missing:
        return missing.num_operations
    except Exception as error:  # noqa: BLE001 (whoever takes the steps will be told)
        log.debug("not looked at: %s", type_and_text(error))
    return None


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


def _work_per_tensor(op: TrainOp) -> float | None:
    num_tensors = sum(len(group["params"]) for group in op.optimizer.param_groups)
    return None if op.options.work is None else op.options.work / num_tensors


def _config(plain: Mapping[str, Any]) -> configuration.Config:
    return configuration.load(plain, registries=REGISTRIES)


def _ops(plain: Mapping[str, Any], seeds: Sequence[int]) -> list[TrainOp]:
    """Return train ops of an entry's runs, shortly before the end of an epoch."""
    ops = []
    for seed in seeds:
        op = build(_config({**plain, "seed": seed})).train_op
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

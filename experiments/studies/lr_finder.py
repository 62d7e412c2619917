"""The learning-rate range test: a short run whose rate grows from step to step, until its loss blows up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..components.hooks.hook import Hook, Phase, RunArgs
from ..components.hooks.session_view import StepView
from ..config import Config
from ..errors import DivergedError, UsageError
from ..system import ranks
from ..system.places import held_places
from ..system.raised import refusing_exits
from ..system.switches import held_switches
from ..training.build import build
from ..training.experiment import Experiment
from ..training.load import load_config
from ..training.session.session import MonitoredTrainingSession

RULES: Mapping[str, str] = {
    "steepest": "where the smoothed loss falls fastest",
    "minimum/10": "a tenth of where it is lowest",
    "valley": "the middle of its longest descent",
}
_BLOW_UP = 4.0  # times the best smoothed loss
_LEFT_OUT = 0.1  # of the steps at the beginning, where the smoothed loss is a mean of too few to have a slope


@dataclass(frozen=True)
class LrRange:
    """The result of a range test.

    Args:
        rates: of the optimizer, one for each step, each a fixed factor above the one before.
        losses: the loss of the batch after each of these steps: what the rate has led to.
        smoothed: their moving average, from `start_loss` on.
        start_loss: of the first batch, before any step.
        end: what ended the test: `range`, the last rate; `blow-up`, a smoothed loss above 4 times the best; `infinite`,
            a loss or gradient that is not finite, which has no place in `losses`.
        end_lr: the rate that led there.
        suggestions: a rate by each rule of RULES, None where it finds none among the rates that were tried.
        batch_size: examples in a step.
        num_groups: of the optimizer's parameters; `rates` are those of the optimizer, and groups keep their ratios.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    start_loss: float
    end: Literal["range", "blow-up", "infinite"]
    end_lr: float
    suggestions: Mapping[str, float | None]
    batch_size: int
    num_groups: int


@held_places()
@held_switches()
@refusing_exits()
def find_lr(
    config: Config | str | Path | Mapping[str, Any],
    *,
    low: float = 1e-7,
    high: float = 10.0,
    num_steps: int = 100,
    beta: float = 0.98,
) -> LrRange:
    """Train for a few steps at growing rates, and suggest rates for training; nothing is kept.

        lr(k) = low * (high / low)^(k / (num_steps - 1))                k = 0, …, num_steps - 1
        average = beta * average + (1 - beta) * loss,  smoothed = average / (1 - beta^n)    n losses so far

    The train op is that of the run, with its optimizer, loss, clipping and extra updates; its schedule and its hooks
    take no part. One more batch is drawn than there are steps: a rate answers for the loss after its step.

    Args:
        config: of the run: from `load_config`, or what it takes.
        low: the first rate.
        high: the last one.
        num_steps: how many rates are tried, at least 3.
        beta: how much of the past the moving average keeps, in [0, 1).

    Raises:
        ConfigError: the configuration cannot be built.
        UsageError: an argument out of its range.
        DivergedError: the loss or a gradient is not finite before any step, or there is no second rate that works.

    Source: Smith, 2017, "Cyclical learning rates for training neural networks", arXiv:1506.01186, whose rate grows
    linearly; growth by a factor, smoothing and the end at 4 times the best are those of Gugger, 2018, "How do you find
    a good learning rate", and fastai, whose lr_find has the three rules.
    """
    ranks.refuse_several("lr-find")
    _check(low, high, num_steps, beta)
    config = load_config(config)
    # A value that is not finite ends the test, whatever a run would do; and nothing but the test writes, or feeds.
    stop = replace(config.stop, on_nan="stop", loss_above=None)
    config = replace(config, hooks=(), stop=stop, log=replace(config.log, to=()))
    experiment = build(config)
    hook = _RangeHook([low * (high / low) ** (step / (num_steps - 1)) for step in range(num_steps)], beta)
    session = _run(experiment, hook)
    end = "infinite" if session.outcome == "diverged" else "blow-up" if hook.has_blown_up else "range"
    taken = experiment.train_op.global_step if end == "infinite" else len(hook.losses) - 1
    if len(hook.losses) < 3:
        raise _at_once(session.error, low, taken)
    rates, smoothed = hook.rates[: len(hook.losses) - 1], hook.smoothed[1:]
    return LrRange(
        rates=tuple(rates),
        losses=tuple(hook.losses[1:]),
        smoothed=tuple(smoothed),
        start_loss=hook.losses[0],
        end=end,
        end_lr=hook.rates[taken - 1],
        suggestions=suggest(rates, smoothed, round(_LEFT_OUT * num_steps)),
        batch_size=experiment.batches.batch_size,
        num_groups=len(experiment.train_op.optimizer.param_groups),
    )


def suggest(rates: Sequence[float], smoothed: Sequence[float], left_out: int = 0) -> dict[str, float | None]:
    """Return a rate by each rule; None where the loss never fell, or the rate was not among those that were tried.

    Args:
        rates: increasing.
        smoothed: a loss for each.
        left_out: so many at the beginning have no say.
    """
    places, values = np.log10(rates)[left_out:], np.asarray(smoothed, dtype=float)[left_out:]
    nothing: dict[str, float | None] = dict.fromkeys(RULES)
    if len(values) < 3 or not (lowest := int(values.argmin())):
        return nothing
    slopes = np.gradient(values, places)[: lowest + 1]
    tenth = 10 ** float(places[lowest] - 1)
    start, end = _longest_descent(values)
    return {
        "steepest": float(rates[left_out + int(slopes.argmin())]) if slopes.min() < 0 else None,
        "minimum/10": tenth if tenth >= rates[0] else None,
        "valley": float(rates[left_out + (start + end) // 2]),
    }


class _RangeHook(Hook):
    """Feeds the growing rate, notes the losses, and ends the session."""

    phase = Phase.CONTROL
    stops = True

    def __init__(self, rates: Sequence[float], beta: float):
        self.rates, self.losses, self.smoothed = list(rates), list[float](), list[float]()
        self.has_blown_up = False
        self._beta, self._average = beta, 0.0

    def before_run(self, ctx: StepView) -> RunArgs:
        rate = self.rates[min(ctx.step, len(self.rates) - 1)]  # the last batch only tells what the last rate has led to
        return RunArgs(("loss",), {"lr": rate})

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        self.losses.append(values["loss"])
        self._average = self._beta * self._average + (1 - self._beta) * values["loss"]
        self.smoothed.append(self._average / (1 - self._beta ** len(self.losses)))
        self.has_blown_up = self.smoothed[-1] > _bound(self.smoothed)
        if self.has_blown_up or len(self.losses) > len(self.rates):
            ctx.request_stop()


def _bound(smoothed: Sequence[float]) -> float:
    """Return what a loss may not exceed: 4 times the best; for a best of 0 or less, as far above, in its scale."""
    best = min(smoothed)
    scale = best if best > 0 else max(-best, smoothed[0] - best)
    return best + (_BLOW_UP - 1) * scale


def _run(experiment: Experiment, hook: Hook) -> MonitoredTrainingSession:
    train_op = experiment.train_op
    if train_op.gate is not None and train_op.gate.deferred:  # the end must be seen at the step that it comes at
        train_op.gate.check_at_once(train_op.optimizer)
    init_fn = experiment.initialise if experiment.config.init is not None else None
    with experiment.located(), MonitoredTrainingSession(train_op, hooks=[hook], init_fn=init_fn) as session:
        while not session.should_stop():
            session.run(train_op)
    return session


def _check(low: float, high: float, num_steps: int, beta: float) -> None:
    if not (0 < low < high and math.isfinite(high)):
        raise UsageError(f"the rates go from {low:g} to {high:g}: give two numbers above 0, the smaller one first")
    if num_steps < 3:
        raise UsageError(f"{num_steps} steps are too few for a curve: give at least 3")
    if not 0 <= beta < 1:
        raise UsageError(f"beta is {beta:g}: give a number of at least 0 and below 1")


def _at_once(error: BaseException | None, low: float, taken: int) -> DivergedError:
    """Return the error for a test that ends before there is anything to draw."""
    why = f" ({error})" if error else ""
    if taken == 0:
        return DivergedError(
            "a range test begins with a finite loss, and that of the first batch, or its gradient, is not: no rate has "
            f"a part in it, so look at the data, the loss and the initial weights{why}"
        )
    what = "loss or gradient are not finite" if error else "the loss has blown up"
    when = "the first step" if taken == 1 else f"{taken} steps"
    return DivergedError(f"{what} after {when}, at rates from {low:g} on: begin lower{why}")


def _longest_descent(values: np.ndarray) -> tuple[int, int]:
    """Return where the longest sequence of ever lower values begins and ends; values in between may be left out."""
    lengths = np.ones(len(values), dtype=int)
    before = np.arange(len(values))
    for place in range(1, len(values)):
        higher = np.flatnonzero(values[:place] > values[place])
        if len(higher):
            best = higher[lengths[higher].argmax()]
            lengths[place], before[place] = lengths[best] + 1, best
    start = end = int(lengths.argmax())
    while before[start] != start:
        start = int(before[start])
    return start, end

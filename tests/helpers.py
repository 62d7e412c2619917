"""Small pieces that several tests build with."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from optrun.experiments import Batches, Hook, StopAtStepHook, build_train_op
from optrun.experiments.components.hooks.hook import RunArgs
from optrun.experiments.training.session.session import MonitoredTrainingSession


def in_turn(
    first: Iterable[Any], second: Sequence[Any], others: pytest.MarkDecorator = pytest.mark.sample
) -> list[Any]:
    """Return all pairs for `parametrize`: each of the first with one of the second, in turn, and the others marked.

    So a sweep over two things has, every day, each of the first, and each of the second if those are no more.
    """
    pairs = itertools.product(enumerate(first), enumerate(second))
    return [
        pytest.param(one, other, marks=() if (place + turn) % len(second) == 0 else others)
        for (place, one), (turn, other) in pairs
    ]


def linear_problem(num_examples: int = 64, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs (num_examples, 4) and targets (num_examples, 1) of a noisy linear rule."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(num_examples, 4, generator=generator)
    weights = torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    return inputs, inputs @ weights + 0.1 * torch.randn(num_examples, 1, generator=generator)


def small_train_op(model: nn.Module | None = None, *, lr: float = 0.1, batch_size: int = 16, data=None, **options):
    """Return a train op for linear regression with momentum."""
    torch.manual_seed(0)
    model = model if model is not None else nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    if data is None:
        data = Batches(*linear_problem(), batch_size=batch_size)
    return build_train_op(model, nn.functional.mse_loss, optimizer, data, **options)


def run_steps(train_op, num_steps: int, *hooks: Hook, **options) -> MonitoredTrainingSession:
    """Run a session to a step and return it, closed."""
    with MonitoredTrainingSession(hooks=[StopAtStepHook(last_step=num_steps), *hooks], **options) as session:
        while not session.should_stop():
            session.run(train_op)
    return session


class PoisonHook(Hook):
    """Feed batches whose inputs are NaN, by the number of the batch."""

    def __init__(self, train_op, *batches: int):
        self._data, self._batches = train_op.data, batches

    def before_run(self, ctx):
        if ctx.batch not in self._batches:
            return None
        inputs, targets = self._data.batch(ctx.batch)
        return RunArgs(feed={"batch": (torch.full_like(inputs, float("nan")), targets)})


class Recorder(Hook):
    """Note every event, with the step that it sees."""

    def __init__(self, name="recorder", trigger=None, fetches=(), log=None):
        self._name, self.trigger, self._fetches = name, trigger, fetches
        self.log = log if log is not None else []

    @property
    def name(self):
        return self._name

    def _note(self, event, *what):
        self.log.append((self._name, event, *what))

    def begin(self, session):
        self._note("begin")

    def after_create_session(self, session):
        self._note("after_create_session", session.step)

    def before_run(self, ctx):
        self._note("before_run", ctx.step)
        return RunArgs(tuple(self._fetches))

    def after_gradients(self, ctx):
        self._note("after_gradients", ctx.step)

    def after_run(self, ctx, values):
        self._note("after_run", ctx.step, *values.values())

    def on_error(self, ctx, error):
        self._note("on_error", type(error).__name__)

    def end(self, session, outcome):
        self._note("end", outcome)

    def steps(self, event):
        return [entry[2] for entry in self.log if entry[1] == event]

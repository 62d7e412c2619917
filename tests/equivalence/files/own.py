"""Components of a user's own."""

import os
import signal
from pathlib import Path

import torch
from torch import nn

from optrun.experiments import Every, Hook, RunArgs, Update, register_metric
from optrun.experiments.arguments import Count, Decay, Positive
from optrun.experiments.errors import UsageError

_OFTEN = Every(steps=2)


class SignMomentum(torch.optim.Optimizer):
    """w = w - lr * sign(a), with a = beta * a + (1 - beta) * gradient."""

    def __init__(self, params, *, lr: Positive = 0.001, beta: Decay = 0.9):
        super().__init__(params, {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["average"] = torch.zeros_like(parameter)
                state["average"].lerp_(parameter.grad, 1 - group["beta"])
                parameter.sub_(state["average"].sign(), alpha=group["lr"])


def inverse_root(step: int, *, scale: Positive = 100.0) -> float:
    """value(step) = 1 / sqrt(1 + step / scale)."""
    return (1 + step / scale) ** -0.5


def tiny(input_shape: tuple[int, ...], num_outputs: int, width: Count = 16) -> nn.Module:
    """One hidden layer with dropout."""
    size = torch.Size(input_shape).numel()
    return nn.Sequential(nn.Flatten(), nn.Linear(size, width), nn.Dropout(0.1), nn.Linear(width, num_outputs))


def brighter(inputs, generator):
    """Add one number to each example."""
    return inputs + torch.rand(len(inputs), *[1] * (inputs.dim() - 1), generator=generator)


def hinge(outputs, targets):
    """Multi-class hinge loss."""
    return nn.functional.multi_margin_loss(outputs, targets)


@register_metric("margin_of_victory", mode="max", margin=0.01, task="classes")
class MarginOfVictory:
    """The root mean square of the distance between the two highest scores."""

    def __call__(self, outputs, targets):
        best = outputs.topk(2, dim=1).values
        return (best[:, 0] - best[:, 1]).square()

    def finish(self, means):
        return means.sqrt()


def halves(model):
    """Start from half the usual weights."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)


class WatchRate(Hook):
    """Write a row of the rate and of the largest gradient norm so far."""

    def __init__(self, every: Every = _OFTEN, label: str = "rate"):
        self.trigger = every
        self.label = label
        self.largest = 0.0

    def before_run(self, ctx):
        return RunArgs(fetches=("lr", "grad_norm"))

    def after_run(self, ctx, values):
        self.largest = max(self.largest, values["grad_norm"])
        ctx.session.write_row(**{self.label: values["lr"], "largest": self.largest})

    def state_dict(self):
        return {"largest": self.largest}

    def load_state_dict(self, state):
        self.largest = state["largest"]


class Killer(Hook):
    """End this process once, before a step, with a signal."""

    def __init__(self, step: Count, signal_name: str = "SIGKILL"):
        if not hasattr(signal, signal_name):
            raise UsageError(f"no signal {signal_name}")
        self.step, self.signal_name = step, signal_name

    def before_run(self, ctx):
        flag = Path(f"killed-{self.signal_name}")
        if ctx.step == self.step and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), getattr(signal, self.signal_name))


class Shrink(Update):
    """Multiply all weights by a factor after each step."""

    def __init__(self, model, factor: Decay = 0.99):
        self.model, self.factor, self.calls = model, factor, 0

    @torch.no_grad()
    def apply(self):
        self.calls += 1
        for parameter in self.model.parameters():
            parameter.mul_(self.factor)

    def state_dict(self):
        return {"calls": self.calls}

    def load_state_dict(self, state):
        self.calls = state["calls"]


def poison(step):
    """Feed a batch of NaN in place of some."""
    return {"batch": (torch.full((20, 10), float("nan")), torch.zeros(20, dtype=torch.long))} if step == 5 else {}


def measured(session):
    """Return the norm of all weights."""
    return sum(float(p.detach().square().sum()) for p in session.train_op.model.parameters()) ** 0.5

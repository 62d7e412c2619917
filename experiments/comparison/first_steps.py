"""The first steps of runs, taken in a batch and by themselves: how far apart their weights are then."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import config as configuration
from ..components.hooks.hook import Every, Hook
from ..components.hooks.session_view import StepView
from ..components.hooks.stop import StopAtStepHook
from ..components.registries import REGISTRIES
from ..training.batched import train_together
from ..training.build import build
from ..training.step.steps import Steps
from ..training.together import Together

NUM_STEPS, NUM_EARLY = 20, 5  # of which the early ones are too few for a rounding to become something else
_CHANGE, _TRIES = 1e-6, 8  # of weights, some roundings of float32


class Apart(NamedTuple):
    """How far a run in a batch and the same run by itself are apart after their first steps.

    Args:
        start: how far they were apart before the first step; 0 means equal to the last bit.
        early: norm of the difference of their weights after a few steps, as a share of the way that these have gone.
        share: the same after all of these steps.
        largest: difference of a weight then.
        by_itself: how far the run by itself is moved, where it begins a millionth of each weight beside its start: the
            largest share of some tries; None where nobody had to know.
    """

    start: float
    early: float
    share: float
    largest: float
    by_itself: float | None


def first_steps(
    configs: Sequence[Mapping[str, Any]],
    wanted: Sequence[int],
    is_compiled: bool,
    num_steps: int = NUM_STEPS,
    enough: float = math.inf,
) -> list[Apart]:
    """Return how far runs are apart from themselves in a batch.

        share = |w_batch - w_alone| / |w_alone - w_start|

    Args:
        configs: of all runs in the batch, as plain data.
        wanted: the places of those that are compared.
        is_compiled: whether the graphs of the batch are.
        num_steps: that are taken, with the hooks of the configuration, which write nowhere.
        enough: a share above which it is found out how far a run moves by itself.

    Raises:
        Exception: one of the runs cannot take them, or diverges.
    """
    together = Together(is_compiled)
    members = [_Run(config, num_steps) for config in configs]
    alone = [_Run(configs[place], num_steps) for place in wanted]
    begun = [_gap(members[place].start, run.start)[0] for place, run in zip(wanted, alone, strict=True)]
    _take(members, together)
    _take(alone, None)
    found = []
    for place, run, start in zip(wanted, alone, begun, strict=True):
        early, _ = _share(members[place].early, run.early, run.start)
        share, largest = _share(members[place].weights(), run.weights(), run.start)
        by_itself = None
        if early <= enough < share:
            by_itself = max(_moved(run, configs[place], num_steps, seed) for seed in range(_TRIES))
        found.append(Apart(start, early, share, largest, by_itself))
    return found


class _Run:
    """The first steps of a run.

    Args:
        config: as plain data.
        num_steps: how many.

    Attributes:
        start: its weights.
        early: those after a few steps.
    """

    def __init__(self, config: Mapping[str, Any], num_steps: int):
        self._experiment = build(configuration.load(config, registries=REGISTRIES))
        self._num_steps = num_steps
        self.start = self.early = self.weights()

    def weights(self) -> list[Tensor]:
        """Return its weights as they are now."""
        return [weight.detach().double() for _, weight in self._experiment.train_op.trained.named_parameters()]

    def change(self, seed: int) -> None:
        """Move it a millionth of each weight beside its start."""
        random = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for _, weight in self._experiment.train_op.trained.named_parameters():
                weight.mul_(1 + _CHANGE * torch.randn(weight.shape, generator=random))

    def steps(self, together: Together | None) -> Generator[Steps, bool, Any]:
        """Take them, as an attempt does."""
        op = self._experiment.train_op
        hooks = [StopAtStepHook(last_step=self._num_steps), _Early(self)]
        with self._experiment.session(None, hooks) as session:
            if together is not None:
                op.compiled.stop("steps are taken in a batch of runs")
                together.join(self._experiment)
                yield from session.blocks(op)
            while not session.should_stop():
                session.run_block(op)


class _Early(Hook):
    """Keeps the weights after a few steps.

    Args:
        run: whose they are.
    """

    only_reads = True
    trigger = Every.once(NUM_EARLY)

    def __init__(self, run: _Run):
        self._run = run

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        self._run.early = self._run.weights()


def _take(runs: Sequence[_Run], together: Together | None) -> None:
    raised = list[BaseException]()

    def take(place: int, result: Any) -> None:
        if isinstance(result, BaseException):
            raised.append(result)

    train_together([run.steps(together) for run in runs], together, take)
    for error in raised:
        raise error


def _moved(run: _Run, config: Mapping[str, Any], num_steps: int, seed: int) -> float:
    """Return how far a run by itself is from where it would be, if it begins beside its start."""
    other = _Run(config, num_steps)
    other.change(seed)
    _take([other], None)
    return _share(other.weights(), run.weights(), run.start)[0]


def _share(one: Sequence[Tensor], other: Sequence[Tensor], start: Sequence[Tensor]) -> tuple[float, float]:
    """Return how far two runs are apart, as a share of the way of the second, and the largest difference."""
    gap, largest = _gap(one, other)
    way, _ = _gap(other, start)
    return gap / way if way else (math.inf if gap else 0.0), largest


def _gap(one: Sequence[Tensor], other: Sequence[Tensor]) -> tuple[float, float]:
    """Return the norm of a difference of weights, and the largest of one."""
    gaps = [first - second for first, second in zip(one, other, strict=True)]
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gap) for gap in gaps]))
    return norm.item(), max([gap.abs().max().item() for gap in gaps if gap.numel()], default=0.0)

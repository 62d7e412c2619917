"""Dual averaging: rules that compute the weights anew in each step, from sums over all gradients so far."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from ....registry.arguments import NonNegative, Positive
from .. import register_optimizer
from .rule import Batch, TF1Optimizer, assign_quotients, shrunk, single

log = logging.getLogger("optrun")


class DualAveraging(TF1Optimizer):
    """A rule whose weights are a multiple of the rate, so that a changed rate scales all of them; it says so once."""

    _rates: list[float] | None = None  # of the step before, by group
    _has_warned = False

    def announce(self, rates: Sequence[Sequence[float]]) -> None:
        """Say what is to be known of steps that are about to be taken.

        Args:
            rates: of each parameter group, at one step after the other.
        """
        for now in rates:
            pairs = zip(now if self._rates is None else self._rates, now, strict=False)
            changed = next((pair for pair in pairs if pair[0] != pair[1]), None)
            if changed is not None and not self._has_warned:
                self._has_warned = True
                log.warning(
                    "%s: the weights are a multiple of lr, so that a schedule scales them all (lr was %g, and is %g): "
                    "use a constant schedule",
                    type(self).__name__,
                    *changed,
                )
            self._rates = list(now)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        self.announce([[float(group["lr"]) for group in self.param_groups]])
        return super().step(closure)


@register_optimizer(
    "adagrad_da",
    source="Duchi, Hazan and Singer, 2011, JMLR 12:2121-2159",
    centre_lr=0.3,
    centre_source="best on digits, of a grid by factors of √10: 0.1 with a logistic "
    "regression (340 steps), 1 with a resnet (170 steps), both at a constant rate",
)
class AdagradDA(DualAveraging):
    """Adagrad's dual averaging, for sparse linear models: weights from the sums of all gradients and their squares.

        G = G + gradient
        n = n + gradient²                   n starts at initial_accumulator_value
        w = -sign(G) * lr * max(|G| - l1 * t, 0) / (√n + l2 * t * lr)        t = 1, 2, …

    The initial weights do not occur: after the first step all weights are at most lr, and where they were counts for
    nothing. That suits linear models. A deep network collapses to near zero, and optrun warns of it. The weights are a
    multiple of the rate, so the schedule has to be constant. The rule is TensorFlow 1's AdagradDAOptimizer.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the scale of the weights; TensorFlow's `learning_rate`, which has no default there.
        initial_accumulator_value: where the sum of squares starts; TensorFlow's
            `initial_gradient_squared_accumulator_value`.
        l1: the L1 penalty's rate, which makes weights exactly 0; TensorFlow's `l1_regularization_strength`.
        l2: the L2 penalty's rate; TensorFlow's `l2_regularization_strength`.

    Source: Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic optimization",
    2011; TensorFlow, python/training/adagrad_da.py and core/kernels/training_ops.cc.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(0.0))
        >>> w.grad = torch.tensor(0.5)
        >>> make_optimizer([w], "adagrad_da", lr=0.1, l1=0.2).step()
        >>> round(w.item(), 4)  # -0.1 * (0.5 - 0.2) / √(0.1 + 0.5²)
        -0.0507
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: Positive = 0.1,
        initial_accumulator_value: Positive = 0.1,
        l1: NonNegative = 0.0,
        l2: NonNegative = 0.0,
    ):
        super().__init__(params, lr=lr, initial_accumulator_value=initial_accumulator_value, l1=l1, l2=l2)

    @staticmethod
    def slots(group: Mapping[str, Any]) -> dict[str, float]:
        return {"gradient_sum": 0.0, "square_sum": group["initial_accumulator_value"]}

    @staticmethod
    def counters(group: Mapping[str, Any]) -> dict[str, float]:
        return {"step": 0}

    @staticmethod
    def counted(group: Mapping[str, Any], counters: tuple[float, ...]) -> tuple[float, ...]:
        return (counters[0] + 1,)

    def announce(self, rates: Sequence[Sequence[float]]) -> None:
        if not self.state and any(weight.detach().any() for group in self.param_groups for weight in group["params"]):
            log.warning(
                "AdagradDA forgets the initial weights: its first step makes each of them at most lr, whatever it "
                "was. It suits linear models; a deep network, whose layers then hardly pass anything on, may not learn"
            )
        super().announce(rates)

    def update(self, group: Mapping[str, Any], batch: Batch) -> None:
        lr, l1, l2 = single(group["lr"]), single(group["l1"]), single(group["l2"])
        (steps,) = self.counted(group, batch.counters)
        sums, squares = batch.slots["gradient_sum"], batch.slots["square_sum"]
        torch._foreach_add_(sums, batch.grads)
        torch._foreach_addcmul_(squares, batch.grads, batch.grads)
        roots = torch._foreach_sqrt(squares)
        if l2:
            torch._foreach_add_(roots, l2 * steps * lr)
        assign_quotients(batch.weights, shrunk(sums, l1 * steps, into=batch.weights), roots, -lr)

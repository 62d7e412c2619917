"""Gradient descent, with and without momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ...registry.arguments import Decay, Positive
from . import register_optimizer
from .shared.parameter_groups import WeightDecay, decay_rate
from .shared.torch_rules import PAIRS, any_complex, builds

_MEASURED = "best on digits, of a grid by factors of √10: "


@register_optimizer(
    "sgd",
    source="Robbins and Monro, 1951, doi:10.1214/aoms/1177729586",
    centre_lr=0.5,
    centre_source=_MEASURED + "0.5 with an mlp (460 steps), 1 with a resnet (136 steps)",
    complex=PAIRS,
)
@builds(torch.optim.SGD, fused=True)
def sgd(params: Iterable[Any], *, lr: Positive = 0.1, weight_decay: WeightDecay = 0.0):
    """Stochastic gradient descent.

        g = gradient + weight_decay * w
        w = w - lr * g

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the step length.
        weight_decay: the L2 penalty's rate, added to the gradient.

    Source: Robbins and Monro, "A stochastic approximation method", 1951.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> w.grad = torch.tensor(0.5)
        >>> make_optimizer([w], "sgd", lr=0.1).step()
        >>> round(w.item(), 4)  # 1 - 0.1 * 0.5
        0.95
    """


@register_optimizer(
    "mom",
    source="Polyak, 1964, doi:10.1016/0041-5553(64)90137-5",
    centre_lr=0.1,
    centre_source=_MEASURED + "0.1 with an mlp (460 steps) and with a resnet (136 steps)",
    complex=PAIRS,
)
def mom(
    params: Iterable[Any],
    *,
    lr: Positive = 0.1,
    momentum: Decay = 0.9,
    nesterov: bool = False,
    weight_decay: WeightDecay = 0.0,
) -> torch.optim.Optimizer:
    """Gradient descent with momentum (the heavy ball).

        g = gradient + weight_decay * w
        a = momentum * a + g
        w = w - lr * a                      nesterov: w = w - lr * (g + momentum * a)

    The rate stands outside the sum `a`, as in TensorFlow's MomentumOptimizer, so that a change of rate acts at once.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the step length.
        momentum: how much of the sum of past gradients is kept; 0 is plain gradient descent.
        nesterov: whether to look ahead along the momentum.
        weight_decay: the L2 penalty's rate, added to the gradient.

    Source: Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> optimizer = make_optimizer([w], "mom", lr=0.1)
        >>> w.grad = torch.tensor(0.5)
        >>> optimizer.step(); optimizer.step()
        >>> round(w.item(), 4)  # 1 - 0.1 * 0.5 - 0.1 * (0.9 * 0.5 + 0.5)
        0.855
    """
    params = list(params)
    optimizer = torch.optim.SGD(
        params,
        lr=lr,
        momentum=momentum,
        nesterov=nesterov and momentum > 0,  # without momentum there is nothing to look ahead along
        weight_decay=decay_rate(weight_decay),
        fused=not any_complex(params),
    )
    optimizer.register_step_pre_hook(_begin_late_sums)
    return optimizer


def _begin_late_sums(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    """Begin the sum of a weight whose first gradient comes later than that of others, as one that was frozen.

    torch's fused rule takes the sums of all weights of a group, or none: at their first step. A sum of zero becomes the
    gradient, as that of a first step is.
    """
    if len(optimizer.state) in (0, sum(len(group["params"]) for group in optimizer.param_groups)):
        return
    for group in optimizer.param_groups:
        if group.get("fused") and group["momentum"]:
            moved = [weight for weight in group["params"] if weight.grad is not None]
            late = [weight for weight in moved if optimizer.state.get(weight, {}).get("momentum_buffer") is None]
            for weight in late if len(late) < len(moved) else ():
                optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)


@register_optimizer(
    "nag",
    source="Sutskever et al., 2013, ICML 28(3):1139-1147",
    centre_lr=0.1,
    centre_source=_MEASURED + "0.1 to 0.3 with a resnet (136 steps); as for mom",
    complex=PAIRS,
)
def nag(
    params: Iterable[Any], *, lr: Positive = 0.1, momentum: Decay = 0.9, weight_decay: WeightDecay = 0.0
) -> torch.optim.Optimizer:
    """Nesterov's accelerated gradient: momentum that looks ahead, in the form for deep networks.

        g = gradient + weight_decay * w
        a = momentum * a + g
        w = w - lr * (g + momentum * a)

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the step length.
        momentum: how much of the sum of past gradients is kept.
        weight_decay: the L2 penalty's rate, added to the gradient.

    Source: Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in deep
    learning", 2013; after Nesterov, 1983.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> w.grad = torch.tensor(0.5)
        >>> make_optimizer([w], "nag", lr=0.1).step()
        >>> round(w.item(), 4)  # 1 - 0.1 * (0.5 + 0.9 * 0.5)
        0.905
    """
    return mom(params, lr=lr, momentum=momentum, nesterov=True, weight_decay=weight_decay)

"""Adagrad."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ...registry.arguments import NonNegative, Positive
from . import register_optimizer
from .shared.parameter_groups import WeightDecay, decay_rate
from .shared.torch_rules import PAIRS, any_complex


@register_optimizer(
    "adagrad",
    source="Duchi, Hazan and Singer, 2011, JMLR 12:2121-2159",
    centre_lr=0.03,
    centre_source="best on digits, of a grid by factors of √10: 0.03 with an mlp (460 steps), "
    "0.03 to 0.1 with a resnet (136 steps)",
    complex=PAIRS,
)
def adagrad(
    params: Iterable[Any],
    *,
    lr: Positive = 0.01,
    initial_accumulator_value: NonNegative = 0.0,
    eps: NonNegative = 1e-10,
    weight_decay: WeightDecay = 0.0,
) -> torch.optim.Optimizer:
    """Adagrad: each weight's rate falls with the sum of its squared gradients.

        g = gradient + weight_decay * w
        n = n + g²                          n starts at initial_accumulator_value
        w = w - lr * g / (√n + eps)

    TensorFlow's AdagradOptimizer is initial_accumulator_value 0.1 and eps 0.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the step length of the first step, before it falls.
        initial_accumulator_value: where the sum of squares starts; more makes the first steps shorter.
        eps: added to the root, against division by zero.
        weight_decay: the L2 penalty's rate, added to the gradient.

    Source: Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic optimization",
    2011.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> optimizer = make_optimizer([w], "adagrad", lr=0.1)
        >>> w.grad = torch.tensor(0.5)
        >>> optimizer.step(); optimizer.step()
        >>> round(w.item(), 4)  # 1 - 0.1 - 0.1 / √2
        0.8293
    """
    params = list(params)
    tensors = [tensor for item in params for tensor in (item["params"] if isinstance(item, dict) else [item])]
    on_cpu = all(tensor.device.type == "cpu" for tensor in tensors)  # the only device that torch has it fused for
    return torch.optim.Adagrad(
        params,
        lr=lr,
        initial_accumulator_value=initial_accumulator_value,
        eps=eps,
        weight_decay=decay_rate(weight_decay),
        fused=(on_cpu and not any_complex(params)) or None,
    )

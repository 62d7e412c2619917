"""Adam for sparse gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim._functional import sparse_adam as sparse_step
from torch.optim.adam import adam as dense_step

from ...registry.arguments import Decay, NonNegative, Positive
from . import register_optimizer
from .shared.foreach import RuleOptimizer, gradients_of, refuse_complex


@register_optimizer(
    "sparse_adam",
    source="Kingma and Ba, 2015, arXiv:1412.6980; torch.optim.SparseAdam",
    centre_lr=0.01,
    centre_source="as for adam, which it is where gradients are dense",
)
class SparseAdam(RuleOptimizer):
    """Adam that leaves alone the rows of an embedding which a batch did not use, weights and means alike.

        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient²
        w = w - lr * √(1 - beta2^t) / (1 - beta1^t) * m / (√v + eps)        t = 1, 2, …

    all of it only in the rows that the gradient holds.

    For `nn.Embedding(…, sparse=True)`, whose gradient names the rows that it holds. Dense gradients take adam's step.
    There is no weight decay, which would touch every row.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: about the largest change of a weight in one step.
        betas: how much of the past the means of the gradient and of its square keep.
        eps: added to the root; larger moves the rule towards momentum.

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2015; for rows as in torch's SparseAdam.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.ones(2))
        >>> optimizer = make_optimizer([w], "sparse_adam", lr=0.1)
        >>> for gradient in ([0.5, 0.0], [0.0, 0.5]):
        ...     w.grad = torch.tensor(gradient).to_sparse()
        ...     optimizer.step()
        >>> w.detach()  # the first weight rests while the second moves
        tensor([0.9000, 0.9256])
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: Positive = 0.001,
        betas: tuple[Decay, Decay] = (0.9, 0.999),
        eps: NonNegative = 1e-8,
    ):
        super().__init__(params, lr=lr, betas=betas, eps=eps)
        refuse_complex(self, "sparse_adam")

    def move(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        settings = {"beta1": beta1, "beta2": beta2, "lr": group["lr"], "eps": group["eps"], "maximize": False}
        for is_sparse in (True, False):  # torch's SparseAdam where gradients are sparse, torch's Adam where dense
            chosen = [weight for weight in weights if weight.grad.is_sparse is is_sparse]  # type: ignore[union-attr]
            if not chosen:
                continue
            steps, gradients = self.own_steps(chosen), gradients_of(chosen)
            means, squares = self.kept("exp_avg", chosen), self.kept("exp_avg_sq", chosen)
            if is_sparse:
                torch._foreach_add_(steps, 1)
                counts = [int(step.item()) for step in steps]
                sparse_step(chosen, gradients, means, squares, counts, **settings)
            else:
                others = {"foreach": True, "amsgrad": False, "weight_decay": 0.0}
                dense_step(chosen, gradients, means, squares, [], steps, **others, **settings)

"""Adam for sparse gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim._functional import sparse_adam as sparse_step
from torch.optim.adam import adam as dense_step

from ...errors import UsageError
from ...registry.arguments import Decay, NonNegative, Positive
from . import register_optimizer
from .shared.foreach import evaluated


class SparseAdam(torch.optim.Optimizer):
    """The rules of `sparse_adam`: torch's SparseAdam where gradients are sparse, torch's Adam where they are dense."""

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]):
        super().__init__(params, defaults)
        if any(p.is_complex() for group in self.param_groups for p in group["params"]):
            raise UsageError("sparse_adam cannot train complex parameters: train their real parts")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move all weights that have a gradient, of sparse ones the rows that it names."""
        loss = evaluated(closure)
        for group in self.param_groups:
            present = [p for p in group["params"] if p.grad is not None]
            for is_sparse, update in ((True, self._update_rows), (False, self._update_all)):
                chosen = [p for p in present if p.grad.is_sparse is is_sparse]
                if chosen:
                    update(group, chosen)
        return loss

    def _update_rows(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        means, squares, steps = self._state(weights)
        torch._foreach_add_(steps, 1)
        sparse_step(
            weights,
            [weight.grad for weight in weights],  # type: ignore[misc]
            means,
            squares,
            [int(step.item()) for step in steps],
            **self._settings(group),
        )

    def _update_all(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        means, squares, steps = self._state(weights)
        gradients: list[Tensor] = [weight.grad for weight in weights]  # type: ignore[misc]
        dense_step(
            weights,
            gradients,
            means,
            squares,
            [],
            steps,
            foreach=True,
            amsgrad=False,
            weight_decay=0.0,
            **self._settings(group),
        )

    def _state(self, weights: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        for weight in weights:
            if not self.state[weight]:
                self.state[weight].update(
                    step=torch.zeros(()), exp_avg=torch.zeros_like(weight), exp_avg_sq=torch.zeros_like(weight)
                )
        states = [self.state[weight] for weight in weights]
        return tuple([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))  # type: ignore

    @staticmethod
    def _settings(group: dict[str, Any]) -> dict[str, Any]:
        beta1, beta2 = group["betas"]
        return {"beta1": beta1, "beta2": beta2, "lr": group["lr"], "eps": group["eps"], "maximize": False}


@register_optimizer(
    "sparse_adam",
    source="Kingma and Ba, 2015, arXiv:1412.6980; torch.optim.SparseAdam",
    centre_lr=0.01,
    centre_source="as for adam, which it is where gradients are dense",
)
def sparse_adam(
    params: Iterable[Any],
    *,
    lr: Positive = 0.001,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
) -> torch.optim.Optimizer:
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
    return SparseAdam(params, {"lr": lr, "betas": betas, "eps": eps})

"""L-BFGS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch

from ...errors import UsageError
from ...registry.arguments import Count, NonNegative, Positive
from . import register_optimizer
from .shared.torch_rules import PAIRS, builds


class LBFGS(torch.optim.LBFGS):
    """torch's, which takes one group of parameters, and says so when it is given a second one."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take the first group.

        Raises:
            UsageError: there is one already.
        """
        if self.param_groups:
            raise UsageError("L-BFGS takes all parameters as one vector, so that there can be no second group")
        super().add_param_group(param_group)


@register_optimizer(
    "lbfgs",
    source="Liu and Nocedal, 1989, doi:10.1007/BF01589116",
    centre_lr=1.0,
    centre_source="best on digits: 1 with a resnet (170 steps, max_iter 4, line_search_fn strong_wolfe)",
    complex=PAIRS,
)
@builds(LBFGS)
def lbfgs(
    params: Iterable[Any],
    *,
    lr: Positive = 1.0,
    max_iter: Count = 20,
    max_eval: Count | None = None,
    tolerance_grad: NonNegative = 1e-7,
    tolerance_change: NonNegative = 1e-9,
    history_size: Count = 100,
    line_search_fn: Literal["strong_wolfe"] | None = None,
):
    """L-BFGS: Newton's method with a curvature that is estimated from the last steps and gradients.

        d = H * gradient                    H: the inverse Hessian, by the last `history_size` pairs
        w = w - lr * d                      up to max_iter times per step, on the same batch

    One step evaluates the batch many times, each with its own backward pass, and all are counted. Made for full
    batches: with small ones the pairs of different batches contradict each other. All parameters are one vector, so
    that there can be no groups.

    Args:
        params: the parameters to train.
        lr: the part of each Newton step that is taken; where a line search tries first.
        max_iter: iterations per step.
        max_eval: evaluations of the batch per step; null is 5/4 of max_iter.
        tolerance_grad: a step ends when no entry of the gradient is larger.
        tolerance_change: a step ends when loss or weights change by less.
        history_size: how many pairs are remembered; each is as large as the model, twice.
        line_search_fn: whether to search along the direction until the strong Wolfe conditions hold.

    Raises:
        UsageError: there are groups.

    Source: Liu and Nocedal, "On the limited memory BFGS method for large scale optimization", 1989.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> optimizer = make_optimizer([w], "lbfgs")
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = (w - 3) ** 2
        ...     loss.backward()
        ...     return loss
        >>> loss = optimizer.step(closure)
        >>> round(w.item(), 4)  # the minimum, in one step of several evaluations
        3.0
    """

"""The loss of a model that computes what is minimised itself."""

from __future__ import annotations

import torch

from ...errors import UsageError
from . import register_loss


@register_loss("output", source="the empirical risk: Vapnik, 1991, NIPS 4:831-838", task="none")
def output(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean of the outputs: the model itself is the function to be minimised.

        loss = mean over examples of  output

    Args:
        outputs: one number per example, shape (examples,).
        targets: not looked at.

    Raises:
        UsageError: there are several outputs per example.

    Source: the empirical risk, Vapnik, "Principles of risk minimization for learning theory", 1991.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.losses import make_loss
        >>> make_loss("output")(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0]))  # (1 + 2) / 2
        tensor(1.5000)
    """
    if outputs.dim() != 1:
        raise UsageError(f"expected one output per example, shape (examples,), got {tuple(outputs.shape)}")
    return outputs.mean()

"""The shapes of outputs and targets are matched exactly, never broadcast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    import torch


IGNORED = -100  # the class number that torch's losses leave out unless they are told another


def as_targets(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return `outputs` in the shape of `targets`; they may differ by one last dimension of size 1.

    A network's (n, 1) against (n,) targets would otherwise broadcast to (n, n), and train towards the mean.

    Raises:
        UsageError: the shapes differ in any other way.
    """
    if outputs.shape == targets.shape:
        return outputs
    if outputs.shape == (*targets.shape, 1) or (*outputs.shape, 1) == targets.shape:
        return outputs.reshape(targets.shape)
    raise UsageError(f"outputs of shape {tuple(outputs.shape)} do not match targets of shape {tuple(targets.shape)}")

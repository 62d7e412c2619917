"""The gate: nothing that is infinite or not a number gets past it to the weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from .errors import DivergedError, SessionError

Policy = Literal["raise", "stop", "skip"]


class Gate:
    """Checks the loss and every gradient before the update.

    With `skip`, the model's buffers are copied before each forward pass and put back when the batch is skipped,
    because torch's batch norm has by then mixed the bad batch into its running statistics.

    Args:
        model: whose gradients and buffers are guarded.
        policy: what a failed check leads to: `raise` a DivergedError, `stop` the session with the outcome
            `diverged`, or `skip` the batch.
        loss_above: treat a finite loss above this as diverged too; None for no bound.
        max_skips: skipped batches in a row after which `skip` becomes `raise`.

    Raises:
        SessionError: an unknown policy.
    """

    def __init__(self, model: nn.Module, policy: Policy, loss_above: float | None = None, max_skips: int = 10):
        if policy not in get_args(Policy):
            raise SessionError(f"no gate policy '{policy}': use {', '.join(get_args(Policy))}")
        self.policy: Policy = policy
        self.loss_above = loss_above
        self.max_skips = max_skips
        self._model = model
        self._buffers: list[Tensor] = []
        self._copies: list[Tensor] = []
        self._found: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def before_forward(self) -> None:
        """Keep what the forward pass may spoil."""
        if self.policy != "skip":
            return
        if not self._copies:
            self._buffers = list(self._model.buffers())
            self._copies = [buffer.clone() for buffer in self._buffers]
        elif self._buffers:
            torch._foreach_copy_(self._copies, self._buffers)

    def restore(self) -> None:
        """Undo what the forward pass of a skipped batch did to the buffers."""
        if self._buffers:
            with torch.no_grad():
                torch._foreach_copy_(self._buffers, self._copies)

    def passes(self, loss: Tensor, gradients: Sequence[Tensor]) -> bool:
        """Tell whether the loss and all gradients are finite, and the loss is within its bound.

        Args:
            loss: scalar.
            gradients: of the trainable parameters, any shapes and devices.
        """
        if self.loss_above is not None and not loss.item() <= self.loss_above:
            return False
        return all(self._finite(group) for group in _by_device([loss, *gradients]))

    def failure(self, loss: Tensor, batch: int, step: int) -> DivergedError:
        """Say what was not finite, and where."""
        names = [
            name
            for name, parameter in self._model.named_parameters()
            if parameter.grad is not None and not _all_finite(parameter.grad)
        ]
        value = loss.item()
        if not _all_finite(loss):
            what = f"loss is {value:g}"
        elif names:
            what = f"the gradient of {names[0]} is not finite"
        else:
            what = f"loss {value:g} is above stop.loss_above = {self.loss_above:g}"
        return DivergedError(
            f"diverged in batch {batch} after {step} steps: {what}; the weights are those of step {step}. "
            "A lower learning rate, a warm-up or train.clip_norm may help"
        )

    def _finite(self, tensors: list[Tensor]) -> bool:
        first = tensors[0]
        if any(tensor.layout != torch.strided or not tensor.is_floating_point() for tensor in tensors):
            return all(_all_finite(tensor) for tensor in tensors)
        if first.device not in self._found:
            self._found[first.device] = torch.zeros(1, device=first.device), torch.ones(1, device=first.device)
        found, one = self._found[first.device]
        # One pass over all tensors, the one that torch's own gradient scaler uses; times one changes no bit.
        torch._amp_foreach_non_finite_check_and_unscale_(tensors, found, one)
        if found.item() == 0.0:
            return True
        found.zero_()
        return False


def _by_device(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    return list(groups.values())


def _all_finite(tensor: Tensor) -> bool:
    values = tensor.coalesce().values() if tensor.layout == torch.sparse_coo else tensor
    return bool(torch.isfinite(values).all())

"""The gate: nothing that is infinite or not a number gets past it to the weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import get_args

import torch
from torch import Tensor, nn

from ...components.trained import Trained
from ...config.sections import Policy
from ...errors import DivergedError, SessionError

_LARGE = 1 << 16  # entries of a buffer that is worth a look before it is copied


class NotFinite(Exception):
    """The loss or a gradient of a batch is not finite; the train op catches it and does what the policy says.

    Args:
        by_hook: whether the gradients were good until hooks had seen them.
    """

    def __init__(self, by_hook: bool):
        super().__init__()
        self.by_hook = by_hook


class Gate:
    """Checks the loss and every gradient before the update.

    It answers at once, for which the host reads a flag from the device at every step; or late (`defer`), on a GPU,
    where reading would make the host wait. Then the flag stays on the device: a fused optimizer reads it there and
    leaves the weights alone from the first bad batch on, and the host asks when a hook is due (`num_good_steps`).

    The model's buffers are copied before each forward pass and put back when the batch is refused, because torch's
    batch norm has by then mixed the bad batch into its running statistics. Where the answer is late, they are not.

    Args:
        model: alone or with the loss, whose gradients and buffers are guarded.
        policy: what a failed check leads to: `raise` a DivergedError, `stop` the session with the outcome
            `diverged`, or `skip` the batch.
        loss_above: treat a finite loss above this as diverged too; None for no bound.
        max_skips: skipped batches in a row after which `skip` becomes `raise`.

    Raises:
        SessionError: an unknown policy.
    """

    def __init__(
        self, model: nn.Module | Trained, policy: Policy, loss_above: float | None = None, max_skips: int = 10
    ):
        if policy not in get_args(Policy):
            raise SessionError(f"no gate policy '{policy}': use {', '.join(get_args(Policy))}")
        self.policy: Policy = policy
        self.loss_above = loss_above
        self.max_skips = max_skips
        self._model = model
        self._homes: list[tuple[nn.Module, str]] | None = None  # of the model's buffers
        self._copies: list[Tensor] = []
        self._large: dict[int, tuple[Tensor, int]] = {}  # by index among the buffers
        self._found: dict[torch.device, tuple[Tensor, ...]] = {}
        self._uniform: int | None = None  # how many tensors one pass can check: dense, floating, of one kind
        self._good_steps: Tensor | None = None  # on the device, since the host last asked

    def defer(self, optimizer: torch.optim.Optimizer) -> bool:
        """Leave the answers on the device from now on, if policy and optimizer allow it; return whether they do."""
        fused = all(group.get("fused") for group in optimizer.param_groups)
        devices = {p.device for group in optimizer.param_groups for p in group["params"]}
        if self.policy == "skip" or self.loss_above is not None or not fused or len(devices) != 1:
            return False
        (device,) = devices
        self._good_steps = torch.zeros((), dtype=torch.float32, device=device)
        optimizer.found_inf = self._flags(device)[0]  # type: ignore[attr-defined] (torch's own scaler sets it too)
        return True

    def check_at_once(self, optimizer: torch.optim.Optimizer) -> None:
        """End what `defer` began; to be called when no answer is owed."""
        self._good_steps = None
        optimizer.found_inf = None  # type: ignore[attr-defined]

    @property
    def deferred(self) -> bool:
        """Return True if answers stay on the device until `num_good_steps` asks for them."""
        return self._good_steps is not None

    def forget(self) -> None:
        """Drop what the device still holds: the state has been put back to a good one."""
        if self._good_steps is not None:
            self._flags(self._good_steps.device)[0].zero_()
            self._good_steps.zero_()

    def num_good_steps(self) -> int | None:
        """Return how many steps passed before the first bad one since the host last asked; None if all passed."""
        if self._good_steps is None:
            return None
        found, _ = self._flags(self._good_steps.device)
        if found.item() == 0.0:
            self._good_steps.zero_()
            return None
        return int(self._good_steps.item())

    def before_forward(self) -> None:
        """Keep what the forward pass may spoil."""
        if self._good_steps is not None:  # the answer will be late
            return
        if self._homes is None:
            modules = self._model.modules()
            self._homes = [(m, name) for m in modules for name, buffer in m._buffers.items() if buffer is not None]
            self._copies = [buffer.clone() for buffer in self._buffers()]
            self._large = {i: (copy, -1) for i, copy in enumerate(self._copies) if copy.numel() > _LARGE}
            self._note_large(self._buffers())
        elif self._copies:
            copies, buffers = self._copies, self._buffers()
            if self._large:
                moved = [index for index, buffer in enumerate(buffers) if not self._is_unmoved(index, buffer)]
                self._note_large(buffers)
                copies, buffers = [copies[index] for index in moved], [buffers[index] for index in moved]
            if copies:
                torch._foreach_copy_(copies, buffers)

    def restore(self) -> None:
        """Undo what the forward pass of a refused batch did to the buffers."""
        if self._copies:
            with torch.no_grad():
                torch._foreach_copy_(self._buffers(), self._copies)
            self._note_large(self._buffers())

    def passes(self, loss: Tensor, gradients: Sequence[Tensor]) -> bool:
        """Return True if loss and gradients are finite, and the loss within its bound; a late answer is always True.

        Args:
            loss: scalar.
            gradients: of the trainable parameters, any shapes and devices.
        """
        if self._good_steps is not None:
            found, one = self._flags(self._good_steps.device)
            for group in _by_device([loss, *gradients]):
                torch._amp_foreach_non_finite_check_and_unscale_(group, found, one)
            self._good_steps += 1 - found  # the flag stays up, and the optimizer idle, until the host asks
            return True
        if self.loss_above is not None and not loss.item() <= self.loss_above:
            return False
        tensors = [loss, *gradients]
        if len(tensors) != self._uniform:
            groups = _by_device(tensors)
            if len(groups) > 1 or not all(_is_plain(tensor) for tensor in tensors):
                return all(self._finite(group) for group in groups)
            self._uniform = len(tensors)
        return self._finite_in_one_pass(tensors)

    def reason(self, loss: Tensor | None) -> str:
        """Return what was not finite, in words; without a loss, the gradients are gone too."""
        if loss is None:
            return "its loss or a gradient is not finite"
        if not _all_finite(loss):
            return f"loss is {loss.item():g}"
        if (name := self._first_bad_gradient()) is not None:
            return f"the gradient of {name} is not finite"
        return f"loss {loss.item():g} is above stop.loss_above = {self.loss_above:g}"

    def failure(self, reason: str, batch: int, step: int) -> DivergedError:
        """Return the error that says what was not finite, and where."""
        return DivergedError(
            f"diverged in batch {batch} after {step} steps: {reason}; the weights are those of step {step}. "
            "A lower learning rate, a warm-up or train.clip_norm may help"
        )

    def _first_bad_gradient(self) -> str | None:
        for name, parameter in self._model.named_parameters():
            if parameter.grad is not None and not _all_finite(parameter.grad):
                return name
        return None

    def _finite(self, tensors: list[Tensor]) -> bool:
        if not all(_is_plain(tensor) for tensor in tensors):
            return all(_all_finite(tensor) for tensor in tensors)
        return self._finite_in_one_pass(tensors)

    def _finite_in_one_pass(self, tensors: list[Tensor]) -> bool:
        found, one = self._flags(tensors[0].device)
        # One pass over all tensors, the one that torch's own gradient scaler uses; times one changes no bit.
        torch._amp_foreach_non_finite_check_and_unscale_(tensors, found, one)
        if found.item() == 0.0:
            return True
        found.zero_()
        return False

    def _buffers(self) -> list[Tensor]:
        """Return the buffers as they are now: a forward pass may have put new tensors in their places."""
        return [module._buffers[name] for module, name in self._homes or ()]  # type: ignore[misc]

    def _note_large(self, buffers: list[Tensor]) -> None:
        """Note what the copies of large buffers are of: masks and tables, mostly, that no forward pass writes to."""
        self._large = {index: (buffers[index], buffers[index]._version) for index in self._large}

    def _is_unmoved(self, index: int, buffer: Tensor) -> bool:
        """Return True if a large buffer is the tensor that was copied, and nobody has written to it since."""
        noted = self._large.get(index)
        return noted is not None and noted[0] is buffer and noted[1] == buffer._version

    def _flags(self, device: torch.device) -> tuple[Tensor, ...]:
        if device not in self._found:
            self._found[device] = tuple(torch.tensor(v, dtype=torch.float32, device=device) for v in (0.0, 1.0))
        return self._found[device]


def _by_device(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    return list(groups.values())


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and tensor.is_floating_point()


def _all_finite(tensor: Tensor) -> bool:
    values = tensor.coalesce().values() if tensor.layout == torch.sparse_coo else tensor
    return bool(torch.isfinite(values).all())

"""The norms of gradients, weights and updates, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import UsageError
from ..optimizers.shared.parameter_groups import all_parameters, selected
from . import register_hook
from .hook import Every, Hook
from .session_view import BoundSession, GateView, StepView


@register_hook("norms", source="LARS (You et al., 2017, arXiv:1708.03888), whose trust ratio is built from these norms")
class NormsHook(Hook):
    """Write the L2 norms of gradients, weights and updates as a metrics row, with the ratio of update to weight.

        update = w_after - w_before
        ratio = |update| / |w_before|

    `norm/grad`, `norm/weight`, `norm/update` and `norm/ratio` are those of all that the step trains together;
    `norm/grad/NAME` and so on those of one parameter. The gradient is that before hooks and clipping change it, the
    weight that before the update. What a step does not have, the gradient of an unused parameter or the ratio to
    weights of norm 0, is null. All numbers of a row come from the device in one transfer; steps that are not due
    cost nothing.

    Args:
        every: when, in steps or epochs.
        match: which parameters get norms of their own: globs over names, or the words bias, norm, conv, linear and
            embedding, as for parameter groups; an empty list leaves the totals.

    Raises:
        UsageError: the trigger counts seconds, or a glob matches nothing.
    """

    may_draw = False
    only_looks = True

    def __init__(
        self,
        every: Every = Every(steps=100),  # noqa: B008 (frozen)
        match: Sequence[str] = ("*",),
    ):
        if every.secs is not None:
            raise UsageError("NormsHook takes a trigger in steps or epochs: metric rows belong to steps")
        self.trigger = every
        self.match = tuple(match)
        self._before: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._gate: GateView | None = None  # that is to leave its answers on the device again after the step

    def after_create_session(self, session: BoundSession) -> None:
        self._named = all_parameters(session.train_op.trained)
        positions = selected(self.match, self._named, "norms")
        self._chosen = {str(self._named[position].name) for position in positions}

    def before_run(self, ctx: StepView) -> None:
        self._parameters = {str(each.name): each.parameter for each in self._named if each.parameter.requires_grad}
        self._shown = [name for name in self._parameters if name in self._chosen]
        gate = ctx.train_op.gate
        self._gate = gate if gate is not None and gate.deferred else None

    def after_gradients(self, ctx: StepView) -> None:
        parameters = [parameter.detach() for parameter in self._parameters.values()]
        gradients = [parameter.grad for parameter in self._parameters.values()]
        self._has_gradient = [gradient is not None for gradient in gradients]
        self._norms = _norms([gradient for gradient in gradients if gradient is not None]) + _norms(parameters)
        self._before = [parameter.clone() for parameter in parameters]

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        if self._gate is not None:
            # Looking at the gradients has made it answer at once; nobody looks at them until the next row.
            self._gate.defer(ctx.train_op.optimizer)
        after = [parameter.detach() for parameter in self._parameters.values()]
        updates = [now - before for now, before in zip(after, self._before, strict=True)]
        norms = self._norms + _norms(updates)
        numbers = iter(torch.stack([norm.double().to(after[0].device) for norm in norms]).tolist())
        self._before, self._norms = [], []
        gradients = [next(numbers) if has else None for has in self._has_gradient]
        weights = [next(numbers) for _ in after]
        ctx.session.write_row(**self._row(gradients, weights, list(numbers)))

    def _row(self, gradients: list[float | None], weights: list[float], updates: list[float]) -> dict[str, Any]:
        of = dict(zip(self._parameters, zip(gradients, weights, updates, strict=True), strict=True))
        totals = math.hypot(*(g for g in gradients if g is not None)), math.hypot(*weights), math.hypot(*updates)
        row: dict[str, float | None] = {}
        for suffix, (gradient, weight, update) in [("", totals), *((f"/{name}", of[name]) for name in self._shown)]:
            row[f"norm/grad{suffix}"] = gradient
            row[f"norm/weight{suffix}"] = weight
            row[f"norm/update{suffix}"] = update
            row[f"norm/ratio{suffix}"] = update / weight if weight else None
        return row


def wide(tensor: Tensor) -> Tensor:
    """Return what the L2 norm of a tensor is worked out from: its entries, dense, of 32 bits at least."""
    dense = tensor.coalesce().values() if tensor.layout == torch.sparse_coo else tensor
    return dense.to(torch.promote_types(dense.dtype, torch.float32))


def _norms(tensors: list[Tensor]) -> list[Tensor]:
    """Return the L2 norm of each tensor, on its device; half precision is summed in float32."""
    return list(torch._foreach_norm([wide(tensor) for tensor in tensors])) if tensors else []

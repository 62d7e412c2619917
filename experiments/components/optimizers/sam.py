"""SAM: another optimizer's step, with the gradient of the worst point nearby."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from ...errors import UsageError
from ...registry import Component
from ...registry.argument_checks import check_arguments
from ...registry.arguments import Nested, NonNegative, Positive
from ..averaging import Averaging
from . import register_optimizer, registry
from .shared.foreach import as_real, gradients_of
from .shared.parameter_groups import WeightDecay, decay_rate, takes_complex

Inner = Annotated[Any, Nested("optimizer")]


class Sam(torch.optim.Optimizer):
    """The rule of `sam`, around an optimizer whose groups and state are its own.

    Args:
        inner: takes the step.
        rho: how far away the worst point is looked for.
        adaptive: whether the distance is measured relative to each weight's size.
    """

    undoes_itself = True

    def __init__(self, inner: torch.optim.Optimizer, rho: float, adaptive: bool):
        for group in inner.param_groups:
            group.setdefault("rho", rho)
            group.setdefault("adaptive", adaptive)
        super().__init__(inner.param_groups, {**inner.defaults, "rho": rho, "adaptive": adaptive})
        self.inner = inner
        self.state, inner.param_groups = inner.state, self.param_groups

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.inner.param_groups, self.inner.state = self.param_groups, self.state

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override] (torch's is optional)
        """Evaluate the batch at the weights, and at the worst point nearby; step from the weights.

        Args:
            closure: evaluates the batch, leaves the gradients in the parameters, and returns the loss.
        """
        loss = closure()
        weights = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        with torch.no_grad():
            kept = [weight.detach().clone() for weight in weights]
            for group, shifts in self._shifts():
                torch._foreach_add_(as_real([p for p in group["params"] if p.grad is not None]), shifts)
        try:
            closure()
        finally:
            with torch.no_grad():
                torch._foreach_copy_(weights, kept)
        self.inner.step()
        return loss

    def _shifts(self) -> list[tuple[dict[str, Any], list[Tensor]]]:
        """Return the shift to the worst point, by group; its length, rho, is that of all groups together."""
        found, norms = [], []
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            if not trained:
                continue
            gradients = gradients_of(trained)
            if any(gradient.layout != torch.strided for gradient in gradients):
                raise UsageError("sam needs dense gradients: build embeddings with sparse=False")
            weights, gradients = as_real(trained), as_real(gradients)
            if group["adaptive"]:
                sizes = torch._foreach_abs(weights)
                gradients = torch._foreach_mul(gradients, sizes)
                norms += torch._foreach_norm(gradients)
                gradients = torch._foreach_mul(gradients, sizes)
            else:
                norms += torch._foreach_norm(gradients)
            found.append((group, gradients))
        device = norms[0].device
        norm = torch.stack([each.to(device) for each in norms]).norm() + 1e-12
        return [
            (group, list(torch._foreach_mul(gradients, [(group["rho"] / norm).to(g.device) for g in gradients])))
            for group, gradients in found
        ]


@register_optimizer(
    "sam",
    source="Foret et al., 2021, arXiv:2010.01412",
    centre_lr=0.3,
    centre_source="best on digits, of a grid by factors of √10: 0.3 to 1 with a resnet (170 steps)",
    complex=lambda args: takes_complex(*_inner(args.get("inner", "mom"))),
)
def sam(
    params: Iterable[Any],
    *,
    lr: Positive = 0.1,
    rho: NonNegative = 0.05,
    adaptive: bool = False,
    inner: Inner = "mom",
    weight_decay: WeightDecay | None = None,
) -> torch.optim.Optimizer:
    """Sharpness-aware minimization: a step by the gradient of the worst point near the weights.

        e = rho * gradient(w) / |gradient(w)|           |…|: the L2 norm over all parameters
        g = gradient(w + e)
        w = w - inner step of g                         adaptive: e = rho * w² * gradient / | |w| * gradient |

    A step evaluates the batch twice, and both are counted. Statistics of the batch, as in batch norm, are those of
    the first, and dropout drops the same units in both. A clipped gradient is clipped in both.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the inner optimizer's rate.
        rho: how far from the weights the worst point is looked for.
        adaptive: whether distance is measured relative to each weight's size (ASAM; Kwon et al., 2021), for which rho
            is about ten times as large.
        inner: the optimizer that takes the step, by name or with arguments: `{name: mom, momentum: 0.95}`; its `lr`
            is the one given here.
        weight_decay: takes the place of the inner optimizer's own; null leaves that.

    Raises:
        UsageError: the inner optimizer is given a rate of its own, or is none that can take a single step.

    Source: Foret et al., "Sharpness-aware minimization for efficiently improving generalization", 2021.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> optimizer = make_optimizer([w], "sam", lr=0.1, rho=0.05, inner="sgd")
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = w**2
        ...     loss.backward()
        ...     return loss
        >>> loss = optimizer.step(closure)
        >>> round(w.item(), 4)  # 1 - 0.1 * 2 * (1 + 0.05): the slope at 1.05
        0.79
    """
    component, args = _inner(inner)
    if "lr" in args:
        raise UsageError(f"sam: the rate of the inner optimizer is sam's own `lr`; take {args['lr']!r} out of `inner`")
    if weight_decay is not None:
        args["weight_decay"] = decay_rate(weight_decay)
    check_arguments(component, {**args, "lr": lr})
    made = component.make(params, lr=lr, **args)
    if isinstance(made, Averaging):
        raise UsageError(f"sam: '{component.name}' cannot be the inner optimizer: its result is an average")
    closure = inspect.signature(made.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise UsageError(f"sam: '{component.name}' cannot be the inner optimizer: it evaluates batches itself")
    return Sam(made, rho, adaptive)


def _inner(inner: Any) -> tuple[Component, dict[str, Any]]:
    """Return the inner optimizer and its arguments, from a configuration, a mapping or a name."""
    if hasattr(inner, "component"):
        return inner.component, dict(inner.args)
    if isinstance(inner, Mapping):
        args = {name: value for name, value in inner.items() if name not in ("name", "flavor")}
        return registry.get(inner["name"]).of_flavor(inner.get("flavor")), args
    return registry.get(inner), {}

"""An optimizer tried out: the state that it keeps, and how far apart the flavors of a name end."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..components.optimizers import make_optimizer
from ..errors import OptrunError, UsageError
from ..registry import Component
from ..registry.argument_checks import check_arguments

_START = [1.0, -2.0, 0.5]
_GRADIENTS = [[0.5, -1, 0], [0.1, 0.2, -3], [-0.7, 0, 1e-4], [0.3, 0.3, 0.3], [2, -0.01, 0.5]]
_RATE = 0.1


class _Noting(dict[str, Any]):
    """The state of one parameter, with a copy of every value as it was first."""

    def __init__(self, values: Mapping[str, Any] | None = None):
        super().__init__()
        self.first: dict[str, Any] = {}
        self.update(values or {})

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in self.first:
            self.first[key] = value.detach().clone() if isinstance(value, Tensor) else value
        super().__setitem__(key, value)

    def update(self, *values: Any, **more: Any) -> None:  # dict's own would go past __setitem__
        for key, value in dict(*values, **more).items():
            self[key] = value


def kept_state(component: Component) -> list[dict[str, str]]:
    """Return the state that an optimizer keeps for each parameter: name, shape and start, in words.

    Read from a real one after a step over a small network. The shape is `like the weights`, `scalar`, or the sizes; the
    start is a number, `the weights`, `the first gradient`, or nothing where it is none of these.

    Raises:
        UsageError: it takes no step over such a network.
    """
    with torch.random.fork_rng(devices=[]), _unheard():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3), nn.Linear(3, 2))
        gradients: dict[Tensor, Tensor] = {parameter: torch.randn_like(parameter) for parameter in net.parameters()}
        weights: dict[Tensor, Tensor] = {parameter: parameter.detach().clone() for parameter in net.parameters()}
        try:
            optimizer = make_optimizer(net, component)
            _note(optimizer)
            _step(optimizer, gradients)
        except (RuntimeError, TypeError, ValueError, OptrunError) as error:
            raise UsageError(f"optimizer '{component.name}' takes no step over a plain network: {error}") from error
    found: dict[str, dict[str, str]] = {}
    for parameter, state in optimizer.state.items():
        if isinstance(state, _Noting):
            for name, value in state.first.items():
                start = _start_text(value, weights.get(parameter), gradients.get(parameter))
                known = found.setdefault(name, {"name": name, "shape": _shape_text(value, parameter), "start": start})
                known["start"] = known["start"] if known["start"] == start else ""
    return list(found.values())


def _note(optimizer: torch.optim.Optimizer) -> None:
    """Let the state note first values; in place, since an optimizer around another shares its state."""
    for parameter, state in optimizer.state.items():
        optimizer.state[parameter] = _Noting(state)
    if isinstance(optimizer.state, defaultdict):
        optimizer.state.default_factory = _Noting


def flavor_differences(component: Component) -> dict[str, Any]:
    """Measure how far apart the flavors of a name are after five steps, by equal gradients and at an equal rate.

    Returns:
        `steps`, `lr`, `reference` (the flavor that the others are measured against), `own_defaults` (the largest
        difference of a weight by flavor, each with its own defaults), `equal_arguments` (the same with the arguments
        that all have made equal: what is left is the rule's own), and `equal` (these arguments).
    """
    variants = component.variants
    reference = next(iter(variants))
    equal = _common_arguments(variants)
    ends = {
        title: {flavor: _end(variant, args) for flavor, variant in variants.items()}
        for title, args in (("own_defaults", {}), ("equal_arguments", equal))
    }
    apart = {
        title: {flavor: float((end - of[reference]).abs().max()) for flavor, end in of.items() if flavor != reference}
        for title, of in ends.items()
    }
    return {"steps": len(_GRADIENTS), "lr": _RATE, "reference": reference, **apart, "equal": equal}


def _common_arguments(variants: Mapping[str, Component]) -> dict[str, Any]:
    """Return the arguments that all flavors have, each with the first default that all of them accept."""
    defaults = [{each.name: each.default for each in variant.signature.arguments} for variant in variants.values()]
    shared = [name for name in defaults[0] if name not in ("lr", "flavor") and all(name in known for known in defaults)]
    common = {}
    for name in shared:
        for value in [known[name] for known in defaults]:
            if name not in common and all(_accepts(variant, name, value) for variant in variants.values()):
                common[name] = value
    return common


def _accepts(component: Component, name: str, value: Any) -> bool:
    try:
        check_arguments(component, {name: value})
    except UsageError:
        return False
    return True


def _end(component: Component, args: Mapping[str, Any]) -> Tensor:
    weights = torch.tensor(_START, dtype=torch.float64, requires_grad=True)
    with _unheard():
        optimizer = make_optimizer([weights], component, **{**args, "lr": _RATE})
        for gradient in _GRADIENTS:
            _step(optimizer, {weights: torch.tensor(gradient, dtype=torch.float64)})
    return weights.detach()


def _step(optimizer: torch.optim.Optimizer, gradients: Mapping[Tensor, Tensor]) -> None:
    def closure() -> Any:
        for parameter, gradient in gradients.items():
            parameter.grad = gradient.clone()
        return sum((parameter.detach() * gradient).sum() for parameter, gradient in gradients.items())

    closure()
    optimizer.step(closure)


def _shape_text(value: Any, parameter: Tensor) -> str:
    if not isinstance(value, Tensor):
        return "scalar" if isinstance(value, int | float) else type(value).__name__
    if value.shape == parameter.shape:
        return "like the weights"
    return "scalar" if value.dim() == 0 else f"{list(value.shape)} for weights of {list(parameter.shape)}"


def _start_text(value: Any, weights: Tensor | None, gradient: Tensor | None) -> str:
    if isinstance(value, int | float):
        return f"{value:.6g}"
    if not isinstance(value, Tensor) or value.numel() == 0:
        return ""
    if (value == value.flatten()[0]).all():
        return f"{value.flatten()[0].item():.6g}"
    for same, text in ((weights, "the weights"), (gradient, "the first gradient")):
        if same is not None and same.shape == value.shape and same.equal(value):
            return text
    return ""


@contextmanager
def _unheard() -> Iterator[None]:
    """Keep what optimizers warn of while they train to themselves: nothing is trained here."""
    log = logging.getLogger("optrun")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before

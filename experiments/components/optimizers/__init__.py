"""Optimizers by name: one file each, a class or function `(params, *, lr, …) -> torch.optim.Optimizer`.

A rule that is written here is a class, whose constructor says what it takes; one of torch's is a function that
`shared.torch_rules.builds` lets torch's class stand for.

Each is registered with its source and two facts: `centre_lr`, the rate that a tuning grid is centred on, and
`centre_source`, where that rate comes from. An optimizer registered with a `flavor` is another rule under a name that
torch's has: `{name: rmsprop, flavor: tf1}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from ...registry import Component, Registry
from ...registry.argument_checks import check_arguments, component_of

if TYPE_CHECKING:
    import torch

    from ..trained import Trained

registry = Registry("optimizer", __name__, given=1, flavor="torch", base="torch.optim:Optimizer")
register_optimizer = registry.register


def make_optimizer(
    params: torch.nn.Module | Trained | Iterable[Any],
    name: str | Component,
    *,
    groups: Sequence[Mapping[str, Any]] = (),
    base: Path = Path(),
    **args: Any,
) -> torch.optim.Optimizer:
    """Build the optimizer called `name` over the trainable parameters.

    Every param group gets two more entries: `initial_lr`, its rate as configured, and `lr_scale`, that rate as a
    multiple of the optimizer's own, so that a schedule can drive all groups with one number.

    Args:
        params: a module, its `named_parameters()`, or its `parameters()` (which know no names, so that neither
            groups nor selective weight decay can be had). A loss with parameters of its own goes with the model:
            `[*model.named_parameters(), *loss.named_parameters(prefix="loss")]`.
        name: a registered optimizer, `pkg.mod:Class`, `./file.py:Class`, or a Component.
        groups: `{match: "*.bias", lr: 0.01}`: hyperparameters for the parameters that `match` selects (see
            `parameter_groups.selected`); the first group that matches a parameter takes it.
        base: the folder that `./file.py` is relative to.
        args: the optimizer's hyperparameters. `weight_decay` is a number, or `{rate, include, exclude}` to decay
            only some of the parameters; `flavor` picks one of several rules that share the name.

    Raises:
        UsageError: an unknown or impossible argument, no trainable parameter, or a selector that selects nothing.
    """
    from .shared.parameter_groups import build_optimizer

    component = component_of(registry, name, base).of_flavor(args.pop("flavor", None))
    check_arguments(component, args, also=("groups",))
    for group in groups:
        if "match" not in group:
            raise UsageError(f"optimizer '{component.name}': a group needs `match`, got {dict(group)!r}")
        if "flavor" in group:
            raise UsageError(f"optimizer '{component.name}': a group cannot have another flavor, got {dict(group)!r}")
        check_arguments(component, {**args, **{key: value for key, value in group.items() if key != "match"}})
    return build_optimizer(component, params, args, groups)

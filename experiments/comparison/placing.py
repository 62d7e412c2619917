"""An optimizer on a base: the base's problem and everything else of it, and the rate that belongs to the optimizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..config import Config, ConfigError, OptimizerConfig

LEARNING_RATE = "optimizer.lr"
Load = Callable[[Sequence[str]], Config]  # from overrides to a configuration


def at_its_centre(load: Load, base: OptimizerConfig | None, overrides: Sequence[str]) -> Config:
    """Return a configuration whose optimizer, unless it is the base's own, runs at its registered centre.

    A rate that is given counts. What else the base says of rates keeps its ratio: the absolute rates of a schedule, of
    which the largest becomes the centre, and the rates of parameter groups. The base's own optimizer keeps all of it.

    Args:
        load: makes the configuration, the optimizer in it.
        base: the optimizer that the base has, if it has one.
        overrides: of the user.

    Raises:
        ConfigError: the optimizer does not fit to what the base says.
    """
    config = load(overrides)
    optimizer = config.optimizer
    if base is not None and optimizer.name == base.name:
        return config
    centre = optimizer.component.facts.get("centre_lr")
    rates: dict[str, object] = {}
    absolute = config.schedule.args.get("values") if "values" in config.schedule.given else None
    if centre is not None and absolute:
        rates["schedule.values"] = [rate * centre / max(absolute) for rate in absolute]
    elif centre is not None and "lr" not in optimizer.given and "lr" in optimizer.component.signature.names():
        rates[LEARNING_RATE] = centre
    if base is not None and base.groups == optimizer.groups:
        before, after = base.args.get("lr"), rates.get(LEARNING_RATE, optimizer.args.get("lr"))
        for index, group in enumerate(optimizer.groups):
            if "lr" in group.args and before and isinstance(after, int | float):
                rates[f"optimizer.groups.{index}.lr"] = group.args["lr"] * after / before
    return load([*(f"{key}={json.dumps(value)}" for key, value in rates.items()), *overrides]) if rates else config


def set_rate(plain: dict[str, Any], rate: float) -> None:
    """Give a configuration, as plain data, another learning rate; all other rates in it keep their ratio to it.

    These are the rates of parameter groups; or the absolute ones of a schedule, of which the largest becomes the rate.
    """
    if values := plain["schedule"].get("values"):
        plain["schedule"]["values"] = [each * rate / max(values) for each in values]
        return
    optimizer = plain["optimizer"]
    before = optimizer.get("lr")
    for group in optimizer.get("groups") or []:
        if before and "lr" in group:
            group["lr"] = group["lr"] * rate / before
    optimizer["lr"] = rate


def with_rates_of(config: Config, own: Config) -> Config:
    """Return a configuration in which the rates of groups have the ratio to the optimizer's that another gives them.

    Args:
        config: differs from the other one in the optimizer's rate alone.
        own: as the user wrote it.
    """
    before, now = (each.optimizer.args.get("lr") for each in (own, config))
    if not before or now is None:
        return config
    groups = tuple(
        replace(group, args={**group.args, "lr": group.args["lr"] * now / before}) if "lr" in group.args else group
        for group in own.optimizer.groups
    )
    return replace(config, optimizer=replace(config.optimizer, groups=groups))


def own_optimizer(load: Load, overrides: Sequence[str] = ()) -> OptimizerConfig | None:
    """Return the optimizer that a base has; None for one without, such as the preset `digits`."""
    try:
        return load(overrides).optimizer
    except ConfigError as error:
        if [problem.key for problem in error.problems] == ["optimizer"]:
            return None
        raise

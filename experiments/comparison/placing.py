"""An optimizer on a base: the base's problem and everything else of it, and the rate that belongs to the optimizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..config import Config, ConfigError, OptimizerConfig

LEARNING_RATE = "optimizer.lr"
Load = Callable[[Sequence[str]], Config]  # from overrides to a configuration


def at_its_centre(
    load: Load, base: OptimizerConfig | None, overrides: Sequence[str], *, schedules_itself: bool = False
) -> Config:
    """Return a configuration whose optimizer, unless it is the base's own, runs at its registered centre.

    A rate that is given counts. What else the base says of rates keeps its ratio: the absolute rates of a schedule, of
    which the largest becomes the centre, and the rates of parameter groups. The base's own optimizer keeps all of it.

    Args:
        load: makes the configuration, the optimizer in it.
        base: the optimizer that the base has, if it has one.
        overrides: of the user.
        schedules_itself: whether a schedule is given beside the optimizer: its rates are the optimizer's own.

    Raises:
        ConfigError: the optimizer does not fit to what the base says, or has no centre that the base's absolute rates,
            which are another optimizer's, could be scaled to.
    """
    config = load(overrides)
    optimizer = config.optimizer
    if base is not None and optimizer.name == base.name:
        return config
    centre = optimizer.component.facts.get("centre_lr")
    rates: dict[str, object] = {}
    absolute = absolute_rates(config)
    given = [override.partition("=")[0] for override in overrides]
    if absolute and (schedules_itself or any(key == "schedule" or key.endswith(".values") for key in given)):
        return config
    if absolute and centre is None:
        raise _no_centre(config, next(iter(absolute)), base)
    if centre is not None and absolute:
        largest = largest_rate(absolute)
        rates |= {key: [rate * centre / largest for rate in values] for key, values in absolute.items()}
    elif centre is not None and "lr" not in optimizer.given and "lr" in optimizer.component.signature.names():
        rates[LEARNING_RATE] = centre
    if base is not None and base.groups == optimizer.groups:
        before, after = base.args.get("lr"), rates.get(LEARNING_RATE, optimizer.args.get("lr"))
        for index, group in enumerate(optimizer.groups):
            if "lr" in group.args and before and isinstance(after, int | float):
                rates[f"optimizer.groups.{index}.lr"] = group.args["lr"] * after / before
    return load([*(f"{key}={json.dumps(value)}" for key, value in rates.items()), *overrides]) if rates else config


def absolute_rates(config: Config) -> dict[str, Sequence[float]]:
    """Return the learning rates that the schedule gives itself, by their key."""
    parts = config.schedule.nested()
    return {f"{part.path}.values": part.args["values"] for part in parts if "values" in part.given}


def largest_rate(absolute: Mapping[str, Sequence[float]]) -> float:
    """Return the largest of the rates that `absolute_rates` found."""
    return max(rate for values in absolute.values() for rate in values)


def _no_centre(config: Config, key: str, base: OptimizerConfig | None) -> ConfigError:
    name = config.optimizer.label
    whose = f"those of {base.name}" if base is not None else "not its own"
    return config.problem(
        key,
        f"these are learning rates, and {whose}: optimizer {name} registers no rate (centre_lr) to scale them to",
        f"give `factors` in place of `values`, and optimizer.lr; or other values for this one: {key}=[…]",
        "conflict",
    )


def set_rate(plain: dict[str, Any], rate: float) -> None:
    """Give a configuration, as plain data, another learning rate; all other rates in it keep their ratio to it.

    These are the rates of parameter groups; or the absolute ones of a schedule, of which the largest becomes the rate.
    """
    if absolute := list(_with_values(plain["schedule"])):
        largest = max(each for part in absolute for each in part["values"])
        for part in absolute:
            part["values"] = [each * rate / largest for each in part["values"]]
        return
    optimizer = plain["optimizer"]
    before = optimizer.get("lr")
    for group in optimizer.get("groups") or []:
        if before and "lr" in group:
            group["lr"] = group["lr"] * rate / before
    optimizer["lr"] = rate


def _with_values(plain: Any) -> Iterator[dict[str, Any]]:
    """Yield the schedules with absolute rates in a schedule, as plain data."""
    if isinstance(plain, dict):
        if plain.get("values"):
            yield plain
        plain = list(plain.values())
    for part in plain if isinstance(plain, list) else ():
        yield from _with_values(part)


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

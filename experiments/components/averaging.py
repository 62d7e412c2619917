"""Averages of the weights, which evaluation borrows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class Averaging:
    """Mixed into an optimizer whose result is an average of the weights that it trains, or an update that keeps one.

    Evaluation borrows the average (`swapped`); checkpoints and the next step see the training weights alone.
    """

    #: What an optimizer calls its averages, and other weights that follow from its state; `average` is that of all.
    average_names: tuple[str, ...] = ("average",)

    def averages(self) -> list[tuple[Tensor, Tensor]]:
        """Return each parameter that has an average, with it."""
        raise NotImplementedError

    def named_average(self, name: str) -> list[tuple[Tensor, Tensor]]:
        """Return each parameter that has an average of this name, with it; one of `average_names`."""
        return self.averages()

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Give the model the averages for the length of a `with` block, and put its weights back after."""
        with torch.no_grad():
            pairs = [(parameter, parameter.detach().clone(), average) for parameter, average in self.averages()]
            for parameter, _, average in pairs:
                parameter.copy_(average)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, own, _ in pairs:
                    parameter.copy_(own)


class ChosenAverage(Averaging):
    """One of several averages of a run, by name.

    Args:
        pairs: returns each parameter that has it, with it.
    """

    def __init__(self, pairs: Callable[[], list[tuple[Tensor, Tensor]]]):
        self._pairs = pairs

    def averages(self) -> list[tuple[Tensor, Tensor]]:
        return self._pairs()


def averages_of(optimizer: object, updates: Sequence[object]) -> dict[str, Averaging | None]:
    """Return the weights that a run can be evaluated with, by name; None borrows nothing.

    `raw` is what the optimizer recommends: its own average, where it keeps one; `training` are the weights that are
    trained. An update that averages has the name of its class: `ema`.
    """
    found: dict[str, Averaging | None] = {"raw": optimizer if isinstance(optimizer, Averaging) else None}
    found["training"] = None
    for update in updates:
        if isinstance(update, Averaging):
            found.setdefault(type(update).__name__.lower(), update)
    if isinstance(optimizer, Averaging):
        for name in optimizer.average_names:
            found[name] = ChosenAverage(lambda name=name: optimizer.named_average(name))
    return found


def average_behind(y: Tensor, z: Tensor, mix: float) -> Tensor:
    """Return the average x of a schedule-free rule, whose training weights are y = (1 - mix) z + mix x."""
    return torch.lerp(y, z, 1 - 1 / mix)


def saved_averages(
    weights: Mapping[str, Tensor], optimizer: Mapping[str, Any], updates: Sequence[Any]
) -> dict[str, Any]:
    """Return the averages in the state of a run, by name and parameter, as `averages_of` names them.

    Args:
        weights: the training weights, by name.
        optimizer: the section of the optimizer in a checkpoint.
        updates: that of the updates; one that averages keeps `shadows`.
    """
    found: dict[str, Any] = {"raw": {}, "training": {}}
    for update in updates:
        if isinstance(shadows := update["state"].get("shadows"), Mapping):
            found.setdefault(update["kind"].lower(), shadows)
    states: Mapping[str, Mapping[str, Any]] = optimizer.get("state", {})
    if kept := {name: state["ax"] for name, state in states.items() if "ax" in state}:
        found["average"] = found["ax"] = kept
    mixes = {group.get("momentum", (group.get("betas") or [None])[0]) for group in optimizer.get("now", ())}
    if optimizer["kind"].startswith("ScheduleFree") and len(mixes) == 1:  # of several, nobody knows whose is which
        (mix,) = mixes
        found["y"], found["z"] = {}, {name: state["z"] for name, state in states.items() if "z" in state}
        found["average"] = found["x"] = {name: average_behind(weights[name], z, mix) for name, z in found["z"].items()}
    return found

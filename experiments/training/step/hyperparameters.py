"""An optimizer's hyperparameters as hooks feed and fetch them, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from ...errors import SessionError
from ...registry.calls import Call, described, note_call

_OURS = ("params", "initial_lr", "lr_scale")  # entries of a group that nobody sets


class Hyperparameters:
    """The hyperparameters in an optimizer's parameter groups; `betas.0` is the first of several numbers.

    Each group's rate is noted as a multiple of the optimizer's (`lr_scale`), so that one fed rate drives all groups.

    Args:
        optimizer: whose groups they are in.
    """

    def __init__(self, optimizer: torch.optim.Optimizer):
        self._optimizer = optimizer
        # The groups' own values of what is being fed, with the groups, which hooks may add and remove.
        self._fed: dict[str, list[tuple[dict[str, Any], Any]]] = {}
        self._base = optimizer.defaults.get("lr")
        self._note_scales()

    def _note_scales(self) -> None:
        base = self._base
        for group in self._optimizer.param_groups:
            if "lr_scale" not in group and base and isinstance(base, float | int) and "lr" in group:
                group["lr_scale"] = group["lr"] / base

    def feed(self, feed: Mapping[str, Any]) -> None:
        """Set what is fed for this step, and give back what no longer is.

        Args:
            feed: values by name, or functions of a group's own value; `batch` is none of ours.

        Raises:
            KeyError: a group has nothing of that name.
            SessionError: a value is no finite number where the group's own is one.
        """
        groups = self._optimizer.param_groups
        if len(feed) == 1 and type(lr := feed.get("lr")) is float and math.isfinite(lr) and self._feeds_lr(groups):
            for group in groups:  # at nearly every step of nearly every run
                group["lr"] = lr * group.get("lr_scale", 1.0)
            return
        for name in [name for name in self._fed if name not in feed]:
            for group, value in self._fed.pop(name):
                _set_entry(group, name, value)
        self._note_scales()
        for name, value in feed.items():
            if name != "batch":
                try:
                    self._feed_one(name, value, groups)
                except Exception as error:
                    note_call(error, Call("hooks", f"what hooks feed for {name}", fed=name))
                    raise

    def _feeds_lr(self, groups: list[dict[str, Any]]) -> bool:
        """Return True if the rate is all that is being fed, to these groups."""
        fed = self._fed.get("lr")
        if fed is None or len(self._fed) != 1 or len(fed) != len(groups):
            return False
        return all(group is known for group, (known, _) in zip(groups, fed, strict=True))

    def _feed_one(self, name: str, value: Any, groups: list[dict[str, Any]]) -> None:
        own = self.own(name)
        self._fed[name] = list(zip(groups, own, strict=True))
        if callable(value):
            for group, before in self._fed[name]:
                _set_entry(group, name, _checked(name, value(before), before))
            return
        value = _checked(name, value, own[0])
        for group in groups:
            # `lr` is that of the optimizer; a group with its own rate keeps its ratio to it.
            _set_entry(group, name, value * group.get("lr_scale", 1.0) if name == "lr" else value)

    def own(self, name: str) -> list[Any]:
        """Return each group's own value, whatever is being fed.

        Raises:
            KeyError: a group has nothing of that name.
        """
        fed = {id(group): value for group, value in self._fed.get(name, ())}
        groups = self._optimizer.param_groups
        return [fed[id(group)] if id(group) in fed else _entry(group, name) for group in groups]

    def __contains__(self, name: str) -> bool:
        try:
            _entry(self._optimizer.param_groups[0], name)
        except KeyError:
            return False
        return not name.startswith("params")

    def __getitem__(self, name: str) -> Any:
        """Return the value that the first group has now, a rate as that of the optimizer.

        Raises:
            KeyError: it has nothing of that name.
        """
        group = self._optimizer.param_groups[0]
        return group[name] / group.get("lr_scale", 1.0) if name == "lr" else _entry(group, name)

    def names(self) -> list[str]:
        """Return what can be fed and fetched."""
        return [name for name in self._optimizer.param_groups[0] if name not in _OURS]


def _entry(group: Mapping[str, Any], name: str) -> Any:
    """Return a group's hyperparameter, or with a number after a point one of several."""
    if name in group or "." not in name:
        return group[name]
    whole, _, place = name.rpartition(".")
    try:
        return group[whole][int(place)]
    except (LookupError, TypeError, ValueError):
        raise KeyError(name) from None


def _checked(name: str, value: Any, own: Any) -> Any:
    """Return a value that is fed, unless it would spoil the weights.

    Raises:
        SessionError: it is no finite number where the group's own value is a number; a tensor is not looked into.
    """
    if type(value) is float and math.isfinite(value):
        return value
    is_number = isinstance(own, int | float) and not isinstance(own, bool)
    if not is_number or isinstance(value, Tensor) or (isinstance(value, Real) and math.isfinite(value)):
        return value
    raise SessionError(f"what is fed for {name} is {described(value)}: expected a finite number")


def _set_entry(group: dict[str, Any], name: str, value: Any) -> None:
    if name not in group:
        name, _, place = name.rpartition(".")
        values = list(group[name])
        values[int(place)] = value
        value = type(group[name])(values)
    group[name] = value

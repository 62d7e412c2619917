"""An optimizer's state by parameter name, so that a checkpoint survives a change in the order of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...components.trained import Trained
from ...errors import CheckpointError
from .parameter_groups import ParameterGroups


class OptimizerState:
    """Saves and restores what an optimizer remembers, and the parameter groups that hooks have changed.

    The configuration decides the groups and their hyperparameters: a restored optimizer keeps those that it was built
    with, except for what has changed since: groups that a hook has added, removed or given other parameters, and values
    in groups (some optimizers keep counters there). An optimizer with a `state_dict` of its own is saved by that.

    Args:
        optimizer: freshly built.
        model: alone or with the loss, whose parameters it holds; parameters from elsewhere are numbered.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, model: nn.Module | Trained):
        self._optimizer, self._model = optimizer, model
        self._groups = ParameterGroups(optimizer, model)
        self._has_own = type(optimizer).state_dict is not torch.optim.Optimizer.state_dict
        self._built = self._hyperparameters()

    def state_dict(self) -> dict[str, Any]:
        """Return the state by parameter name, and each group's hyperparameters as built and as they are now."""
        kind = type(self._optimizer).__name__
        changes = self._groups.changes()
        groups = {} if changes is None else {"groups": changes}
        if self._has_own:
            return {"kind": kind, "own": self._optimizer.state_dict(), **groups}
        state = self._optimizer.state
        return {
            "kind": kind,
            "state": {name: dict(state[p]) for name, p in self._groups.parameters().items() if p in state},
            "shared": {key: value for key, value in state.items() if isinstance(key, str)},  # of no one parameter
            "built": self._built,
            "now": self._hyperparameters(),
            **groups,
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned.

        Raises:
            CheckpointError: it is another optimizer's, or a parameter's state belongs to no parameter, or has another
                shape.
        """
        here = type(self._optimizer).__name__
        if saved["kind"] != here:
            raise CheckpointError(
                f"the checkpoint has the state of {saved['kind']}, but the optimizer is {here}: start anew (--fresh)"
            )
        changes = saved.get("groups")
        if self._has_own:
            self._groups.restore(changes, [])
            self._optimizer.load_state_dict(saved["own"])
            return
        if len(saved["built"]) != len(self._built) or (changes is None and len(saved["now"]) != len(self._built)):
            raise CheckpointError(
                f"the checkpoint is of another optimizer or model: it has {len(saved['now'])} parameter groups, not "
                f"{len(self._built)} (versions before 0.3 did not save groups that a hook adds)"
            )
        self._groups.restore(changes, saved["now"])
        parameters = self._groups.parameters()
        if unknown := sorted(set(saved["state"]) - set(parameters)):
            raise CheckpointError(f"the checkpoint is of another optimizer or model: it has state for {unknown[0]}")
        self._optimizer.state.clear()
        for name, state in saved["state"].items():
            self._optimizer.state[parameters[name]] = self._restored(name, parameters[name], state)
        self._optimizer.state.update(saved.get("shared", {}))  # type: ignore[arg-type] (torch's keys are parameters)
        origins = range(len(self._built)) if changes is None else [change["built"] for change in changes]
        for group, place, now in zip(self._optimizer.param_groups, origins, saved["now"], strict=False):
            built = {} if place is None else saved["built"][place]
            if place is not None:  # what has changed since the checkpoint, where a session goes back to it
                own = self._built[place].items()
                group.update({k: _copy(v) for k, v in own if not _equal(group.get(k), v)})
            changed = {key: value for key, value in now.items() if not _equal(built.get(key), value)}
            device = group["params"][0].device if group["params"] else None
            group.update({k: v.to(device, copy=True) if isinstance(v, Tensor) else v for k, v in changed.items()})

    def _hyperparameters(self) -> list[dict[str, Any]]:
        plain = int | float | bool | str | type(None) | tuple | Tensor
        return [
            {key: _copy(value) for key, value in group.items() if key != "params" and isinstance(value, plain)}
            for group in self._optimizer.param_groups
        ]

    def _restored(self, name: str, parameter: Tensor, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return copies of the saved tensors, in their own types; torch's own loading would cast them."""
        restored = {}
        for key, value in state.items():
            if isinstance(value, Tensor):
                alike = value.dim() == parameter.dim() and value.numel() == parameter.numel()  # some keep it flat
                if alike and value.shape != parameter.shape:
                    shapes = f"{tuple(value.shape)}, not {tuple(parameter.shape)}"
                    raise CheckpointError(f"{key} of {name} in the checkpoint has shape {shapes}")
                if self._stays_on_host(key):
                    value = value.clone()
                elif value.shape == parameter.shape:
                    value = laid_as(parameter, value)
                else:
                    value = value.to(parameter.device, copy=True)
            restored[key] = value
        return restored

    def _stays_on_host(self, key: str) -> bool:
        """Return True if torch keeps this on the CPU: step counts of optimizers that are not fused or capturable."""
        groups = self._optimizer.param_groups
        return key == "step" and not any(group.get("fused") or group.get("capturable") for group in groups)


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and bool((one.cpu() == other.cpu()).all())
    return type(one) is type(other) and one == other


def laid_as(parameter: Tensor, values: Tensor) -> Tensor:
    """Return values as a tensor that lies in memory as a parameter does: fused steps go by that order alone."""
    return torch.empty_like(parameter, dtype=values.dtype, requires_grad=False).copy_(values)

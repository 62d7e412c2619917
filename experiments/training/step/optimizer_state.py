"""An optimizer's state by parameter name, so that a checkpoint survives a change in the order of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...components.trained import Trained
from ...errors import CheckpointError


class OptimizerState:
    """Saves and restores what an optimizer remembers.

    The configuration decides the hyperparameters: a restored optimizer keeps those that it was built with, except
    for values in its groups that the optimizer itself has changed since (some keep counters there). An optimizer with
    a `state_dict` of its own is saved by that.

    Args:
        optimizer: freshly built.
        model: alone or with the loss, whose parameters it holds; parameters from elsewhere are numbered.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, model: nn.Module | Trained):
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._optimizer = optimizer
        self._parameters = {names.get(id(p), f"parameter {index}"): p for index, p in enumerate(parameters)}
        self._has_own = type(optimizer).state_dict is not torch.optim.Optimizer.state_dict
        self._built = self._hyperparameters()

    def state_dict(self) -> dict[str, Any]:
        """Return the state by parameter name, and each group's hyperparameters as built and as they are now."""
        kind = type(self._optimizer).__name__
        if self._has_own:
            return {"kind": kind, "own": self._optimizer.state_dict()}
        state = self._optimizer.state
        return {
            "kind": kind,
            "state": {name: dict(state[p]) for name, p in self._parameters.items() if p in state},
            "shared": {key: value for key, value in state.items() if isinstance(key, str)},  # of no one parameter
            "built": self._built,
            "now": self._hyperparameters(),
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
        if self._has_own:
            self._optimizer.load_state_dict(saved["own"])
            return
        unknown = set(saved["state"]) - set(self._parameters)
        if unknown or len(saved["now"]) != len(self._built):
            what = f"state for {sorted(unknown)[0]}" if unknown else f"{len(saved['now'])} parameter groups"
            raise CheckpointError(f"the checkpoint is of another optimizer or model: it has {what}")
        self._optimizer.state.clear()
        for name, state in saved["state"].items():
            self._optimizer.state[self._parameters[name]] = self._restored(name, state)
        self._optimizer.state.update(saved.get("shared", {}))  # type: ignore[arg-type] (torch's keys are parameters)
        for group, built, now in zip(self._optimizer.param_groups, saved["built"], saved["now"], strict=True):
            changed = {key: value for key, value in now.items() if not _equal(built.get(key), value)}
            device = group["params"][0].device
            group.update({k: v.to(device, copy=True) if isinstance(v, Tensor) else v for k, v in changed.items()})

    def _hyperparameters(self) -> list[dict[str, Any]]:
        plain = int | float | bool | str | type(None) | tuple | Tensor
        return [
            {
                key: value.clone() if isinstance(value, Tensor) else value
                for key, value in group.items()
                if key != "params" and isinstance(value, plain)
            }
            for group in self._optimizer.param_groups
        ]

    def _restored(self, name: str, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return copies of the saved tensors, in their own types; torch's own loading would cast them."""
        parameter = self._parameters[name]
        restored = {}
        for key, value in state.items():
            if isinstance(value, Tensor):
                alike = value.dim() == parameter.dim() and value.numel() == parameter.numel()  # some keep it flat
                if alike and value.shape != parameter.shape:
                    shapes = f"{tuple(value.shape)}, not {tuple(parameter.shape)}"
                    raise CheckpointError(f"{key} of {name} in the checkpoint has shape {shapes}")
                value = value.clone() if self._stays_on_host(key) else value.to(parameter.device, copy=True)
            restored[key] = value
        return restored

    def _stays_on_host(self, key: str) -> bool:
        """Return True if torch keeps this on the CPU: step counts of optimizers that are not fused or capturable."""
        groups = self._optimizer.param_groups
        return key == "step" and not any(group.get("fused") or group.get("capturable") for group in groups)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and bool((one.cpu() == other.cpu()).all())
    return type(one) is type(other) and one == other

"""An optimizer's state by parameter name, so that a checkpoint survives a change in the order of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from .errors import CheckpointError


class OptimizerState:
    """Saves and restores what an optimizer remembers.

    The configuration decides the hyperparameters: a restored optimizer keeps those that it was built with, except
    for values in its groups that the optimizer itself has changed since (some keep counters there).

    Args:
        optimizer: freshly built.
        model: whose parameters it holds; parameters from elsewhere are numbered.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, model: nn.Module):
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._optimizer = optimizer
        self._parameters = {names.get(id(p), f"parameter {index}"): p for index, p in enumerate(parameters)}
        self._built = self._hyperparameters()

    def state_dict(self) -> dict[str, Any]:
        """Return the state by parameter name, and each group's hyperparameters as built and as they are now."""
        state = self._optimizer.state
        return {
            "state": {name: dict(state[p]) for name, p in self._parameters.items() if p in state},
            "built": self._built,
            "now": self._hyperparameters(),
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned.

        Raises:
            CheckpointError: a parameter's state is missing, or belongs to no parameter, or has another shape.
        """
        unknown = set(saved["state"]) - set(self._parameters)
        if unknown or len(saved["now"]) != len(self._built):
            what = f"state for {sorted(unknown)[0]}" if unknown else f"{len(saved['now'])} parameter groups"
            raise CheckpointError(f"the checkpoint is of another optimizer or model: it has {what}")
        current = self._optimizer.state_dict()
        # torch numbers parameters through its groups in order, which is the order of self._parameters.
        current["state"] = {
            index: self._checked(name, parameter, saved["state"][name])
            for index, (name, parameter) in enumerate(self._parameters.items())
            if name in saved["state"]
        }
        for group, built, now in zip(current["param_groups"], saved["built"], saved["now"], strict=True):
            group.update({key: value for key, value in now.items() if key != "lr" and built.get(key) != value})
        self._optimizer.load_state_dict(current)

    def _hyperparameters(self) -> list[dict[str, Any]]:
        plain = int | float | bool | str | type(None) | tuple
        return [
            {key: value for key, value in group.items() if key != "params" and isinstance(value, plain)}
            for group in self._optimizer.param_groups
        ]

    @staticmethod
    def _checked(name: str, parameter: torch.Tensor, state: Mapping[str, Any]) -> dict[str, Any]:
        for key, value in state.items():
            alike = isinstance(value, torch.Tensor) and value.dim() > 0 and value.numel() == parameter.numel()
            if alike and value.shape != parameter.shape:
                raise CheckpointError(f"{key} of {name} has shape {tuple(value.shape)}, not {tuple(parameter.shape)}")
        # torch takes tensors over as they are: a copy keeps the optimizer from writing into the caller's.
        return {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in state.items()}

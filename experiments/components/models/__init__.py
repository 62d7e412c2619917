"""Models by name: functions or classes that return a torch.nn.Module, registered in this folder.

The arguments `input_shape` (one example, without the batch) and `num_outputs` (classes, or values per example) are
filled in from the data. The fact `task` says what data a model is for where not every kind will do: `tokens` or `none`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from ...registry import Component, Registry
from ...registry.argument_checks import check_arguments, component_of

if TYPE_CHECKING:
    import torch

registry = Registry("model", __name__, given=0, base="torch.nn:Module")
register_model = registry.register


def make_model(name: str | Component, *, base: Path = Path(), **args: Any) -> torch.nn.Module:
    """Build the model called `name`; its weights come from torch's default generator.

    Raises:
        UsageError: an unknown name, an unknown or impossible argument, or something that is no torch.nn.Module.
    """
    import torch

    component = component_of(registry, name, base)
    check_arguments(component, args)
    every = {argument.name: argument.default for argument in component.signature.arguments} | args
    for argument, message in component.facts.get("check", lambda args: [])(every):
        raise UsageError(f"model '{component.name}': {argument}: {message}, got {every[argument]!r}")
    model = component.make(**args)
    if not isinstance(model, torch.nn.Module):
        raise UsageError(f"model '{component.name}' made a {type(model).__name__}, not a torch.nn.Module")
    return model

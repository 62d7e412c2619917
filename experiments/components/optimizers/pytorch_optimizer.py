"""The optimizers of the package pytorch-optimizer, as `po/NAME`, where it is installed.

They are listed without importing the package, which takes seconds; a class is imported when it is asked for.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ...errors import UsageError
from . import registry
from .muon import rules
from .shared.parameter_groups import Named

PREFIX = "po/"
_PACKAGE = "pytorch_optimizer"

_SECOND_ORDER = "it needs gradients of gradients (create_graph), which the train op does not compute"
_NO_RATE = "it has no `lr` in its groups, so that no schedule can set one"
_OPAQUE = "its state holds objects that a checkpoint, which is no pickle, cannot store"
_OWN_LOOP = "it runs the backward pass itself, inside its own training loop"
_DISTRIBUTED = "it needs several processes of torch.distributed"
_SWITCHED = "its weights have to be switched by hand for evaluation; take {}"
_REASONS = {
    "a2grad": _NO_RATE,
    "adashift": _OPAQUE,
    "conda": _OPAQUE,
    "adahessian": _SECOND_ORDER,
    "sophiah": _SECOND_ORDER,
    "adalomo": _OWN_LOOP,
    "lomo": _OWN_LOOP,
    "bsam": "its second pass fails in pytorch-optimizer 4.1, for want of an entry in its own state",
    "demo": _DISTRIBUTED,
    "distributedmuon": _DISTRIBUTED,
    "lorarite": "it takes pairs of LoRA factors only",
    "spectralsphere": "it takes matrices only, and no model here has nothing else",
    "scalableshampoo": _OPAQUE,
    "adammini": "it wants the model instead of the parameters",
    "magma": "it wants another optimizer instead of the parameters",
    "alig": _NO_RATE,
    "schedulefreeadamw": _SWITCHED.format("schedule_free_adamw"),
    "schedulefreeradam": _SWITCHED.format("schedule_free_adamw"),
    "schedulefreesgd": _SWITCHED.format("schedule_free_sgd"),
}
_MATRICES = ("adago", "adamuon", "muon", "muonclip", "normuon")  # groups say which rule is theirs
_ANYTHING = [  # since what cannot be used needs no arguments
    inspect.Parameter("params", inspect.Parameter.POSITIONAL_OR_KEYWORD),
    inspect.Parameter("args", inspect.Parameter.VAR_KEYWORD),
]


class FromPackage:
    """Stands for one of the package's classes until it is called, or its signature is asked for.

    Args:
        name: the class's name in small letters, as the package itself lists it.
    """

    def __init__(self, name: str):
        self.name = name
        reason = _REASONS.get(name)
        self.__doc__ = (
            f"Cannot be used here: {reason}."
            if reason
            else f"{name}, of the package pytorch-optimizer.\n\n"
            "Its arguments and their defaults are the package's own; no ranges are known of them."
        )

    def __call__(self, params: Iterable[Any], *, use_muon: bool | None = None, **args: Any) -> torch.optim.Optimizer:
        if (reason := _REASONS.get(self.name)) is not None:
            raise UsageError(f"optimizer '{PREFIX}{self.name}' cannot be used: {reason}")
        if use_muon is not None:
            listed = list(params)
            params = listed if isinstance(listed[0], dict) else [{"params": listed, "use_muon": use_muon}]
        return self.__wrapped__(params, **args)

    @functools.cached_property
    def __wrapped__(self) -> type[torch.optim.Optimizer]:
        return importlib.import_module(_PACKAGE).load_optimizer(self.name)

    @functools.cached_property
    def __signature__(self) -> inspect.Signature:
        if self.name in _REASONS:
            return inspect.Signature(_ANYTHING)
        signature = inspect.signature(self.__wrapped__)
        known = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        return signature.replace(parameters=known)


def names_in_package() -> list[str]:
    """Return the names of the package's optimizers, read from its source; none where it is not installed."""
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return []
    source = Path(spec.submodule_search_locations[0], "optimizer", "__init__.py").read_text(encoding="utf-8")
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.AnnAssign | ast.Assign):
            targets = [statement.target] if isinstance(statement, ast.AnnAssign) else statement.targets
            if any(isinstance(target, ast.Name) and target.id == "OPTIMIZER_LIST" for target in targets):
                return [each.id.lower() for each in getattr(statement.value, "elts", ()) if isinstance(each, ast.Name)]
    raise UsageError("this version of pytorch-optimizer has no OPTIMIZER_LIST: pip install 'optrun[optimizers]'")


def _rules(all_named: Sequence[Named], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rule of each parameter, as `muon` does."""
    return [{"use_muon": each["rule"] == "muon"} for each in rules(all_named, {})]


def _refusal(reason: str, args: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [("name", f"it cannot be used here: {reason}")]


registry.extras[PREFIX] = "the package pytorch-optimizer: pip install 'optrun[optimizers]'"
for _name in names_in_package():
    _facts: dict[str, Any] = {"settings_of_each": _rules} if _name in _MATRICES else {}
    if _name in _REASONS:
        _facts["check"] = functools.partial(_refusal, _REASONS[_name])
    registry.register(f"{PREFIX}{_name}", source="the package pytorch-optimizer", **_facts)(FromPackage(_name))

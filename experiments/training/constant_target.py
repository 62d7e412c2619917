"""A look at the targets of the training rows: where all are the same, there is nothing to learn from them."""

from __future__ import annotations

from typing import Any

import torch

from ..components.data import Dataset, PartInMemory, Splits
from ..components.data.scale import is_constant
from ..config import ComponentConfig, Config
from .target_check import key_of_targets

_SPLITTING = ("data.val", "data.test", "data.split_seed")


def check_targets(config: Config, splits: Splits) -> list[str]:
    """Refuse training rows whose targets are all the same; return notes where that may be meant.

    It may be where code of the user's own has a part in what targets are for: data or a loss that goes by something
    else; a model of an equation's residual, whose target is 0. A single training row is what somebody asked for.

    Raises:
        ConfigError: a model of optrun's data and losses would learn one answer for all; located at the target, or at
            what splits the rows where others differ.
    """
    if not isinstance(splits.train, PartInMemory) or not isinstance(splits.dataset, Dataset):
        return []  # examples are made one by one: nobody has seen them all
    dataset, targets = splits.dataset, splits.train.targets
    if dataset.task == "none" or config.loss.component.facts.get("task") == "none":
        return []
    constant = _constant_columns(splits, targets)
    is_whole = len(dataset) > 1 and bool(_constant_columns(splits, dataset.targets).all())
    if not constant.any() or (len(targets) == 1 and not is_whole):
        return []
    if not constant.all():
        column = dataset.column("targets", int(constant.argmax()))
        few = (
            f"column {column} of the targets is"
            if constant.sum() == 1
            else (f"{int(constant.sum())} of {len(constant)} columns of the targets, such as {column}, are each")
        )
        return [f"{few} constant over the {len(targets):,} training rows: there is nothing to learn there"]
    rows = f"{len(dataset):,} rows" if is_whole else f"{len(targets):,} training rows"
    found = f"all {rows} have the same target, {_shown(splits, targets)}"
    useless = f"{found}: a model learns nothing from them but that answer, which every metric calls perfect"
    parts = [config.data, config.loss, *([config.model] if dataset.task == "values" else [])]
    if own := [part for part in parts if part.component.roots()]:
        return [f"{found}: only {' and '.join(_named(part) for part in own)} can know what that is for"]
    if is_whole:
        key, hint = key_of_targets(config), "another target, or rows in which it differs"
        raise config.problem(key, useless, hint)
    message = f"{useless}; in the rows for other parts it differs"
    if "train" in dataset.splits:
        raise config.problem(key_of_targets(config), message, "training rows in which the target differs")
    hint = "more training rows, or another data.split_seed"
    keys = _SPLITTING if config.data.subset is None else ("data.subset", *_SPLITTING)
    raise config.problem(keys[0], message, hint, also=keys[1:])


def _constant_columns(splits: Splits, targets: torch.Tensor) -> Any:
    """Return True for each column of targets, as they were before they were scaled, in which no two differ."""
    scale = splits.dataset.target_scale
    rows = (targets if scale is None else scale.undone(targets)).reshape(len(targets), -1).numpy()
    if splits.dataset.task == "values":
        return is_constant(rows)
    return (rows == rows.flat[0]).all(keepdims=True)[0]


def _shown(splits: Splits, targets: torch.Tensor) -> str:
    dataset, first = splits.dataset, targets[:1]
    if dataset.task == "values":
        values = (first if dataset.target_scale is None else dataset.target_scale.undone(first))[0].tolist()
        listed = ", ".join(f"{value:g}" for value in values[:4]) + (", …" if len(values) > 4 else "")
        return listed if len(values) == 1 else f"({listed})"
    number = int(first.flatten()[0])
    if dataset.task == "classes":
        return f"class '{dataset.class_names[number]}'" if dataset.class_names else f"class {number}"
    return f"token {number}"


def _named(part: ComponentConfig) -> str:
    return f"the {part.component.kind} '{part.label}'"

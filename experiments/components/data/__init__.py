"""Data by name: functions that return a Dataset; how it is split; how batches are drawn from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...registry import Component, Registry
from ...registry.argument_checks import check_arguments, component_of

registry = Registry("data", __name__, given=0, base=f"{__name__}:Dataset")
register_data = registry.register

from .augmentations import in_evaluation, make_augmentation, register_augmentation  # noqa: E402  (they need the registry)
from .batches import Batches, Mixed  # noqa: E402
from .dataset import Dataset  # noqa: E402
from .facts import DataFacts  # noqa: E402
from .fitted import BEFORE, Fitted  # noqa: E402
from .part import Batch, Part, PartInMemory  # noqa: E402
from .split import Splits, split  # noqa: E402
from .stored import Examples, Stored, after  # noqa: E402

__all__ = [
    "BEFORE",
    "Batch",
    "Batches",
    "DataFacts",
    "Dataset",
    "Examples",
    "Fitted",
    "Mixed",
    "Part",
    "PartInMemory",
    "Splits",
    "Stored",
    "after",
    "in_evaluation",
    "make_augmentation",
    "make_data",
    "register_augmentation",
    "register_data",
    "registry",
    "split",
]


def make_data(name: str | Component, *, base: Path = Path(), fitted: Fitted | None = None, **args: Any) -> Dataset:
    """Load or make the data called `name`.

    Args:
        name: of the data set, or what a registry holds.
        base: where a file of the user's own is looked for.
        fitted: what was taken from the rows of a run: these are read as those were.
        args: of the data set.

    Raises:
        UsageError: an unknown name, an unknown or impossible argument, or something that is no Dataset.
        DataError: the data is missing or not what it should be.
    """
    component = component_of(registry, name, base)
    if fitted is not None:
        args = fitted.arguments_of(component, args)
    check_arguments(component, args)
    dataset = component.make(**args)
    if not isinstance(dataset, Dataset):
        raise UsageError(f"data '{component.name}' made a {type(dataset).__name__}, not a Dataset")
    if not (fitted and fitted.scales):  # rows that come later may be few, or one
        dataset.refuse_constant()
    return dataset

"""Data by name: functions that return a Dataset; how it is split; how batches are drawn from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...registry import Component, Registry
from ...registry.argument_checks import check_arguments, component_of

registry = Registry("data", __name__, given=0, base=f"{__name__}:Dataset torch.utils.data:Dataset")
register_data = registry.register

from .adopt import as_data  # noqa: E402
from .augmentations import in_evaluation, make_augmentation, register_augmentation  # noqa: E402  (they need the registry)
from .batches import AugmentedBatches, Batches, DrawnBatches, Mixed  # noqa: E402
from .dataset import Dataset  # noqa: E402
from .facts import DataFacts  # noqa: E402
from .fitted import BEFORE, Fitted  # noqa: E402
from .loaded import LoadedBatches, LoadedData, LoadedPart, Loading  # noqa: E402
from .part import Batch, Part, PartInMemory  # noqa: E402
from .split import Splits, split  # noqa: E402
from .stored import Examples, Stored, Tree, after  # noqa: E402
from .stream import StreamBatches  # noqa: E402
from .stream_data import AnyData, StreamData, StreamPart  # noqa: E402

__all__ = [
    "BEFORE",
    "AnyData",
    "AugmentedBatches",
    "Batch",
    "Batches",
    "DataFacts",
    "Dataset",
    "DrawnBatches",
    "Examples",
    "Fitted",
    "LoadedBatches",
    "LoadedData",
    "LoadedPart",
    "Loading",
    "Mixed",
    "Part",
    "PartInMemory",
    "Splits",
    "Stored",
    "StreamBatches",
    "StreamData",
    "StreamPart",
    "Tree",
    "after",
    "in_evaluation",
    "make_augmentation",
    "make_data",
    "register_augmentation",
    "register_data",
    "registry",
    "split",
]


def make_data(
    name: Any,
    *,
    base: Path = Path(),
    fitted: Fitted | None = None,
    loading: Loading | None = None,
    **args: Any,
) -> AnyData:
    """Load or make the data called `name`.

    Args:
        name: of the data set, or what a registry holds; or a Dataset, a data set or a DataLoader of torch's itself.
        base: where a file of the user's own is looked for.
        fitted: what was taken from the rows of a run: these are read as those were.
        loading: how examples that are made one by one become batches.
        args: of the data set.

    Raises:
        UsageError: an unknown name, an unknown or impossible argument, or something that is no Dataset.
        DataError: the data is missing or not what it should be.
    """
    if not isinstance(name, str | Component):
        if args:
            raise UsageError(f"data that is there takes no arguments, got {', '.join(args)}")
        return as_data(name, "the data", loading or Loading())
    component = component_of(registry, name, base)
    if fitted is not None:
        args = fitted.arguments_of(component, args)
    check_arguments(component, args)
    dataset = as_data(component.make(**args), f"data '{component.name}'", loading or Loading())
    if isinstance(dataset, Dataset) and not fitted:
        dataset.refuse_empty()
    if isinstance(dataset, Dataset) and not (fitted and fitted.scales):  # rows that come later may be few, or one
        dataset.refuse_constant()
    return dataset

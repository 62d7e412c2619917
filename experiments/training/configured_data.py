"""The data of a configuration: read, split, and drawn from."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..components import data
from ..components.data import (
    Batches,
    Dataset,
    DrawnBatches,
    Fitted,
    LoadedBatches,
    LoadedData,
    LoadedPart,
    Loading,
    Part,
    PartInMemory,
    Splits,
    StreamBatches,
    StreamData,
    StreamPart,
)
from ..components.data.batch_parts import BatchParts
from ..components.data.batches import steps_in_epoch
from ..components.data.sampling import Sampling, by_class, by_rule
from ..components.data.tree import batch_size as num_examples
from ..components.data.weights import weights_by_class
from ..config import ComponentConfig, Config
from ..config.located import located
from ..config.sections import DataConfig
from ..registry.calls import described
from . import compatibility
from .configured_stream import check_stream
from .model_call import hands_targets


def make_splits(config: Config, fitted: Fitted | None = None) -> Splits:
    """Read the data of a configuration, and split it.

    Args:
        config: of the run.
        fitted: see `build`.

    Raises:
        ConfigError: located at `data`.
        DataError: data is missing or damaged.
    """
    loading = loading_of(config)
    with located(config, "data"):
        dataset = data.make_data(config.data.component, fitted=fitted, loading=loading, **config.data.args)
        check_stream(config, dataset)
        splits = data.split(
            dataset,
            val=config.data.val,
            test=config.data.test,
            split_seed=config.data.split_seed,
            subset=config.data.subset,
            fitted=fitted,
        )
    return splits if config.loss.weights is None else _weighed(config, splits, config.loss.weights)


def _weighed(config: Config, splits: Splits, name: str | int) -> Splits:
    """Return the parts with the weights of their examples, where these are in memory; others have them in each batch.

    Raises:
        ConfigError: located at `loss.weights`.
    """
    if not isinstance(splits.dataset, Dataset):
        return splits
    with located(config, "loss.weights"):
        weights = splits.dataset.weights_called(name)
    parts = {}
    for each in splits.sizes():
        part = getattr(splits, each)
        assert isinstance(part, PartInMemory)
        own = weights[part.positions]
        if not bool((own > 0).any()):
            raise config.problem("loss.weights", f"the weights '{name}' of all {len(part)} examples of {each} are 0")
        parts[each] = part.weighing(own)
    return replace(splits, **parts)


def make_batches(config: Config, splits: Splits, device: torch.device) -> DrawnBatches | StreamBatches:
    """Return the batches that a configuration trains on.

    Args:
        config: of the run.
        splits: of its data.
        device: that batches are on.

    Raises:
        ConfigError: located at `data`.
    """
    dataset, cut = splits.dataset, cut_of(config, splits)
    options: dict[str, Any] = {
        "batch_size": cut.batch_size,
        "seed": config.seed,
        "drop_last": cut.drop_last,
        "sampling": cut.sampling,
        "augment": [_augmentation(config, each, splits) for each in config.data.augment],
        "device": device,
        "num_classes": dataset.num_outputs if dataset.task == "classes" else None,
    }
    part = splits.train
    if isinstance(part, StreamPart):
        del options["sampling"]  # it comes in its own order
        with located(config, "data"):
            return StreamBatches(part.data, **options)
    assert isinstance(part, PartInMemory | LoadedPart)
    if isinstance(part, PartInMemory):
        _refuse_loading(config)
    with located(config, "data"):
        if isinstance(part, LoadedPart):
            return LoadedBatches(part, **options)
        return Batches(part.inputs, part.targets, weights=part.weights, **options)


def _sampling(config: Config, splits: Splits) -> Sampling:
    """Return how the configuration says that examples are drawn.

    Raises:
        ConfigError: located at `data.sampling`: by weights that the data has not, or that cannot be.
        ArgumentsError: classes are asked for that nobody knows; or no training example has a weight.
    """
    sampling, dataset, targets = config.data.sampling, splits.dataset, known_targets(splits)
    assert sampling is not None
    if isinstance(sampling, str):
        return by_rule(sampling, targets)
    assert isinstance(dataset, Dataset | LoadedData)  # a stream comes in its own order
    if "weights" in sampling:
        with located(config, "data.sampling.weights"):
            weights = dataset.weights_called(sampling["weights"])
        words = f"by the weights '{sampling['weights']}', with replacement"
        return Sampling(weights=weights[positions_of(splits.train)], words=words)
    with located(config, "data.sampling"):
        num_classes = dataset.num_outputs if dataset.task in ("classes", None) else None  # None: it does not say it
        of_class = weights_by_class(sampling.get("class_weights", {}), dataset.class_names, num_classes)
    return by_class(of_class, targets)


def positions_of(part: Part) -> torch.Tensor:
    """Return where the examples of a part are in its data set, int64."""
    assert isinstance(part, PartInMemory | LoadedPart)
    return part.positions


@dataclass(frozen=True)
class Cut:
    """How the training examples of a run become batches: as a DataLoader says, or else the configuration.

    Args:
        batch_size: examples in a batch; the last one of an epoch may be smaller.
        drop_last: whether that one is left out.
        sampling: which examples an epoch draws, in which order.
        num_examples: that it draws from; None for a stream that does not say it.
    """

    batch_size: int
    drop_last: bool
    sampling: Sampling
    num_examples: int | None

    @property
    def steps_per_epoch(self) -> int | None:
        if self.num_examples is None:
            return None
        return steps_in_epoch(self.sampling.num_drawn(self.num_examples), self.batch_size, self.drop_last)


def cut_of(config: Config, splits: Splits) -> Cut:
    """Return how a configuration cuts its training examples into batches.

    Raises:
        ConfigError: it and a DataLoader say different things, or classes are to be balanced that nobody knows.
    """
    dataset = splits.dataset
    loading = Loading() if isinstance(dataset, Dataset) else dataset.loading
    sampling, drop_last = loading.sampling, config.data.drop_last or loading.drop_last
    if isinstance(dataset, StreamData):
        own = num_examples(*dataset.first_batches(1)[0]) if dataset.gives_batches else loading.batch_size
        return Cut(_batch_size(config, splits, own), drop_last, sampling, dataset.num_examples)
    with located(config, "data"):
        if config.data.sampling is not None:
            sampling = _sampling(config, splits)
        elif isinstance(splits.train, LoadedPart):
            sampling = sampling.of(splits.train.positions)
    return Cut(_batch_size(config, splits, loading.batch_size), drop_last, sampling, len(splits.train))


def _batch_size(config: Config, splits: Splits, own: int | None) -> int:
    size = config.data.batch_size
    if own is None:
        return len(splits.train) if size == "full" else size
    if size not in (DataConfig.batch_size, own):
        message = f"data '{config.data.name}' is a DataLoader with a batch_size of {own}, not {size}"
        hint = "say it there, or let the data be the data set itself: the run draws its batches"
        raise config.problem("data.batch_size", message, hint)
    return own


def known_targets(splits: Splits) -> torch.Tensor | None:
    """Return the targets of the training examples; None where they are only known when examples are made."""
    part = splits.train
    if isinstance(part, PartInMemory):
        return part.targets
    known = splits.dataset.targets
    return None if known is None or not isinstance(part, LoadedPart) else known[part.positions]


def loading_notes(config: Config, splits: Splits) -> list[str]:
    """Return what is odd about examples that are made one by one."""
    dataset, cores = splits.dataset, os.cpu_count() or 1
    if not isinstance(dataset, LoadedData):
        return []
    notes, own = [], dataset.loading.batch_size
    if own is not None and own != config.data.batch_size:
        notes.append(f"batches have {own} examples, as the DataLoader says, and not data.batch_size")
    if dataset.ignore_index is not None:
        notes.append(
            f"where targets are {dataset.ignore_index}, the data's ignore_index, optrun's losses and metrics of "
            "classes and tokens leave them out"
        )
    if dataset.loading.workers > cores:
        notes.append(f"data.workers is {dataset.loading.workers}: more than the {cores} cores that there are")
    if not dataset.is_repeatable():
        notes.append(
            f"data '{config.data.name}' makes example 0 anew each time: it draws from a generator that is neither "
            "Python's, numpy's or torch's own, nor kept by the data set, so that no run can be repeated or resumed "
            "bit for bit. Let it draw from one of these (docs/data.md, My DataLoader)"
        )
    return notes


def loading_of(config: Config) -> Loading:
    """Return how examples that are made one by one become batches.

    Raises:
        ConfigError: located at `data.collate`.
    """
    collate, targets_from = config.data.collate, config.data.targets_from
    handed = hands_targets(config.loss.component.build, targets_from)
    most = config.data.eval_batches
    loading = Loading(
        config.data.workers,
        parts=BatchParts(targets_from, config.data.inputs_from, not handed, config.loss.weights),
        seed=config.seed,
        most_held=None if most is None else most * config.data.eval_batch_size,
    )
    if collate is None:
        return loading
    with located(config, "data.collate"):
        return replace(loading, collate=compatibility.bound(collate))


def _refuse_loading(config: Config) -> None:
    """Refuse what has no say where data is in memory.

    Raises:
        ConfigError: workers or a collate function are asked for.
    """
    in_memory = f"data '{config.data.name}' is in memory, where batches are gathered as they are"
    if config.data.workers:
        raise config.problem("data.workers", f"{in_memory}: workers would only cost time", "leave it out")
    if config.data.collate is not None:
        raise config.problem("data.collate", f"{in_memory}: nothing is collated", "leave it out")


def _augmentation(config: Config, part: ComponentConfig, splits: Splits) -> Callable[..., Any]:
    """Return an augmentation with its arguments.

    Raises:
        ConfigError: located at it: it takes one tensor, and inputs are several.
    """
    if not part.component.roots() and splits.dataset.input_shape is None:
        inputs = splits.train.examples(0, 1).inputs
        message = f"{part.label} is of inputs that are one tensor, and these are {described(inputs)}"
        raise config.problem(part.path, message, "an augmentation of your own is given them as they are")
    with located(config, part.path):
        return compatibility.bound(part)

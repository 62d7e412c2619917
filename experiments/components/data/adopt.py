"""What a data component has made, as data that optrun can split and draw from: a Dataset, or one of torch's."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    StackDataset,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)

from ...errors import ArgumentsError, DataError, UsageError, nearest
from ...registry.calls import described
from ..weighted import unweighted
from .batch_parts import BatchParts
from .dataset import Dataset
from .loaded import LoadedData, Loading
from .sampling import IN_ORDER, SHUFFLED, Sampling
from .stream_data import AnyData, StreamData, held
from .tree import num_rows

_PARTS = ("train", "val", "test")
_KINDS = (
    "a Dataset of optrun's; a data set with __getitem__ and __len__, an IterableDataset or a DataLoader of torch's; a "
    "tuple or mapping of tensors; or a mapping of train, val and test"
)


def as_data(made: Any, label: str, loading: Loading) -> AnyData:
    """Return what a component has made as data.

    Args:
        made: by the component.
        label: of it, in messages.
        loading: how its examples become batches, where they are made one by one.

    Raises:
        UsageError: it is no data.
        DataError: it has no examples, or what it says of itself does not fit together.
    """
    if isinstance(made, Dataset | LoadedData | StreamData):
        return made
    if isinstance(made, DataLoader):
        return _of_loader(made, label, loading)
    if isinstance(made, Mapping) and made and set(made) <= set(_PARTS):
        return _of_parts(made, label, loading)
    if isinstance(made, Mapping) and (unknown := [name for name in made if name not in _PARTS]):
        _refuse_other_parts(made, unknown, label)
    if isinstance(made, tuple | Mapping) and made:
        num_rows("tensors", made)
        made = _stacked(made)
    return _of_examples(made, label, loading)


def _refuse_other_parts(made: Mapping[Any, Any], unknown: Sequence[Any], label: str) -> None:
    """Refuse data sets under other names than those of the parts; tensors may have any.

    Raises:
        UsageError: there is one.
    """
    kinds = (torch.utils.data.Dataset, DataLoader, Dataset, LoadedData, StreamData)
    if any(isinstance(each, kinds) for each in made.values()):
        guess = nearest(str(unknown[0]), [part for part in _PARTS if part not in made])
        hint = f"; did you mean '{guess}'?" if guess else ""
        raise UsageError(f"{label} made a part called '{unknown[0]}': parts are {', '.join(_PARTS)}{hint}")


def _stacked(tree: Any, place: str = "tensors") -> Any:
    """Return tensors in memory, each with one row per example, as a data set of torch's.

    Raises:
        UsageError: they are in something else than tuples, lists and mappings, in which batches would not have them.
    """
    if isinstance(tree, torch.Tensor):
        return tree
    if isinstance(tree, Mapping) and all(isinstance(name, str) for name in tree):
        return StackDataset(**{name: _stacked(each, f"{place}/{name}") for name, each in tree.items()})
    if type(tree) in (tuple, list):
        return StackDataset(*(_stacked(each, f"{place}/{at}") for at, each in enumerate(tree)))
    way = "a tuple or a mapping with names; `Dataset(inputs, targets, …)` takes other kinds too, such as data classes"
    raise UsageError(f"{place} must be in {way}, got {described(tree)}")


def _of_examples(source: Any, label: str, loading: Loading) -> LoadedData | StreamData:
    collate = getattr(source, "collate_fn", None)
    if loading.collate is default_collate and callable(collate):
        loading = replace(loading, collate=collate)
    if isinstance(source, IterableDataset):
        return _of_stream(source, label, loading)
    if not (hasattr(source, "__getitem__") and hasattr(source, "__len__")):
        raise UsageError(f"{label} made {described(source)}: expected {_KINDS}")
    try:
        size = len(source)
    except TypeError as error:
        raise UsageError(f"{label} made {described(source)}, which has no length: {error}") from error
    if not size:
        raise DataError(f"{label} has no examples")
    labels = _labels(source, size, loading.parts)
    targets = labels if labels is not None and labels.dim() == 1 else None
    facts = _facts(source, f"{size:,} examples of {label}")
    ignored = facts["ignore_index"]
    if facts["task"] is None and targets is not None:
        facts["task"] = "classes"
        known = targets if ignored is None else targets[targets != ignored]
        if facts["num_outputs"] is None and len(known):
            facts["num_outputs"] = int(known.max()) + 1
    return LoadedData(
        source,
        loading,
        splits={name: torch.as_tensor(rows) for name, rows in dict(getattr(source, "splits", {})).items()},
        targets=targets,
        labels=labels,
        **facts,
    )


def _facts(source: Any, description: str) -> dict[str, Any]:
    """Return what a data set says of itself.

    Raises:
        UsageError: it contradicts itself.
    """
    names, num_outputs = _class_names(source), _number(source, "num_outputs", "num_classes")
    if names and num_outputs is not None and len(names) != num_outputs:
        raise UsageError(f"{description}: its classes have {len(names)} names, and its num_classes is {num_outputs}")
    return {
        "task": getattr(source, "task", None),
        "num_outputs": len(names) if num_outputs is None and names else num_outputs,
        "class_names": names,
        "description": str(getattr(source, "description", "") or description),
        "ignore_index": _number(source, "ignore_index"),
    }


def _of_stream(source: Any, label: str, loading: Loading, gives_batches: bool = False) -> StreamData:
    return StreamData(source, loading, gives_batches, **_facts(source, f"a stream of {label}"))


def stream_of(data: Any, loading: Loading) -> StreamData:
    """Return a stream, or a DataLoader over one, as a session takes it: without a DataLoader it gives batches.

    Raises:
        UsageError: a DataLoader cannot be read anew.
    """
    if isinstance(data, DataLoader):
        return _of_stream_loader(data, "the data", loading)
    return _of_stream(data, "the data", replace(loading, collate=_as_it_is), gives_batches=True)


def _of_stream_loader(loader: DataLoader[Any], label: str, loading: Loading) -> StreamData:
    """Return the stream of a DataLoader, read as it says; one of the user's own is taken for a stream of batches."""
    if type(loader).__module__.partition(".")[0] not in ("torch", "torchdata"):
        return _of_stream(loader, label, replace(loading, workers=0, collate=_as_it_is), gives_batches=True)
    if getattr(loader, "next_iter_state", None) is not None:
        raise UsageError(
            f"{label}: the loader was given a state by load_state_dict, which the run does not go on from: it has its "
            "own place, from its checkpoints; give the state to the data set"
        )
    loading = _loading_of(loader, loading)
    return _of_stream(loader.dataset, label, loading, gives_batches=loader.batch_size is None)


def _as_it_is(item: Any) -> Any:
    return item


def _of_parts(parts: Mapping[str, Any], label: str, loading: Loading) -> LoadedData | StreamData:
    """Return data sets of their own for training, validation and test as one, with its splits."""
    if "train" not in parts:
        raise UsageError(f"{label} made parts without 'train': {', '.join(parts)}")
    made: dict[str, Any] = {}
    for name in (name for name in _PARTS if name in parts):
        part = as_data(parts[name], f"{label}, part '{name}'", loading)
        if isinstance(part, Dataset):
            raise UsageError(f"{label} made a Dataset as '{name}': give one Dataset with `splits` instead")
        made[name] = held(part, loading.most_held) if isinstance(part, StreamData) and name != "train" else part
    train, others = made["train"], {name: part for name, part in made.items() if name != "train"}
    if isinstance(train, StreamData):
        return replace(train, held=others)
    starts = np.cumsum([0, *(len(part) for part in made.values())]).tolist()
    known, labels = ([getattr(part, name) for part in made.values()] for name in ("targets", "labels"))
    return LoadedData(
        ConcatDataset([part.source for part in made.values()]),
        train.loading,
        task=train.task,
        num_outputs=train.num_outputs,
        class_names=train.class_names,
        description=train.description,
        splits={name: torch.arange(starts[i], starts[i + 1]) for i, name in enumerate(made)},
        targets=_joined(known),
        labels=_joined(labels),
        ignore_index=train.ignore_index,
    )


def _of_loader(loader: DataLoader[Any], label: str, loading: Loading) -> LoadedData | StreamData:
    """Return the data set of a DataLoader, read as it says; its order is that of the run's seed.

    Raises:
        UsageError: it has an order of its own, which cannot be had from any batch on.
    """
    if isinstance(loader.dataset, IterableDataset):
        return _of_stream_loader(loader, label, loading)
    loading = replace(_loading_of(loader, loading), sampling=sampling_of(loader, label))
    return _of_examples(loader.dataset, label, loading)


def _loading_of(loader: DataLoader[Any], loading: Loading) -> Loading:
    names = ("pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "prefetch_factor")
    return replace(
        loading,
        workers=loading.workers or loader.num_workers,
        collate=loader.collate_fn,
        options={name: getattr(loader, name) for name in names},
        batch_size=loader.batch_size,
        drop_last=loader.drop_last,
    )


def sampling_of(loader: DataLoader[Any], label: str) -> Sampling:
    """Return how a DataLoader draws examples, as a function of seed and epoch.

    Raises:
        UsageError: it has an order of its own, which cannot be had from any batch on.
    """
    sampler: Any = loader.sampler
    if loader.batch_sampler is None:
        raise UsageError(
            f"{label} is a DataLoader with batch_size=None, which makes no batches of its examples: give it a "
            "batch_size, or give its data set instead, and data.batch_size"
        )
    if loader.batch_size is None or type(loader.batch_sampler) is not BatchSampler:
        raise UsageError(
            f"{label} is a DataLoader with a batch_sampler of its own, which cannot be asked for the batch at a "
            "position: give it batch_size, and leave the batch_sampler out"
        )
    if type(sampler) is WeightedRandomSampler:
        size = len(loader.dataset)  # type: ignore[arg-type] (with a sampler, it is a map-style data set)
        if len(sampler.weights) != size:
            raise UsageError(f"{label}: its sampler has {len(sampler.weights)} weights for {size} examples")
        words = f"by the weights of the DataLoader, {'with' if sampler.replacement else 'without'} replacement"
        return Sampling(True, sampler.weights, sampler.num_samples / size, sampler.replacement, words)
    is_whole = type(sampler) is RandomSampler and not sampler.replacement and len(sampler) == len(sampler.data_source)
    if is_whole or type(sampler) is SequentialSampler:
        return SHUFFLED if is_whole else IN_ORDER
    raise UsageError(
        f"{label} is a DataLoader with a {type(sampler).__name__}, which cannot be asked for the batch at a position: "
        "leave the sampler out (shuffle=True draws by the run's seed), or give a WeightedRandomSampler"
    )


def _joined(parts: list[torch.Tensor | None]) -> torch.Tensor | None:
    """Return the targets of all parts, where all are known and of one shape."""
    found = [part for part in parts if part is not None]
    if len(found) < len(parts) or len({part.shape[1:] for part in found}) > 1:
        return None
    return torch.cat(found)


def _labels(source: Any, size: int, parts: BatchParts) -> torch.Tensor | None:
    """Return integers for each example, where a data set has them: by `targets` or `labels`, or among its tensors."""
    if isinstance(source, torch.utils.data.Subset):
        inner = _labels(source.dataset, len(source.dataset), parts)  # type: ignore[arg-type] (it has a length)
        return None if inner is None else inner[torch.as_tensor(source.indices)]
    said = _said(source, "targets", "labels")
    if isinstance(source, TensorDataset | StackDataset):
        columns = source.tensors if isinstance(source, TensorDataset) else source.datasets
        with contextlib.suppress(ArgumentsError):  # nothing says which it is: the first batch is told so
            said = unweighted(parts(columns).targets)
    if said is None or isinstance(said, str):
        return None
    try:
        found = torch.as_tensor(said)
    except (TypeError, ValueError, RuntimeError):  # no numbers: names, boxes
        return None
    is_label = found.dim() > 0 and not found.is_floating_point() and not found.is_complex() and len(found) == size
    return found.to(torch.int64) if is_label and found.dtype != torch.bool else None


def _class_names(source: Any) -> tuple[str, ...]:
    said = _said(source, "class_names", "classes")
    return tuple(map(str, said)) if isinstance(said, list | tuple) else ()


def _number(source: Any, *names: str) -> int | None:
    said = _said(source, *names)
    return said if isinstance(said, int) and not isinstance(said, bool) else None


def _said(source: Any, *names: str) -> Any:
    """Return the first of some attributes that a data set has, or the one that a Subset is of; None for none."""
    while isinstance(source, torch.utils.data.Subset):
        source = source.dataset
    return next((getattr(source, name) for name in names if hasattr(source, name)), None)

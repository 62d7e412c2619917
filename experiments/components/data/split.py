"""Training, validation and test parts: disjoint, seeded, stratified by class."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from ...errors import ArgumentsError, DataError
from ...system import rng
from .dataset import Dataset
from .fitted import Fitted
from .loaded import LoadedData
from .part import Part
from .stream_data import AnyData, StreamData, StreamPart


@dataclass(frozen=True, eq=False, kw_only=True)
class Splits:
    """The parts of a data set; `val` and `test` are None where none was asked for.

    Args:
        train: fitted to.
        val: looked at while training.
        test: looked at in the end.
        dataset: what the parts are of, standardised where it asks for it.
        fitted: what was taken from the training rows for that.
        notes: what is odd about the training rows.
    """

    train: Part
    val: Part | None = None
    test: Part | None = None
    dataset: AnyData
    fitted: Fitted = field(default_factory=Fitted)
    notes: tuple[str, ...] = ()

    def sizes(self) -> dict[str, int | None]:
        """Return the number of examples by part; None for a stream of which nobody knows it."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {
            name: part.data.num_examples if isinstance(part, StreamPart) else len(part)
            for name, part in parts.items()
            if part is not None
        }

    def __str__(self) -> str:
        return ", ".join(f"{'a stream to' if size is None else size} {name}" for name, size in self.sizes().items())


def split(
    dataset: AnyData,
    *,
    val: float = 0.2,
    test: float = 0.2,
    split_seed: int = 0,
    subset: int | None = None,
    fitted: Fitted | None = None,
) -> Splits:
    """Split a data set at random, each class in proportion; standardise it by its training rows if it asks for it.

    All parts are stretches of one order of the examples, in which every stretch has the classes in proportion up to
    one or two examples. So another `val` leaves the test part as it is, and a small subset is part of a larger one.
    A stream is not split: its parts come with it.
    A part that comes with the data (`dataset.splits`) is used as it is, and its fraction is not looked at.
    Data whose order matters (`dataset.in_order`) is cut into stretches: training first, then validation, test last.

    Args:
        dataset: what to split.
        val: the fraction of all examples (of the rest, if the test part comes with the data) for validation.
        test: the fraction of all examples for testing.
        split_seed: of the order; apart from the run's seed, so that runs of different seeds share their test part.
        subset: at most this many training examples.
        fitted: what was fitted before, and serves again; what it lacks is fitted to the training rows.

    Raises:
        UsageError: the fractions leave nothing for training or for a part that was asked for.
        DataError: the parts that come with the data overlap, or it cannot be standardised.
    """
    if isinstance(dataset, StreamData):
        return Splits(**dataset.split(val, test, subset), dataset=dataset)
    positions = _positions(dataset, val, test, split_seed, subset)
    fitted = Fitted() if fitted is None else fitted
    notes: tuple[str, ...] = ()
    if isinstance(dataset, Dataset):  # nothing is fitted to examples that are made when they are asked for
        notes = tuple(fitted.flattened(dataset, positions["train"]))
        fitted = fitted.completed(dataset, positions["train"])
        dataset = fitted.applied(dataset)
    parts = {name: dataset.part(chosen) for name, chosen in positions.items()}
    return Splits(**parts, dataset=dataset, fitted=fitted, notes=notes)


def _positions(
    dataset: Dataset | LoadedData, val: float, test: float, split_seed: int, subset: int | None
) -> dict[str, torch.Tensor]:
    """Return where the examples of each part are in the data set, in its order."""
    own = dict(dataset.splits)
    if len(torch.cat([torch.empty(0, dtype=torch.int64), *own.values()]).unique()) != sum(map(len, own.values())):
        raise DataError("the parts that come with the data overlap")
    taken = torch.zeros(len(dataset), dtype=torch.bool)
    for name in own:
        if name != "train":
            taken[own[name]] = True
    rest = own["train"] if "train" in own else (~taken).nonzero()[:, 0]
    if dataset.in_order:
        rest = rest.flip(0)  # what is taken first comes last
    else:
        targets = rest if dataset.targets is None else dataset.targets[rest]
        has_class = dataset.task == "classes" and dataset.targets is not None and targets.dim() == 1
        rest = rest[stratified_order(targets, has_class, split_seed)]
    total, parts = len(rest), {}
    for name, fraction in (("test", test), ("val", val)):
        if name in own:
            parts[name] = own[name]
        elif fraction:
            size = _size(name, fraction, total)
            parts[name], rest = rest[:size], rest[size:]
    if not len(rest):
        raise ArgumentsError(
            f"val {val} and test {test} leave none of the {total} examples for training", "val", "test"
        )
    if subset is not None and not 1 <= subset <= len(rest):
        message = f"subset must be 1 to {len(rest)}, the size of the training part, got {subset}"
        raise ArgumentsError(message, "subset", "val", "test")
    parts["train"] = rest[-subset:] if dataset.in_order and subset else rest[:subset]
    # The order of the data: which example comes when is for Batches to say.
    return {name: positions.sort().values for name, positions in parts.items()}


def _size(name: str, fraction: float, total: int) -> int:
    if not 0 <= fraction < 1:
        raise ArgumentsError(f"{name} must be a fraction, at least 0 and below 1, got {fraction!r}", name)
    size = round(fraction * total)
    if not size:
        raise ArgumentsError(f"{name} {fraction} of {total} examples is not one example", name)
    return size


def stratified_order(targets: torch.Tensor, is_classes: bool, seed: int) -> torch.Tensor:
    """Return a random order of the examples in which each stretch holds the classes in proportion.

    Each class is put in random order and spread evenly over the unit interval: example i of n in its class goes to
    (i + 1/2) / n; ties are broken at random. Values have no classes, and any order serves.
    """
    generator = rng.generator(seed, "split")
    shuffled = torch.randperm(len(targets), generator=generator)
    if not is_classes:
        return shuffled
    place = torch.empty(len(targets), dtype=torch.float64)
    for number in targets.unique():
        members = shuffled[targets[shuffled] == number]
        place[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
    return shuffled[place[shuffled].argsort(stable=True)]

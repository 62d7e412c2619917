"""Targets that a loss or metric cannot take: which of them, why, and the way out, told before it fails on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..components.data.tree import entries
from ..registry.calls import described

_SEVERAL = "say which of them is meant by `target`, as in `{name: cross_entropy, target: class}`"


@dataclass(frozen=True)
class Misfit:
    """What is wrong with the targets of some examples.

    Args:
        what: they have, in words: `the label 255, at (3, 7)`.
        wanted: what is taken, in words: `class numbers from 0 to 20`.
        hint: the way out.
        row: of the first that is wrong, among these examples; None where all of them are.
        label: its class number, where that is what is wrong.
    """

    what: str
    wanted: str
    hint: str
    row: int | None = None
    label: int | None = None


def of_classes(targets: Any, num_classes: int, sizes: tuple[int, ...] | None, ignored: int | None) -> Misfit | None:
    """Return what keeps targets from being compared with the scores of classes; None where they fit.

    Args:
        targets: of some examples.
        num_classes: for which there are scores.
        sizes: of the scores beside examples and classes, such as (height, width); None for any.
        ignored: the class number that does not count; None for none.
    """
    wanted = f"class numbers from 0 to {num_classes - 1}"
    if not isinstance(targets, Tensor):
        return _no_tensor(
            targets, wanted, "number the classes from 0, and give the number (int64) in place of the text"
        )
    if targets.is_floating_point() or targets.is_complex():
        if targets.shape[1:] == (num_classes, *(sizes or ())):
            return None  # probabilities
        return _of_type(
            targets, f"{wanted}, as integers", "int64: `.long()`; what is no class has other losses, as mse"
        )
    if targets.dtype != torch.int64 and not (targets.dtype == torch.uint8 and targets.dim() == 1):
        return _of_type(targets, f"{wanted}, as int64", "int64: `.long()`")
    if sizes is not None and targets.shape[1:] != sizes and targets.dim() > 1:
        return _of_shape(targets, num_classes, sizes, wanted)
    return _out_of_range(targets, num_classes, ignored, wanted)


def of_values(targets: Any, limits: tuple[float, float] | None) -> Misfit | None:
    """Return what keeps targets from being compared with values; None where they fit, up to their shape.

    Args:
        targets: of some examples.
        limits: the least and the largest that there may be.
    """
    wanted = "numbers" if limits is None else f"numbers from {limits[0]:g} to {limits[1]:g}"
    if not isinstance(targets, Tensor):
        return _no_tensor(targets, wanted, "give numbers in its place; classes have the loss cross_entropy")
    if targets.is_complex() or targets.dtype == torch.bool or (limits is not None and not targets.is_floating_point()):
        return _of_type(targets, f"{wanted}, in floating point", "`.float()`")
    if limits is None:
        return None
    wrong = (targets < limits[0]) | (targets > limits[1])
    if not bool(wrong.any()):
        return None
    row, place, value = _first(targets, wrong)
    return Misfit(f"the target {value:g}{place}", wanted, "scale the targets, or choose another loss, such as mse", row)


def first_out_of_range(labels: Tensor, num_classes: int, ignored: int | None) -> Tensor:
    """Return the rows of labels, int64, of which one is no class number and not ignored, int64, in order."""
    found = [
        start + _wrong(rows, num_classes, ignored).flatten(1).any(1).nonzero()[:, 0]
        for start, rows in _pieces(labels.reshape(len(labels), -1))
    ]
    return torch.cat(found)


def _pieces(labels: Tensor, size: int = 1 << 22) -> list[tuple[int, Tensor]]:
    step = max(1, size // max(1, labels.shape[1]))
    return [(start, labels[start : start + step]) for start in range(0, len(labels), step)]


def _wrong(targets: Tensor, num_classes: int, ignored: int | None) -> Tensor:
    wrong = (targets < 0) | (targets >= num_classes)
    return wrong if ignored is None else wrong & (targets != ignored)


def _out_of_range(targets: Tensor, num_classes: int, ignored: int | None, wanted: str) -> Misfit | None:
    wrong = _wrong(targets, num_classes, ignored)
    if not bool(wrong.any()):
        return None
    row, place, value = _first(targets, wrong)
    label = int(value)
    known = targets if ignored is None else targets[targets != ignored]
    is_from_1 = int(known.min()) >= 1 and int(known.max()) == num_classes
    ways = ["labels begin at 1: subtract 1 from each"] if is_from_1 else []
    if label >= num_classes and label != 255:
        ways.append(f"where {label} is a class: model.num_outputs: {label + 1}")
    ways.append(
        f"where {label} stands for nothing to learn: ignore_index: {label}, of the data set or of loss and metrics"
    )
    also = "" if ignored is None else f", and ignores {ignored}"
    return Misfit(f"the label {label}{place}", wanted + also, "; ".join(ways), row, label)


def _first(targets: Tensor, wrong: Tensor) -> tuple[int, str, float]:
    """Return row, place in it and value of the first target that is wrong."""
    position = wrong.nonzero()[0].tolist()
    place = f" at {tuple(position[1:])}" if len(position) > 2 else f" at {position[1]}" if len(position) > 1 else ""
    return position[0], place, targets[tuple(position)].item()


def _no_tensor(targets: Any, wanted: str, way: str) -> Misfit:
    if isinstance(targets, list | tuple) and targets and isinstance(targets[0], str):
        return Misfit(f"the text {targets[0][:40]!r} as its target", wanted, way, row=0)
    if entries(targets) or isinstance(targets, list | tuple):
        return Misfit(f"{described(targets)} for targets", f"one tensor of {wanted}", _SEVERAL)
    return Misfit(f"{described(targets)} for targets", f"one tensor of {wanted}", "let each example have one")


def _of_type(targets: Tensor, wanted: str, way: str) -> Misfit:
    kind = str(targets.dtype).removeprefix("torch.")
    example = f", such as {targets.flatten()[0].item()}" if targets.numel() else ""
    return Misfit(f"targets of type {kind}{example}", wanted, way)


def _of_shape(targets: Tensor, num_classes: int, sizes: tuple[int, ...], wanted: str) -> Misfit:
    own = tuple(targets.shape[1:])
    expected = f"{wanted}, of shape ({', '.join(map(str, ('examples', *sizes)))}{',' if not sizes else ''})"
    found = f"targets of shape ({', '.join(map(str, ('examples', *own)))})"
    if own == (1, *sizes) or own == (*sizes, 1):
        way = f"leave out the dimension of 1: `.squeeze({1 if own[0] == 1 else -1})`"
    elif own in ((num_classes, *sizes), (*sizes, num_classes)):
        way = f"of one-hot targets, their numbers: `.argmax({1 if own[0] == num_classes else -1})`"
    elif len(own) == len(sizes):
        way = "bring the targets to the size of the outputs (by nearest neighbour), or the outputs to theirs"
    else:
        way = "one class number for each score that is to be compared"
    return Misfit(found, expected, way)

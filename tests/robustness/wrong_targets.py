"""Data sets whose targets are wrong, in every way and in every place that there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, TensorDataset

from optrun.experiments import Dataset as InMemory

NUM, CLASSES, SIDE = 40, 3, 4
DRAW = torch.Generator().manual_seed(0)
FLAT = torch.randn(NUM, 4, generator=DRAW)
PICTURES = torch.randn(NUM, 1, SIDE, SIDE, generator=DRAW)
LABELS = {"flat": FLAT[:, :CLASSES].argmax(1), "pictures": (PICTURES[:, 0] > 0).long() + (PICTURES[:, 0] > 1).long()}
INPUTS = {"flat": FLAT, "pictures": PICTURES}
EVERY = 1, 2  # examples that are wrong: all, each second


def _one_in_two(labels: torch.Tensor, value: int) -> torch.Tensor:
    changed = labels.clone()
    changed[1::2] = value
    return changed


#: What becomes of right labels; None for what is no tensor.
KINDS: dict[str, Any] = {
    "too large": lambda labels: _one_in_two(labels, CLASSES),
    "255": lambda labels: _one_in_two(labels, 255),
    "negative": lambda labels: _one_in_two(labels, -1),
    "from 1": lambda labels: labels + 1,
    "floats": lambda labels: labels.float(),
    "doubles": lambda labels: labels.double(),
    "int32": lambda labels: labels.int(),
    "yes and no": lambda labels: labels > 0,
    "one-hot numbers": lambda labels: torch.nn.functional.one_hot(labels, CLASSES).movedim(-1, 1),
    "one dimension more": lambda labels: labels[:, None],
    "another size": lambda labels: labels.repeat_interleave(2, -1) if labels.dim() > 1 else None,
    "texts": lambda labels: ["abc"[int(each.flatten()[0])] for each in labels],
    "missing": lambda labels: [None] * len(labels),
    "mappings": lambda labels: [{"class": each} for each in labels],
}


class Own(Dataset[Any]):
    """Makes its examples one by one, and says nothing of their targets."""

    num_outputs = CLASSES

    def __init__(self, kind: str, inputs: str = "flat"):
        self.inputs, self._wrong = INPUTS[inputs], KINDS[kind](LABELS[inputs])

    def __len__(self) -> int:
        return NUM

    def __getitem__(self, row: int) -> tuple[torch.Tensor, Any]:
        return self.inputs[row], self._wrong[row]


def tensors(kind: str, inputs: str = "flat") -> Any:
    return TensorDataset(INPUTS[inputs], KINDS[kind](LABELS[inputs]))


def in_memory(kind: str, inputs: str = "flat") -> Any:
    return InMemory(INPUTS[inputs], KINDS[kind](LABELS[inputs]), "classes", CLASSES)


class Late(Dataset[Any]):
    """Has one wrong label, at an example that no trial looks at."""

    num_outputs = CLASSES

    def __init__(self, row: int):
        self.row = row

    def __len__(self) -> int:
        return NUM

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return FLAT[row], 7 if row == self.row else int(LABELS["flat"][row])


class Mapped(Late):
    """Has labels that it makes class numbers of when an example is made, as a target transform does."""

    targets = (LABELS["flat"] + 1) * 10

    def __init__(self) -> None:
        super().__init__(-1)


def listed() -> Any:
    """Return labels in memory of which one is wrong."""
    return TensorDataset(FLAT, torch.where(torch.arange(NUM) == 7, 99, LABELS["flat"]))


class Pixels(torch.nn.Conv2d):
    def __init__(self, num_outputs: int):
        super().__init__(1, num_outputs, 1)


HERE = str(Path(__file__))


class Ignoring(Own):
    """Says itself that 255 is no class."""

    ignore_index = 255

    def __init__(self) -> None:
        super().__init__("255")

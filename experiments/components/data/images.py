"""Public data sets of small images: CIFAR-10, CIFAR-100, MNIST, Fashion-MNIST; downloaded once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from ...system import downloads
from ...system.public_files import PUBLIC_SETS
from . import register_data
from .archives import read_cifar_rows, read_idx
from .dataset import Dataset
from .decoded import Decoded, decoded_once
from .stored import Pixels

Scaling = Literal["standard", "unit", "raw"]

_FASHION: tuple[str, ...] = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


@register_data("cifar10", source="Krizhevsky, 2009, https://www.cs.toronto.edu/~kriz/cifar.html", public="cifar10")
def cifar10(scaling: Scaling = "standard") -> Dataset:
    """60,000 colour photographs of 32x32 pixels, in 10 classes; a download of 170 MB.

        standard: (p / 255 - mean) / std   unit: p / 255   raw: p   (pixels p from 0 to 255)

    It comes with its test part of 10,000. In memory a pixel is one byte.

    Args:
        scaling: `standard` for mean 0 and standard deviation 1 of each channel over the training part.

    Raises:
        DataError: it cannot be downloaded, or is not the published file.
        StorageError: there is no room for it.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    """
    return _dataset("cifar10", scaling, 0, "60,000 photographs, 32x32 pixels, 10 classes (Krizhevsky, 2009)")


@register_data("cifar100", source="Krizhevsky, 2009, https://www.cs.toronto.edu/~kriz/cifar.html", public="cifar100")
def cifar100(scaling: Scaling = "standard", labels: Literal["fine", "coarse"] = "fine") -> Dataset:
    """60,000 colour photographs of 32x32 pixels, in 100 classes or 20 groups of them; a download of 169 MB.

        standard: (p / 255 - mean) / std   unit: p / 255   raw: p   (pixels p from 0 to 255)

    It comes with its test part of 10,000. In memory a pixel is one byte.

    Args:
        scaling: `standard` for mean 0 and standard deviation 1 of each channel over the training part.
        labels: `fine` for the 100 classes, `coarse` for the 20 groups.

    Raises:
        DataError: it cannot be downloaded, or is not the published file.
        StorageError: there is no room for it.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    """
    number = 20 if labels == "coarse" else 100
    description = f"60,000 photographs, 32x32 pixels, {number} classes (Krizhevsky, 2009)"
    return _dataset("cifar100", scaling, int(labels == "fine"), description)


@register_data("mnist", source="LeCun, Cortes and Burges, 1998, http://yann.lecun.com/exdb/mnist/", public="mnist")
def mnist(scaling: Scaling = "standard") -> Dataset:
    """70,000 handwritten digits of 28x28 pixels, in 10 classes; a download of 12 MB.

        standard: (p / 255 - mean) / std   unit: p / 255   raw: p   (pixels p from 0 to 255)

    It comes with its test part of 10,000. In memory a pixel is one byte.

    Args:
        scaling: `standard` for mean 0 and standard deviation 1 over the training part.

    Raises:
        DataError: it cannot be downloaded, or is not the published one.
        StorageError: there is no room for it.

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.
    """
    return _dataset("mnist", scaling, 0, "70,000 handwritten digits, 28x28 pixels, 10 classes (LeCun et al., 1998)")


@register_data("fashion_mnist", source="Xiao, Rasul and Vollgraf, 2017, arXiv:1708.07747", public="fashion_mnist")
def fashion_mnist(scaling: Scaling = "standard") -> Dataset:
    """70,000 pictures of clothes, 28x28 pixels, in 10 classes; a download of 31 MB.

        standard: (p / 255 - mean) / std   unit: p / 255   raw: p   (pixels p from 0 to 255)

    It comes with its test part of 10,000. In memory a pixel is one byte.

    Args:
        scaling: `standard` for mean 0 and standard deviation 1 over the training part.

    Raises:
        DataError: it cannot be downloaded, or is not the published one.
        StorageError: there is no room for it.

    Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms", 2017.
    """
    return _dataset("fashion_mnist", scaling, 0, "70,000 pictures of clothes, 28x28 pixels, 10 classes (Zalando, 2017)")


def _dataset(name: str, scaling: Scaling, column: int, description: str) -> Dataset:
    """Make the data set of decoded images, with one of the columns of its labels as classes."""
    found = decoded_once(name, [file.sha256 for file in PUBLIC_SETS[name].files], lambda: _decode(name))
    images = torch.from_numpy(found.images)
    standard = Pixels(found.mean, found.std)
    targets = torch.from_numpy(found.labels[:, column].astype(np.int64))
    return Dataset(
        images,
        targets,
        "classes",
        num_outputs=len(found.class_names[column]),
        class_names=tuple(found.class_names[column]),
        description=description,
        splits={"train": torch.arange(found.num_train), "test": torch.arange(found.num_train, len(images))},
        decode={"standard": standard, "unit": Pixels(), "raw": Pixels(raw=True)}[scaling],
    )


def _decode(name: str) -> Decoded:
    """Read the published files, after fetching and verifying them."""
    paths = [downloads.fetch(file) for file in PUBLIC_SETS[name].files]
    return _decode_cifar(paths[0], name) if name.startswith("cifar") else _decode_idx(paths, name)


def _decode_cifar(path: Path, name: str, num_rows: int | None = None) -> Decoded:
    """Read one of the CIFARs; `num_rows` in each of its files, for tests, where it is not the published one."""
    if name == "cifar10":
        parts = [f"data_batch_{number}.bin" for number in range(1, 6)], ["test_batch.bin"]
        rows, num_labels, texts = num_rows or 10_000, 1, ["batches.meta.txt"]
        images, labels, lines = read_cifar_rows(path, [*parts[0], *parts[1]], rows, num_labels, texts)
        num_train = 5 * rows
    else:
        texts = ["coarse_label_names.txt", "fine_label_names.txt"]
        train = read_cifar_rows(path, ["train.bin"], num_rows or 50_000, 2, texts)
        test = read_cifar_rows(path, ["test.bin"], num_rows or 10_000, 2, [])
        images, labels = np.concatenate([train[0], test[0]]), np.concatenate([train[1], test[1]])
        num_train, lines = len(train[0]), train[2]
    return Decoded.of(images, labels, num_train, [lines[text] for text in texts])


def _decode_idx(paths: list[Path], name: str, num_train: int = 60_000, num_test: int = 10_000) -> Decoded:
    images = [read_idx(path, (num, 28, 28)) for path, num in zip(paths[::2], (num_train, num_test), strict=True)]
    labels = [read_idx(path, (num,)) for path, num in zip(paths[1::2], (num_train, num_test), strict=True)]
    names = list(_FASHION) if name == "fashion_mnist" else list("0123456789")
    return Decoded.of(np.concatenate(images)[:, None], np.concatenate(labels)[:, None], num_train, [names])

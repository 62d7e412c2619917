"""Public data files: where each is, how large, and the SHA-256 that it must have. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PublicFile:
    """One file of a public data set.

    Args:
        folder: of its data set, below the data folder; files of several sets have the same name.
        name: of the file, as its publishers call it.
        size: in bytes.
        sha256: of the content.
        urls: where it is published, tried in turn.
    """

    folder: str
    name: str
    size: int
    sha256: str
    urls: tuple[str, ...]


@dataclass(frozen=True)
class PublicSet:
    """The files of one public data set, and the terms on which they are published."""

    files: tuple[PublicFile, ...]
    licence: str


def _cifar(number: int, size: int, sha256: str) -> PublicSet:
    name = f"cifar-{number}-binary.tar.gz"
    url = f"https://www.cs.toronto.edu/~kriz/{name}"
    return PublicSet((PublicFile(f"cifar{number}", name, size, sha256, (url,)),), "none stated; the report is cited")


def _idx(folder: str, base: str, licence: str, files: Mapping[str, tuple[int, str]]) -> PublicSet:
    return PublicSet(
        tuple(
            PublicFile(folder, f"{name}-ubyte.gz", size, sha256, (f"{base}{name}-ubyte.gz",))
            for name, (size, sha256) in files.items()
        ),
        licence,
    )


# Sizes and hashes: the checksum tables of TensorFlow Datasets (url_checksums/{cifar10,cifar100,mnist,fashion_mnist}).
PUBLIC_SETS: dict[str, PublicSet] = {
    "cifar10": _cifar(10, 170052171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
    "cifar100": _cifar(100, 168513733, "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),
    "mnist": _idx(
        "mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "CC BY-SA 3.0",
        {
            "train-images-idx3": (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            "train-labels-idx1": (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            "t10k-images-idx3": (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            "t10k-labels-idx1": (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        },
    ),
    "fashion_mnist": _idx(
        "fashion_mnist",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "MIT",
        {
            "train-images-idx3": (26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            "train-labels-idx1": (29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            "t10k-images-idx3": (4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            "t10k-labels-idx1": (5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        },
    ),
}

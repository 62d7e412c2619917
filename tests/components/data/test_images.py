"""CIFAR and MNIST in their published forms, made small, from a server on this machine; hostile and damaged archives."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from optrun.experiments import Batches
from optrun.experiments.components.data import Stored, images, make_data, split
from optrun.experiments.components.data.archives import read_idx, read_members
from optrun.experiments.errors import DataError, UsageError
from optrun.experiments.system import downloads
from optrun.experiments.system.public_files import PUBLIC_SETS

from .server import CLASSES_10, Server, cifar_rows, idx_of, publish, publish_cifar10, serving, small, tar_of


@pytest.fixture(autouse=True)
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OPTRUN_DATA_DIR", str(tmp_path / "data"))
    with serving() as state:
        yield state


@pytest.fixture
def cifar10(monkeypatch: pytest.MonkeyPatch, server: Server) -> list[np.ndarray]:
    return publish_cifar10(monkeypatch, server)


def test_cifar10_is_read_row_by_row(cifar10: list[np.ndarray]) -> None:
    dataset = make_data("cifar10", scaling="raw")
    assert dataset.inputs.dtype == torch.uint8, "a pixel stays one byte"
    assert dataset.class_names == tuple(CLASSES_10)
    for index, row in enumerate(np.concatenate(cifar10)):
        assert int(dataset.targets[index]) == row[0]
        for channel in range(3):
            plane = row[1 + 1024 * channel : 1025 + 1024 * channel]
            assert dataset.inputs[index, channel].flatten().tolist() == plane.tolist()
    splits = split(dataset, val=0.25)
    assert splits.sizes() == {"train": 15, "val": 5, "test": 4}
    assert splits.test is not None
    assert splits.test.positions.tolist() == [20, 21, 22, 23]
    assert splits.test.inputs[:].tolist() == dataset.inputs[20:].float().tolist()


def test_scalings_become_true_in_each_batch(cifar10: list[np.ndarray]) -> None:
    pixels = np.concatenate(cifar10)[:, 1:].reshape(-1, 3, 32, 32) / 255
    mean, std = pixels[:20].mean((0, 2, 3), keepdims=True), pixels[:20].std((0, 2, 3), keepdims=True)
    expected = {"standard": (pixels - mean) / std, "unit": pixels, "raw": pixels * 255}
    for scaling, numbers in expected.items():
        splits = split(make_data("cifar10", scaling=scaling), val=0)
        batches = Batches(splits.train.inputs, splits.train.targets, batch_size=8)
        batch = batches.batch(0)
        assert batch.inputs.dtype == torch.float32
        torch.testing.assert_close(
            batch.inputs.double(), torch.tensor(numbers)[batches.order(0)[:8]], atol=1e-5, rtol=0
        )


def test_decoded_images_are_kept_verified_and_made_again(
    cifar10: list[np.ndarray], server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_data("cifar10")
    kept = downloads.data_dir() / "cifar10" / "decoded.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(images, "_decode", lambda name: pytest.fail("decoded again"))
        second = make_data("cifar10")
    assert second.inputs.equal(first.inputs)
    assert second.targets.equal(first.targets)
    assert second.decode == first.decode
    assert second.class_names == first.class_names
    for damage in (lambda all_bytes: all_bytes[:-5], lambda all_bytes: all_bytes[:-5] + b"abcde", lambda _: b""):
        kept.write_bytes(damage(kept.read_bytes()))
        assert make_data("cifar10").inputs.equal(first.inputs)
        assert "is damaged: decoding the images again" in caplog.text
        caplog.clear()
    assert len(server.asked) == 1


def test_a_folder_that_cannot_be_written_serves_all_the_same(
    cifar10: list[np.ndarray], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from optrun.experiments.system import storage

    expected = make_data("cifar10").inputs
    (downloads.data_dir() / "cifar10" / "decoded.safetensors").unlink()

    def refuse(*args: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(storage.system, "open", refuse, raising=False)
    assert make_data("cifar10").inputs.equal(expected)
    assert "not kept, and will be decoded each time" in caplog.text


def test_cifar100_has_two_labels(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    rows = [cifar_rows(6, 2, 20, seed) for seed in range(2)]
    coarse, fine = [f"group_{number}" for number in range(20)], [f"class_{number}" for number in range(100)]
    members = {"train.bin": rows[0].tobytes(), "test.bin": rows[1].tobytes()}
    members |= {"coarse_label_names.txt": "\n".join(coarse).encode(), "fine_label_names.txt": "\n".join(fine).encode()}
    publish(monkeypatch, server, "cifar100", {"cifar-100-binary.tar.gz": tar_of(members, "cifar-100-binary")})
    small(monkeypatch, "_decode_cifar", num_rows=6)
    by_class, by_group = make_data("cifar100"), make_data("cifar100", labels="coarse")
    both = np.concatenate(rows)
    assert by_group.targets.tolist() == both[:, 0].tolist()
    assert by_class.targets.tolist() == both[:, 1].tolist()
    assert (by_class.num_outputs, by_group.num_outputs) == (100, 20)
    assert by_class.class_names[99] == "class_99"
    assert by_class.inputs.flatten(1).tolist() == both[:, 2:].tolist()


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnist_is_read_from_idx(name: str, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    generator = np.random.default_rng(1)
    arrays = {
        "train-images-idx3-ubyte.gz": generator.integers(0, 256, (5, 28, 28), dtype=np.uint8),
        "train-labels-idx1-ubyte.gz": np.array([0, 9, 2, 3, 4], dtype=np.uint8),
        "t10k-images-idx3-ubyte.gz": generator.integers(0, 256, (2, 28, 28), dtype=np.uint8),
        "t10k-labels-idx1-ubyte.gz": np.array([7, 8], dtype=np.uint8),
    }
    publish(monkeypatch, server, name, {file: idx_of(array) for file, array in arrays.items()})
    small(monkeypatch, "_decode_idx", num_train=5, num_test=2)
    dataset = make_data(name, scaling="unit")
    assert dataset.targets.tolist() == [0, 9, 2, 3, 4, 7, 8]
    assert dataset.inputs[:5, 0].tolist() == arrays["train-images-idx3-ubyte.gz"].tolist()
    assert split(dataset, val=0.2).sizes() == {"train": 4, "val": 1, "test": 2}
    assert dataset.class_names[9] == ("ankle boot" if name == "fashion_mnist" else "9")


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "fashion_mnist"])
def test_without_the_network_it_says_what_to_put_where(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTRUN_OFFLINE", "1")
    file = PUBLIC_SETS[name].files[0]
    with pytest.raises(DataError) as caught:
        make_data(name)
    for fact in (file.name, file.urls[0], file.sha256, str(downloads.path_of(file))):
        assert fact in str(caught.value)
    with pytest.raises(UsageError, match="scaling must be standard or unit or raw, got 'big'"):
        make_data(name, scaling="big")


def odd(name: str, kind: bytes, size: int = 0, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (odd("../../data.bin", tarfile.SYMTYPE, link="/etc/passwd"), "expected data.bin to be one plain file"),
        (odd("x/data.bin", tarfile.LNKTYPE, link="/etc/passwd"), "expected data.bin to be one plain file"),
        (odd("data.bin", tarfile.DIRTYPE), "expected data.bin to be one plain file of 3 bytes, got 0 bytes"),
        (odd("data.bin", tarfile.REGTYPE), "expected data.bin to be one plain file of 3 bytes, got 0 bytes"),
        (odd("other.bin", tarfile.REGTYPE), "has no data.bin"),
    ],
)
def test_hostile_members_are_refused(tmp_path: Path, member: tarfile.TarInfo, message: str) -> None:
    path = tmp_path / "hostile.tar.gz"
    path.write_bytes(tar_of({}, odd=member))
    with pytest.raises(DataError, match=message):
        read_members(path, {"data.bin": 3})


def test_members_are_read_into_memory_alone(tmp_path: Path) -> None:
    path = tmp_path / "archive.tar.gz"
    outside = odd("../../../outside.txt", tarfile.REGTYPE)
    path.write_bytes(tar_of({"data.bin": b"abc", "text.txt": b"hello"}, "/absolute/../..", outside=outside))
    before = set(tmp_path.rglob("*"))
    assert read_members(path, {"data.bin": 3, "text.txt": 0}) == {"data.bin": b"abc", "text.txt": b"hello"}
    assert set(tmp_path.rglob("*")) == before
    path.write_bytes(tar_of({"data.bin": b"abc"}, odd=odd("x/data.bin", tarfile.REGTYPE)))
    with pytest.raises(DataError, match=r"expected data\.bin to be one plain file of 3 bytes"):
        read_members(path, {"data.bin": 3})  # the second of this name
    path.write_bytes(tar_of({"text.txt": b"x" * 70_000}))
    with pytest.raises(DataError, match="of at most 65536 bytes, got 70000"):
        read_members(path, {"text.txt": 0})
    for damaged in (b"", b"not an archive", tar_of({"data.bin": b"abc" * 10_000})[:60]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"cannot be read as a \.tar\.gz archive"):
            read_members(path, {"data.bin": 3})


def test_bad_idx_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    array = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    whole = idx_of(array)
    path.write_bytes(whole)
    assert read_idx(path, (3, 2, 2)).tolist() == array.tolist()
    plain = gzip.decompress(whole)
    bomb = gzip.compress(plain + bytes(1 << 24))
    wrong_type = gzip.compress(b"\0\0\x0d" + plain[3:])
    for content, message in (
        (gzip.compress(plain[:-1]), "got 27 bytes that begin with 00 00 08 03"),
        (bomb, "got more bytes"),
        (wrong_type, "begin with 00 00 0d 03"),
        (idx_of(array.reshape(2, 3, 2)), "expected an IDX file of unsigned bytes of shape"),
        (whole[:-9], "cannot be read as a gzip file"),
        (b"plain", "cannot be read as a gzip file"),
        (whole[:-8] + b"sum!" + whole[-4:], "cannot be read as a gzip file"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_idx(path, (3, 2, 2))


def test_stored_examples_answer_as_tensors_do() -> None:
    numbers = torch.arange(24, dtype=torch.uint8).reshape(6, 2, 2)
    some = Stored(numbers, torch.tensor([4, 1, 2]), [lambda rows: rows.float() / 2])
    expected = numbers[[4, 1, 2]].float() / 2
    assert (len(some), some.shape, some.device) == (3, (3, 2, 2), torch.device("cpu"))
    assert some[:2].equal(expected[:2])
    assert some.index_select(0, torch.tensor([2, 0])).equal(expected[[2, 0]])
    assert some.to("cpu")[:].equal(expected)
    assert some.then(lambda rows: rows + 1)[1:].equal(expected[1:] + 1)
    elsewhere = some.to("meta")
    assert elsewhere.stored.device.type == "meta"
    assert elsewhere.stored.dtype == torch.uint8
    assert len(elsewhere) == 3
    mapped = Stored(numbers, torch.tensor([4, 1, 2]), mapped=True).to("meta")
    assert mapped.stored is numbers, "what is on disk stays there"
    assert mapped[:2].device.type == "meta"

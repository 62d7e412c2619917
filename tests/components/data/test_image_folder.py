"""Pictures in a folder per class: sizes, parts, what is kept, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from optrun.experiments.components.data import image_folder, make_data, split
from optrun.experiments.errors import DataError
from optrun.experiments.system import downloads


@pytest.fixture(autouse=True)
def _own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTRUN_DATA_DIR", str(tmp_path / "data"))


def saved(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)  # type: ignore[arg-type]
    return path


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_pictures_of_the_right_size_are_read_exactly(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    dog, cats = noise(8, 8, 3), [noise(8, 8, 3, seed=seed) for seed in (1, 2)]
    saved(root / "dog" / "1.png", dog)
    for number, cat in enumerate(cats):
        saved(root / "cat" / f"{number}.PNG", cat)
    (root / "cat" / "notes.txt").write_text("ignored")
    (root / ".cache").mkdir()
    dataset = make_data("image_folder", path=str(root), size=8)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.targets.tolist() == [0, 0, 1]
    assert dataset.inputs.dtype == torch.uint8
    for found, pixels in zip(dataset.inputs, [*cats, dog], strict=True):
        assert found.permute(1, 2, 0).tolist() == pixels.tolist()
    assert dataset.splits == {}
    train = split(dataset, val=0, test=0).train.inputs[:]
    torch.testing.assert_close(train, dataset.inputs / 255)


def test_others_are_scaled_and_their_middle_is_cut_out(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    wide = np.zeros((4, 12), np.uint8)
    wide[:, 4:8] = [10, 20, 30, 40]
    saved(root / "a" / "wide.png", wide)
    saved(root / "a" / "wider.png", wide.repeat(3, axis=0).repeat(3, axis=1))
    dataset = make_data("image_folder", path=str(root), size=4, color="gray")
    assert dataset.inputs.shape == (2, 1, 4, 4)
    assert dataset.inputs[0, 0].tolist() == [[10, 20, 30, 40]] * 4
    assert (dataset.inputs[1].int() - dataset.inputs[0].int()).abs().max() <= 4  # what scaling blurs
    upright = Image.fromarray(noise(6, 6, 3))
    exif = upright.getexif()
    exif[0x0112] = 6  # held upright: to be turned by 90 degrees to the right
    (root / "b").mkdir()
    upright.save(root / "b" / "1.png", exif=exif)
    turned = make_data("image_folder", path=str(root), size=6).inputs[2].permute(1, 2, 0)
    assert turned.tolist() == np.rot90(noise(6, 6, 3), -1).tolist()


def test_jpeg_is_read(tmp_path: Path) -> None:
    saved(tmp_path / "pictures" / "a" / "1.jpeg", np.full((64, 80, 3), [200, 100, 50], np.uint8), quality=95)
    pixels = make_data("image_folder", path=str(tmp_path / "pictures"), size=16).inputs[0].float()
    assert (pixels.mean((1, 2)) - torch.tensor([200.0, 100, 50])).abs().max() < 3


def test_parts_that_come_split_stay_split(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    for number in range(4):
        saved(root / "train" / "ab"[number % 2] / f"{number}.png", noise(4, 4, 3, seed=number))
    saved(root / "test" / "b" / "9.png", noise(4, 4, 3))
    dataset = make_data("image_folder", path=str(root), size=4)
    assert dataset.targets.tolist() == [0, 0, 1, 1, 1]
    assert split(dataset, val=0.5).sizes() == {"train": 2, "val": 2, "test": 1}


def test_scaled_pictures_are_kept_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "pictures"
    saved(root / "a" / "1.png", noise(4, 4, 3))
    first = make_data("image_folder", path=str(root), size=4)
    with monkeypatch.context() as patch:
        patch.setattr(image_folder, "_decode", lambda *given: pytest.fail("decoded again"))
        assert make_data("image_folder", path=str(root), size=4).inputs.equal(first.inputs)
    (kept,) = (downloads.data_dir() / "image_folder").glob("*.npy")
    kept.write_bytes(b"damaged")
    assert make_data("image_folder", path=str(root), size=4).inputs.equal(first.inputs)
    saved(root / "a" / "1.png", noise(4, 4, 3, seed=7))
    assert not make_data("image_folder", path=str(root), size=4).inputs.equal(first.inputs)


def test_bad_folders_and_pictures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "pictures"

    def refusal() -> str:
        with pytest.raises(DataError) as caught:
            make_data("image_folder", path=str(root), size=4)
        return str(caught.value)

    assert refusal() == f"no folder {root}"
    root.mkdir()
    assert "expected a folder for each class" in refusal()
    (root / "a").mkdir()
    assert f"{root / 'a'} has no pictures" in refusal()
    saved(root / "a" / "1.png", noise(4, 4, 3))
    whole = (root / "a" / "1.png").read_bytes()
    for damaged in (b"no picture", whole[:40], whole[:60] + b"xxxx" + whole[64:]):
        (root / "a" / "1.png").write_bytes(damaged)
        assert f"{root / 'a' / '1.png'} cannot be read as PNG: " in refusal()
    saved(root / "a" / "1.png", noise(20, 20, 3))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    assert "1.png is too large" in refusal()
    (root / "test").mkdir()
    assert "it has both: a" in refusal()
    (root / "a").rename(root / "val")
    assert "has test and val, but no train" in refusal()


def test_another_picture_of_the_same_size_and_time_is_seen(tmp_path: Path) -> None:
    """What is kept goes by content: a copy that keeps its times, or a clock that stands still, hides nothing."""
    root = tmp_path / "pictures"
    path = saved(root / "cat" / "1.png", noise(8, 8, 3, seed=1), compress_level=0)
    make_data("image_folder", path=str(root), size=8)
    before, other = path.stat(), noise(8, 8, 3, seed=2)
    saved(path, other, compress_level=0)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    found = make_data("image_folder", path=str(root), size=8).inputs[0]
    assert found.permute(1, 2, 0).tolist() == other.tolist()

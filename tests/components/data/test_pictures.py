"""Pictures of every kind that Pillow writes: their numbers, or a refusal by name; nothing vanishes without a word."""

from __future__ import annotations

import itertools
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from optrun.experiments.components.data import BEFORE, make_data, split
from optrun.experiments.components.data.pictures import FORMATS, OTHERS, is_deep, pixels
from optrun.experiments.errors import DataError

RANDOM = np.random.default_rng(0)
MODES = [
    "1",
    "L",
    "P",
    "PA",
    "LA",
    "RGB",
    "RGBA",
    "RGBX",
    "RGBa",
    "La",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "F",
    "I;16",
]
ENDING = {kind: ending for ending, kind in reversed(FORMATS.items())}
OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 100, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}
LOSSY = {"JPEG": 6, "MPO": 6, "AVIF": 6}  # of 255, of smooth pictures


@pytest.fixture(autouse=True)
def _own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTRUN_DATA_DIR", str(tmp_path / "data"))


def picture_of(mode: str) -> Image.Image:
    """Return a smooth picture of a mode, 16 by 16."""
    across, down = np.meshgrid(np.arange(16), np.arange(16))
    bands = np.stack([across * 16, down * 16, 255 - across * 8, 100 + down * 9], -1).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray((across * 4000 + down * 50).astype(np.uint16))
    if mode == "I":
        return Image.fromarray((across * 4000 + down * 50).astype(np.int32))
    if mode == "F":
        return Image.fromarray((across / 15).astype(np.float32))
    if mode in ("P", "PA"):
        return Image.fromarray(bands[..., :3]).quantize(64).convert(mode)
    if mode in ("1", "L"):
        return Image.fromarray(bands[..., 0]).convert(mode)
    if mode == "YCbCr":  # not every one of them is a colour
        return Image.fromarray(bands[..., :3]).convert(mode)
    channels = len(Image.new(mode, (1, 1)).getbands())
    data = np.ascontiguousarray(bands[..., :channels]).tobytes()
    return Image.frombytes(mode, (16, 16), data)


def gray_of(rgb: np.ndarray) -> np.ndarray:
    """Return the luma of ITU-R 601-2."""
    return rgb[..., 0] * 0.299 + rgb[..., 1] * 0.587 + rgb[..., 2] * 0.114


def truth(file: Path) -> np.ndarray | None:
    """Return the colours or grays in a file, 0 to 1, by the definition of its mode; None if that has no white."""
    with Image.open(file) as picture:
        raw, mode = np.asarray(picture).astype(np.float64), picture.mode
        if mode in ("I;16", "I;16B") or (mode == "I" and picture.format in ("PNG", "PPM")):
            return raw / 65535
        if mode == "1":
            return raw
        if mode in ("L", "LA"):
            return (raw[..., 0] if mode == "LA" else raw) / 255
        if mode in ("P", "PA"):
            palette = np.array(picture.getpalette("RGB")).reshape(-1, 3)
            return palette[(raw[..., 0] if mode == "PA" else raw).astype(int)] / 255
        if mode in ("RGB", "RGBA", "RGBX"):
            return raw[..., :3] / 255
        if mode == "CMYK":
            return (255 - raw[..., :3]) * (255 - raw[..., 3:]) / 255**2
        if mode == "YCbCr":  # JFIF, 1992
            y, blue, red = raw[..., 0], raw[..., 1] - 128, raw[..., 2] - 128
            bands = y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue
            return np.stack(bands, -1).clip(0, 255) / 255
        return None


KINDS = sorted(set(FORMATS.values()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_in_every_format_has_its_numbers_or_is_refused(mode: str, kind: str, tmp_path: Path) -> None:
    original, file = picture_of(mode), tmp_path / f"1{ENDING[kind]}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what becomes of a mode while it is written is Pillow's to say
            original.save(file, kind, **OPTIONS.get(kind, {}))
    except (OSError, KeyError, ValueError, SystemError):
        return  # Pillow does not write it
    expected = truth(file)
    if expected is None:
        for color in ("rgb", "gray"):
            with pytest.raises(DataError, match=r"has pixels of Pillow's mode .* of which nothing says what white is"):
                pixels(file, 16, color)  # type: ignore[arg-type]
        return
    colours = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, -1)
    grays = gray_of(expected) if expected.ndim == 3 else expected
    step = 1 if not is_deep(file) else 1 / 257
    for color, right in (("rgb", colours.transpose(2, 0, 1)), ("gray", grays[None])):
        found = pixels(file, 16, color)  # type: ignore[arg-type]
        assert found.dtype == (np.float32 if is_deep(file) else np.uint8)
        numbers = found if is_deep(file) else found / 255
        assert np.abs(numbers - right).max() <= LOSSY.get(kind, step) * 1.01 / 255, color
    if kind not in LOSSY and (mode in ("1", "L", "RGB") or (mode == "I;16" and is_deep(file))):
        written = np.asarray(original).astype(float) / {"1": 1, "I;16": 65535}.get(mode, 255)
        assert np.abs(colours - (written if written.ndim == 3 else written[..., None])).max() < 1 / 255


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("mode", ["L", "RGB", "I;16", "1"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_the_camera_was_held(orientation: int, mode: str, kind: str, tmp_path: Path) -> None:
    if (mode, kind) in (("I;16", "JPEG"), ("1", "JPEG")):
        return
    stored, file = picture_of(mode), tmp_path / f"1{ENDING[kind]}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(file, exif=exif, **OPTIONS.get(kind, {}))
    plain = tmp_path / f"plain{ENDING[kind]}"
    stored.save(plain, **OPTIONS.get(kind, {}))
    found, array = pixels(file, 16, "gray")[0], pixels(plain, 16, "gray")[0]
    turns = [lambda a: a, np.fliplr, lambda a: np.rot90(a, 2), np.flipud, np.transpose, lambda a: np.rot90(a, -1)]
    turns += [lambda a: np.rot90(a, 2).T, np.rot90]
    assert np.abs(found.astype(float) - turns[orientation - 1](array)).max() <= (6 if kind == "JPEG" else 0)


def tiff(bits: int, meaning: int, numbers: list[int]) -> bytes:
    """Return a TIFF of one row of gray pixels: bits for each, and whether 0 is white (0) or black (1)."""
    packed = "".join(f"{number:0{bits}b}" for number in numbers)
    packed += "0" * (-len(packed) % 8)
    data = bytes(int(packed[at : at + 8], 2) for at in range(0, len(packed), 8))
    if bits == 16:
        data = np.array(numbers, "<u2").tobytes()
    tags = [(256, len(numbers)), (257, 1), (258, bits), (259, 1), (262, meaning), (273, 8), (277, 1), (278, 1)]
    tags.append((279, len(data)))
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    padded = data + b"\0" * (len(data) % 2)
    return b"II*\0" + struct.pack("<I", 8 + len(padded)) + padded + directory + struct.pack("<I", 0)


def test_white_of_scientific_pictures(tmp_path: Path) -> None:
    file = tmp_path / "1.tif"
    file.write_bytes(tiff(16, 1, [0, 1000, 32768, 65535]))
    with Image.open(file) as picture:
        assert np.asarray(picture).tolist() == [[0, 1000, 32768, 65535]]
    assert pixels(file, 1, "gray").item() == pytest.approx(1000 / 65535, abs=0.3)
    assert is_deep(file)
    file.write_bytes(tiff(12, 1, [4095]))
    assert pixels(file, 1, "gray").item() == 1.0
    file.write_bytes(tiff(12, 1, [1024]))
    assert pixels(file, 1, "rgb").reshape(-1).tolist() == pytest.approx([1024 / 4095] * 3)
    file.write_bytes(tiff(16, 0, [1000]))
    with pytest.raises(DataError, match="has more than 8 bits, of which 0 is white: save it with 0 for black"):
        pixels(file, 1, "gray")


def test_what_moves_is_refused_by_name(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), shade, np.uint8)) for shade in (0, 100, 200)]
    for ending in (".gif", ".png", ".webp", ".tiff", ".avif"):
        file = tmp_path / f"1{ending}"
        frames[0].save(file, save_all=True, append_images=frames[1:])
        with pytest.raises(DataError, match=rf"1{ending} has several pictures in one, moving or on pages: save"):
            pixels(file, 8, "rgb")
        frames[1].save(file)
        assert np.abs(pixels(file, 8, "rgb").astype(int) - 100).max() <= 3
    frames[1].save(
        tmp_path / "1.mpo", save_all=True, append_images=frames[2:]
    )  # a telephone's, with a small one for its screen
    assert np.abs(pixels(tmp_path / "1.mpo", 8, "rgb").astype(int) - 100).max() <= 3


# ---- folders ---------------------------------------------------------------------------------------------------------


def saved(path: Path, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture_of(mode).save(path)
    return path


@pytest.mark.parametrize("ending", sorted(FORMATS))
def test_every_ending_that_is_known_is_read(ending: str, tmp_path: Path) -> None:
    for name in (f"1{ending}", f"2{ending.upper()}"):
        file = tmp_path / "pictures" / "cat" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        picture_of("L" if FORMATS[ending] == "PPM" else "RGB").save(file, FORMATS[ending])
    assert len(make_data("image_folder", path=str(tmp_path / "pictures"), size=4)) == 2


def test_pictures_of_other_kinds_are_refused_by_count_and_name(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    saved(root / "cat" / "0.png")
    for number, ending in enumerate(sorted(OTHERS)):
        (root / "cat" / f"{number}{ending.upper()}").write_bytes(b"")
    message = rf"cat has {len(OTHERS)} pictures that cannot be read \(0.*, 1.*, 10.*, …\): save them as PNG, or name"
    with pytest.raises(DataError, match=message):
        make_data("image_folder", path=str(root), size=4)
    dataset = make_data("image_folder", path=str(root), size=4, suffixes=(".PNG",))
    assert len(dataset) == 1
    assert f"1 {sorted(OTHERS)[0]}" in dataset.description


def test_what_is_not_read_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "pictures"
    for number, place in enumerate(("cat/1.png", "dog/2.webp", "3.jpg", "dog/more/4.png")):
        saved(root / place, "LA" if number == 1 else "RGB")
    for place in ("cat/notes.txt", "dog/notes.TXT", "cat/README", "cat/.DS_Store", "labels.csv"):
        (root / place).write_text("")
    dataset = make_data("image_folder", path=str(root), size=4)
    told = "1 .jpg beside the folders of classes, 2 .txt, 1 folders within those of classes, 1 without an ending"
    assert dataset.description == f"2 pictures of 2 classes from {root}, 4x4 pixels; not read: {told}"
    assert f"not read: {told}" in caplog.text


def test_one_deep_picture_makes_all_of_them_deep(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    saved(root / "cat" / "1.png", "I;16")
    saved(root / "cat" / "2.png", "L")
    for _ in range(2):  # then as it was kept
        parts = split(make_data("image_folder", path=str(root), size=16, color="gray"), val=0.0, test=0.0)
        found = parts.train.inputs[:].numpy()
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[0, 0], np.asarray(picture_of("I;16")) / 65535, atol=1e-7)
        np.testing.assert_allclose(found[1, 0], np.asarray(picture_of("L")) / 255, atol=1e-7)


def test_scaling_keeps_the_mean_of_a_deep_picture(tmp_path: Path) -> None:
    file = saved(tmp_path / "1.png", "I;16")
    mean = np.asarray(picture_of("I;16")).mean() / 65535
    for size, color in itertools.product((4, 8), ("rgb", "gray")):
        assert pixels(file, size, color).mean() == pytest.approx(mean, rel=1e-3)  # type: ignore[arg-type]


def test_runs_of_before_read_what_they_read(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    for name in ("1.png", "2.JPG", "3.webp"):
        saved(root / "cat" / name)
    (root / "cat" / "4.heic").write_bytes(b"")
    assert len(make_data("image_folder", path=str(root), size=4, fitted=BEFORE)) == 2
    (root / "cat" / "4.heic").unlink()
    dataset = make_data("image_folder", path=str(root), size=4)
    assert len(dataset) == 3
    fitted = split(dataset, val=0.0, test=0.0).fitted
    assert len(make_data("image_folder", path=str(root), size=4, fitted=fitted)) == 3

"""The user's own pictures: a folder per class."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...errors import DataError, StorageError
from ...registry.arguments import Count, DataPath
from ...system import downloads, storage
from ...system.content import folder_sha256
from . import register_data
from .dataset import Dataset
from .pictures import FORMATS, OTHERS, Color, is_deep, pixels
from .stored import Pixels

logger = logging.getLogger("optrun")

_PARTS = ("train", "val", "test")
_VERSION = 2  # of the pixels that are kept
_LISTED = 3  # files that a message names


def _as_before(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments with the pictures that versions read which kept no record."""
    return {"suffixes": (".png", ".jpg", ".jpeg"), **{name: value for name, value in args.items() if value is not None}}


def picture_rows(
    path: str, size: Count = 32, color: Color = "rgb", suffixes: tuple[str, ...] | None = None, **_: Any
) -> Dataset:
    """Return the pictures in a folder and in those below it, or one picture; the arguments are those of `image_folder`.

    Raises:
        DataError: there are none, or one cannot be read.
    """
    root = Path(path).expanduser()
    known = FORMATS if suffixes is None else {suffix.lower() for suffix in suffixes}
    found = sorted(root.rglob("*")) if root.is_dir() else [root] if root.is_file() else []
    files = [each for each in found if each.is_file() and each.suffix.lower() in known and each.name[0] != "."]
    if not files:
        raise DataError(f"{path} has no pictures ({', '.join(sorted(known))})" if found else f"no file {path}")
    folder = root if root.is_dir() else root.parent
    images = _decoded_once(folder, files, size, color)
    return Dataset(
        torch.from_numpy(images),
        torch.zeros(len(files)),
        "none",
        1,
        description=f"{len(files)} pictures from {path}",
        decode=Pixels() if images.dtype == np.uint8 else None,
        names=tuple(each.relative_to(folder).as_posix() for each in files),
    )


@register_data(
    "image_folder",
    source="the layout of ImageNet's training part, Russakovsky et al., 2015",
    example={"path": "pictures"},
    before=_as_before,
    rows=picture_rows,
)
def image_folder(
    path: DataPath,
    size: Count = 32,
    color: Color = "rgb",
    classes: tuple[str, ...] | None = None,
    suffixes: tuple[str, ...] | None = None,
) -> Dataset:
    """Pictures in a folder per class, brought to one size.

        path/cat/1.png  path/dog/1.jpg …     or     path/train/cat/1.png  path/test/cat/2.png …

    The shorter side is scaled to `size`, and the middle is cut out of the longer one. Numbers are from 0 to 1; the
    augmentation `standardise` gives each picture mean 0. Folders `train`, `val` and `test` are the parts; `train` is
    needed with the others. In memory a pixel is one byte, or four where a picture has 16 bits of gray; 16 bits of a
    colour are read at 8, and transparency is left out. The scaled pictures are kept in the data folder
    (OPTRUN_DATA_DIR), and made anew when a file changes.

    Args:
        path: the folder. Classes are numbered in the order of their names; a run keeps them, and refuses a new one.
        size: height and width in pixels.
        color: `rgb` for three channels, `gray` for one.
        classes: their names in the order of their numbers; left out, the names of the folders.
        suffixes: the endings of the files that are read; left out, those of PNG, JPEG, WebP, AVIF, GIF, TIFF, BMP, TGA,
            PPM and JPEG 2000, and other pictures are refused.

    Raises:
        DataError: there are no pictures, or one cannot be read, moves, or has numbers of which no one knows the white.

    Source: the layout in which ImageNet's training part is published: Russakovsky et al., "ImageNet large scale visual
    recognition challenge", 2015.
    """
    root = Path(path).expanduser()
    found = _Found(root, suffixes)
    files, parts = found.files, found.parts
    present = sorted({file.parent.name for file in files})
    classes = tuple(present) if classes is None else classes
    if unknown := [name for name in present if name not in classes]:
        raise DataError(f"{root}: the folder {unknown[0]} is none of the classes {', '.join(classes)}")
    targets = torch.tensor([classes.index(file.parent.name) for file in files])
    images = _decoded_once(root, files, size, color)
    numbers = np.array([_PARTS.index(part) if part else 0 for part in parts])
    splits = {part: torch.from_numpy((numbers == place).nonzero()[0]) for place, part in enumerate(_PARTS)}
    described = f"{len(files)} pictures of {len(classes)} classes from {path}, {size}x{size} pixels"
    if found.left_out:
        logger.warning("%s: not read: %s", root, found.left_out)
    return Dataset(
        torch.from_numpy(images),
        targets,
        "classes",
        len(classes),
        class_names=classes,
        description=f"{described}; not read: {found.left_out}" if found.left_out else described,
        names=tuple(file.relative_to(root).as_posix() for file in files),
        splits={part: places for part, places in splits.items() if len(places)} if parts[0] else {},
        decode=Pixels() if images.dtype == np.uint8 else None,
        learned={"classes": classes, "suffixes": tuple(sorted(suffixes or FORMATS))},
    )


class _Found:
    """The pictures below a folder in order, the part that each is in (empty where there are no parts), and the rest.

    Args:
        root: the folder.
        suffixes: of the files that are read; None for all kinds, and then a picture of another is refused.

    Raises:
        DataError: there are none, or not in the layout.
    """

    def __init__(self, root: Path, suffixes: Collection[str] | None):
        self.files: list[Path] = []
        self.parts: list[str] = []
        self._suffixes, self._rest = suffixes, Counter[str]()
        if not root.is_dir():
            raise DataError(f"no folder {root}")
        names = {folder.name for folder in _folders(root)}
        split = names & set(_PARTS)
        if split and (extra := names - set(_PARTS)):
            raise DataError(
                f"{root}: expected folders of classes, or train, val and test; it has both: {', '.join(sorted(extra))}"
            )
        if split and "train" not in split:
            raise DataError(f"{root} has {' and '.join(sorted(split))}, but no train")
        for part in [part for part in _PARTS if part in split] or [""]:
            self._pass_over(root / part, "beside the folders of classes")
            for folder in _folders(root / part):
                own = self._take(folder)
                self.files += own
                self.parts += [part] * len(own)
        if split:
            self._pass_over(root, "beside the folders of parts")
        if not self.files:
            raise DataError(f"{root}: expected a folder for each class, with pictures ({self._kinds()})")

    @property
    def left_out(self) -> str:
        """Return how many files of which kinds are not read."""
        return ", ".join(f"{count} {what}" for what, count in sorted(self._rest.items()))

    def _take(self, folder: Path) -> list[Path]:
        read = FORMATS if self._suffixes is None else {suffix.lower() for suffix in self._suffixes}
        own, others = [], []
        for each in _visible(folder):
            suffix = each.suffix.lower()
            if each.is_dir():
                self._rest["folders within those of classes"] += 1
            elif suffix in read:
                own.append(each)
            elif suffix in OTHERS and self._suffixes is None:
                others.append(each.name)
            else:
                self._rest[suffix or "without an ending"] += 1
        if others:
            listed = ", ".join(others[:_LISTED]) + (", …" if len(others) > _LISTED else "")
            way_out = "save them as PNG, or name the endings to read by `suffixes`"
            raise DataError(f"{folder} has {len(others)} pictures that cannot be read ({listed}): {way_out}")
        if not own:
            raise DataError(f"{folder} has no pictures ({self._kinds()})")
        return own

    def _pass_over(self, folder: Path, where: str) -> None:
        for each in _visible(folder):
            if not each.is_dir() and each.suffix.lower() in FORMATS.keys() | OTHERS:
                self._rest[f"{each.suffix.lower()} {where}"] += 1

    def _kinds(self) -> str:
        return ", ".join(self._suffixes or FORMATS)


def _visible(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if not each.name.startswith("."))


def _folders(root: Path) -> list[Path]:
    return [each for each in _visible(root) if each.is_dir()]


def _decoded_once(root: Path, files: Sequence[Path], size: int, color: Color) -> np.ndarray:
    """Return all pictures, shape (pictures, channels, size, size), kept under a hash of what they depend on.

    They are uint8 from 0 to 255, or, where one has more than 8 bits, float32 from 0 to 1.
    """
    import PIL

    depends = json.dumps([_VERSION, size, color, PIL.__version__, folder_sha256(root, files)])
    kept = downloads.data_dir() / "image_folder" / f"{hashlib.sha256(depends.encode()).hexdigest()}.npy"
    shape = (len(files), 3 if color == "rgb" else 1, size, size)
    if kept.is_file():
        try:
            images = np.load(kept, allow_pickle=False)
            if images.shape == shape and images.dtype in (np.uint8, np.float32):
                return images
        except (OSError, EOFError, ValueError) as error:
            logger.warning("%s is damaged, and will be made again: %s", kept, error)
    images = _decode(files, shape, color)
    try:
        storage.make_dir(kept.parent, exist_ok=True)
        storage.write_derived(kept, _npy(images))
    except StorageError as error:
        logger.warning("the scaled pictures of %s are not kept, and will be made each time: %s", root, error)
    return images


def _decode(files: Sequence[Path], shape: tuple[int, ...], color: Color) -> np.ndarray:
    deep = [is_deep(file) for file in files]
    images = np.empty(shape, np.float32 if any(deep) else np.uint8)
    for index, file in enumerate(files):
        found = pixels(file, shape[-1], color)
        images[index] = found / np.float32(255) if any(deep) and not deep[index] else found
    return images


def _npy(array: np.ndarray) -> bytes:
    import io

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()

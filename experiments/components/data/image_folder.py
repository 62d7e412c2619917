"""The user's own pictures: a folder per class."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from ...errors import DataError, StorageError
from ...registry.arguments import Count, DataPath
from ...system import downloads, storage
from ...system.content import folder_sha256
from . import register_data
from .dataset import Dataset
from .stored import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger("optrun")

_PARTS = ("train", "val", "test")
_SUFFIXES = (".png", ".jpg", ".jpeg")


@register_data(
    "image_folder",
    source="the layout of ImageNet's training part, Russakovsky et al., 2015",
    example={"path": "pictures"},
)
def image_folder(
    path: DataPath, size: Count = 32, color: Literal["rgb", "gray"] = "rgb", classes: tuple[str, ...] | None = None
) -> Dataset:
    """Pictures in a folder per class, PNG or JPEG, brought to one size.

        path/cat/1.png  path/dog/1.jpg …     or     path/train/cat/1.png  path/test/cat/2.png …

    The shorter side is scaled to `size`, and the middle is cut out of the longer one. Numbers are from 0 to 1; the
    augmentation `standardise` gives each picture mean 0. Folders `train`, `val` and `test` are the parts; `train` is
    needed with the others. In memory a pixel is one byte. The scaled pictures are kept in the data folder
    (OPTRUN_DATA_DIR), and made anew when a file changes.

    Args:
        path: the folder. Classes are numbered in the order of their names; a run keeps them, and refuses a new one.
        size: height and width in pixels.
        color: `rgb` for three channels, `gray` for one.
        classes: their names in the order of their numbers; left out, the names of the folders.

    Raises:
        DataError: there are no pictures, or one cannot be read.

    Source: the layout in which ImageNet's training part is published: Russakovsky et al., "ImageNet large scale visual
    recognition challenge", 2015.
    """
    root = Path(path).expanduser()
    files, parts = _find(root)
    present = sorted({file.parent.name for file in files})
    classes = tuple(present) if classes is None else classes
    if unknown := [name for name in present if name not in classes]:
        raise DataError(f"{root}: the folder {unknown[0]} is none of the classes {', '.join(classes)}")
    targets = torch.tensor([classes.index(file.parent.name) for file in files])
    images = _decoded_once(root, files, size, color)
    numbers = np.array([_PARTS.index(part) if part else 0 for part in parts])
    splits = {part: torch.from_numpy((numbers == place).nonzero()[0]) for place, part in enumerate(_PARTS)}
    return Dataset(
        torch.from_numpy(images),
        targets,
        "classes",
        len(classes),
        class_names=classes,
        description=f"{len(files)} pictures of {len(classes)} classes from {path}, {size}x{size} pixels",
        splits={part: places for part, places in splits.items() if len(places)} if parts[0] else {},
        decode=Pixels(),
        learned={"classes": classes},
    )


def _find(root: Path) -> tuple[list[Path], list[str]]:
    """Return the pictures in order, and the part that each is in: empty where there are no parts."""
    if not root.is_dir():
        raise DataError(f"no folder {root}")
    folders = _folders(root)
    split = {folder.name for folder in folders} & set(_PARTS)
    if split and (extra := {folder.name for folder in folders} - set(_PARTS)):
        raise DataError(f"{root}: expected folders of classes, or train, val and test; it has both: {', '.join(extra)}")
    if split and "train" not in split:
        raise DataError(f"{root} has {' and '.join(sorted(split))}, but no train")
    files, parts = [], []
    for part in [part for part in _PARTS if part in split] or [""]:
        for folder in _folders(root / part):
            own = sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES)
            if not own:
                raise DataError(f"{folder} has no pictures ({', '.join(_SUFFIXES)})")
            files += own
            parts += [part] * len(own)
    if not files:
        raise DataError(f"{root}: expected a folder for each class, with pictures ({', '.join(_SUFFIXES)})")
    return files, parts


def _folders(root: Path) -> list[Path]:
    return sorted(each for each in root.iterdir() if each.is_dir() and not each.name.startswith("."))


def _decoded_once(root: Path, files: Sequence[Path], size: int, color: str) -> np.ndarray:
    """Return all pictures, uint8, shape (pictures, channels, size, size), kept under a hash of what they depend on."""
    import PIL

    depends = json.dumps([size, color, PIL.__version__, folder_sha256(root, files)])
    kept = downloads.data_dir() / "image_folder" / f"{hashlib.sha256(depends.encode()).hexdigest()}.npy"
    shape = (len(files), 3 if color == "rgb" else 1, size, size)
    if kept.is_file():
        try:
            images = np.load(kept, allow_pickle=False)
            if images.shape == shape and images.dtype == np.uint8:
                return images
        except (OSError, EOFError, ValueError) as error:
            logger.warning("%s is damaged, and will be made again: %s", kept, error)
    images = np.empty(shape, np.uint8)
    for index, pixels in enumerate(_decode(files, size, color)):
        images[index] = pixels
    try:
        storage.make_dir(kept.parent, exist_ok=True)
        storage.write_derived(kept, _npy(images))
    except StorageError as error:
        logger.warning("the scaled pictures of %s are not kept, and will be made each time: %s", root, error)
    return images


def _decode(files: Sequence[Path], size: int, color: str) -> Iterator[np.ndarray]:
    from PIL import Image, UnidentifiedImageError

    for file in files:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(file, formats=("PNG", "JPEG")) as picture:
                    pixels = np.asarray(_fitted(picture, size, color))
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{file} cannot be read as PNG or JPEG: {error}") from error
        except Image.DecompressionBombWarning as error:
            raise DataError(f"{file} is too large: {error}") from error
        yield pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _fitted(picture: Image, size: int, color: str) -> Image:
    """Scale the shorter side to `size`, and cut out the middle."""
    from PIL import Image, ImageOps

    mode = "RGB" if color == "rgb" else "L"
    picture.draft(mode, (size, size))  # JPEG decodes to a smaller size at once
    picture = ImageOps.exif_transpose(picture)  # a camera held upright says so beside the pixels
    shorter = min(picture.size)
    left, top = ((length - shorter) // 2 for length in picture.size)
    middle = picture.crop((left, top, left + shorter, top + shorter))
    return middle.convert(mode).resize((size, size), Image.Resampling.BILINEAR)


def _npy(array: np.ndarray) -> bytes:
    import io

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()

"""One picture from a file as pixels of one size: which kinds are read, and what white is in each of them."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Color = Literal["rgb", "gray"]

#: Kinds that are read, by the endings of their names.
FORMATS: dict[str, str] = {
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    ".mpo": "MPO",
    ".webp": "WEBP",
    ".avif": "AVIF",
    ".gif": "GIF",
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    ".bmp": "BMP",
    ".dib": "DIB",
    ".tga": "TGA",
    **dict.fromkeys((".pbm", ".pgm", ".ppm", ".pnm"), "PPM"),
    **dict.fromkeys((".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"), "JPEG2000"),
}

#: Endings of other pictures, which must not be passed over as if they were none.
OTHERS: frozenset[str] = frozenset(
    f".{ending}"
    for endings in (
        "heic heif jxl svg eps ps ai psd xcf ico icns cur pcx dds exr hdr pfm sgi ras xpm xbm qoi fits dcm wmf emf",
        "raw cr2 cr3 nef arw dng orf rw2",
    )
    for ending in endings.split()
)

_SHALLOW = frozenset(["1", "L", "P", "PA", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"])
_DEEP = frozenset(["I;16", "I;16L", "I;16B", "I;16N"])
_BITS, _MEANING, _WHITE_IS_ZERO = 258, 262, 0  # tags of TIFF


def is_deep(file: Path) -> bool:
    """Return True for a picture of more than 8 bits, of which only the header is read.

    Raises:
        DataError: it cannot be read, or its numbers do not say what white is.
    """
    with _opened(file) as picture:
        return _white(file, picture) > 255


def pixels(file: Path, size: int | None, color: Color, content: bytes | None = None) -> np.ndarray:
    """Return a picture, its shorter side scaled to `size`, the middle of the other, shape (channels, size, size).

    Without a size it stays as it is, shape (channels, height, width). `content` is what is in the file, where it is no
    file of its own.

    It is uint8 from 0 to 255; a picture of more than 8 bits is float32 from 0 to 1.

    Raises:
        DataError: it cannot be read, moves, or its numbers do not say what white is.
    """
    from PIL import Image, ImageOps

    with _opened(file, content) as picture:
        white, mode = _white(file, picture), "RGB" if color == "rgb" else "L"
        if size is not None:
            picture.draft(mode, (size, size))  # JPEG decodes to a smaller size at once
        upright = ImageOps.exif_transpose(picture)  # a camera held upright says so beside the pixels
        shorter = min(upright.size)
        left, top = ((length - shorter) // 2 for length in upright.size)
        middle = upright if size is None else upright.crop((left, top, left + shorter, top + shorter))
        extent = middle.size if size is None else (size, size)
        if white > 255:
            gray = np.asarray(middle).astype(np.float32)
            scaled = np.asarray(Image.fromarray(gray).resize(extent, Image.Resampling.BILINEAR)) / white
            return np.repeat(scaled[None], 3 if color == "rgb" else 1, axis=0).astype(np.float32)
        found = np.asarray(middle.convert(mode).resize(extent, Image.Resampling.BILINEAR))
        return found[None] if found.ndim == 2 else found.transpose(2, 0, 1)


@contextlib.contextmanager
def _opened(file: Path, content: bytes | None = None) -> Iterator[Image]:
    """Open a picture for a `with` block; whatever Pillow raises in it comes as a DataError that names the file."""
    from PIL import Image, UnidentifiedImageError

    Image.init()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(
                file if content is None else io.BytesIO(content),
                formats=sorted(set(FORMATS.values()) & Image.OPEN.keys()),
            ) as picture:
                yield picture
    except Image.DecompressionBombWarning as error:
        raise DataError(f"{file} is too large: {error}") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        kind = FORMATS.get(file.suffix.lower(), "a picture")
        raise DataError(f"{file} cannot be read as {kind}: {error}") from error


def _white(file: Path, picture: Image) -> int:
    """Return the number that stands for white.

    Raises:
        DataError: there is none, or it is 0, or there are several pictures in one file.
    """
    if getattr(picture, "is_animated", False) and picture.format != "MPO":  # of which the others are made for screens
        raise DataError(f"{file} has several pictures in one, moving or on pages: save the one that is meant")
    tags = getattr(picture, "tag_v2", {})
    is_16_bits = picture.mode in _DEEP or (picture.mode == "I" and picture.format in ("PNG", "PPM"))
    if is_16_bits and tags.get(_MEANING) == _WHITE_IS_ZERO:
        raise DataError(f"{file} has more than 8 bits, of which 0 is white: save it with 0 for black")
    if is_16_bits:
        return 2 ** tags.get(_BITS, (16,))[0] - 1
    if picture.mode not in _SHALLOW:
        problem = f"has pixels of Pillow's mode {picture.mode}, of which nothing says what white is"
        raise DataError(f"{file} {problem}: save it with 8 or 16 bits")
    return 255

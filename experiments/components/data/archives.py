"""The published forms of image data, read without unpacking anything onto the disk: CIFAR's tar, MNIST's IDX."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...errors import DataError

_UNSIGNED_BYTES = 8  # IDX's code for them


def read_members(path: Path, sizes: Mapping[str, int]) -> dict[str, bytes]:
    """Return some members of a .tar.gz, by their name after the last slash; nothing else in it is looked at.

    Args:
        path: the archive.
        sizes: the exact size in bytes of each member that is wanted; 0 for a short text, up to 64 KiB.

    Raises:
        DataError: a member is missing, twice there, no plain file, or of another size; or the archive is damaged.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if name not in sizes:
                    continue
                expected = sizes[name]
                fits = member.size == expected if expected else member.size <= 1 << 16
                if not member.isreg() or not fits or name in found:
                    expected_text = f"one plain file of {expected or 'at most 65536'} bytes"
                    raise DataError(f"{path}: expected {name} to be {expected_text}, got {member.size} bytes")
                content = archive.extractfile(member)
                found[name] = content.read() if content is not None else b""
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as a .tar.gz archive: {error}") from error
    if missing := sizes.keys() - found.keys():
        raise DataError(f"{path} has no {', '.join(sorted(missing))}")
    return found


def read_cifar_rows(
    path: Path, names: Sequence[str], num_rows: int, num_labels: int, texts: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, dict[str, list[str]]]:
    """Return images (rows, 3, 32, 32) and labels (rows, num_labels), uint8, and the lines of text members.

    Args:
        path: the archive.
        names: members with rows of labels and 3072 pixels: red, green, blue, each line by line.
        num_rows: in each of them.
        num_labels: bytes before the pixels; CIFAR-100 has two, coarse and fine.
        texts: members that are text.
    """
    width = num_labels + 3 * 32 * 32
    sizes = dict.fromkeys(names, num_rows * width) | dict.fromkeys(texts, 0)
    members = read_members(path, sizes)
    rows = np.concatenate([np.frombuffer(members[name], np.uint8).reshape(num_rows, width) for name in names])
    lines = {name: members[name].decode("utf-8").split() for name in texts}
    return rows[:, num_labels:].reshape(-1, 3, 32, 32), rows[:, :num_labels], lines


def read_idx(path: Path, shape: Sequence[int]) -> np.ndarray:
    """Return the array of a gzipped IDX file of unsigned bytes, which must have the shape.

    The form: two zero bytes, the type (8: unsigned bytes), the number of dimensions, each dimension as four bytes,
    the highest first, then the numbers, the last dimension running fastest.

    Raises:
        DataError: it holds something else.
    """
    shape = tuple(shape)
    header = bytes([0, 0, _UNSIGNED_BYTES, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    num_bytes = len(header) + int(np.prod(shape))
    try:
        with gzip.open(path) as file:
            content = file.read(num_bytes + 1)  # never more, whatever it would unpack to
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as a gzip file: {error}") from error
    if len(content) != num_bytes or not content.startswith(header):
        found = f"{'more' if len(content) > num_bytes else len(content)} bytes that begin with {content[:16].hex(' ')}"
        raise DataError(f"{path}: expected an IDX file of unsigned bytes of shape {shape}, got {found}")
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)

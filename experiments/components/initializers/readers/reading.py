"""From a path to contents: the format is told by the first bytes."""

from __future__ import annotations

import hashlib
import struct
import zipfile
from pathlib import Path

from ....errors import DataError, UsageError
from ....system.content import file_sha256
from ....system.places import shown
from .contents import Contents
from .folders import INDEX, chosen_file, read_shards, shards_of, weights_in
from .foreign import foreign, foreign_archive, missing, names_in
from .numpy_file import read_npz
from .safetensors_file import read_safetensors
from .torch_file import read_torch

#: The ends of names that are files, and not runs: formats that are read, and those that people try.
SUFFIXES = (
    *(".npz", ".safetensors", ".pt", ".pth", ".ckpt", ".bin", INDEX),
    *(
        ".pkl",
        ".pickle",
        ".pth.tar",
        ".tar",
        ".zip",
        ".h5",
        ".hdf5",
        ".keras",
        ".msgpack",
        ".npy",
        ".pt2",
        ".onnx",
        ".gguf",
    ),
)
_HEAD = 512  # bytes
_PICKLE = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def is_weights_folder(path: Path) -> bool:
    """Return True for a folder that holds files of weights, so that it is no run."""
    return path.is_dir() and (bool(weights_in(path)) or (path / ".metadata").is_file())


def files_of(path: Path) -> list[Path]:
    """Return the files that are read for a path, those of an index after it.

    Raises:
        DataError: there is nothing to read.
        UsageError: a folder has several sets of weights.
    """
    if path.is_dir():
        return files_of(chosen_file(path))
    if not path.is_file():
        raise DataError(missing(path))
    if path.name.endswith(INDEX):
        return [path, *(path.parent / file for file in sorted(shards_of(path)))]
    return [path]


def digest(path: Path) -> str:
    """Return a hash of all that is read for a path; of a single file, its SHA-256.

    Raises:
        DataError: it cannot be read.
    """
    files = files_of(path)
    try:
        digests = [file_sha256(file) for file in files]
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read: {error.strerror}") from error
    if len(files) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def read(path: Path, part: str | None = None) -> Contents:
    """Return the named tensors of a file or folder.

    Args:
        path: a file of torch.save, safetensors or numpy.savez, an index of shards, or a folder with one of these.
        part: which part of a container is meant.

    Raises:
        DataError: it is not there, damaged, or of a format that is not read.
        UsageError: the weights in it are not named clearly.
    """
    if path.is_dir():
        return read(chosen_file(path), part)
    if not path.is_file():
        raise DataError(missing(path))
    if path.name.endswith(INDEX):
        _refuse_part(path, part)
        return read_shards(path, read)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read: {error.strerror}") from error
    return _read_file(path, head, part)


def _read_file(path: Path, head: bytes, part: str | None) -> Contents:
    if head.startswith(b"PK"):
        return _read_archive(path, part)
    if _is_safetensors(head):
        _refuse_part(path, part)
        return read_safetensors(path)
    if (what := foreign(head, path.suffix)) is not None:
        raise DataError(f"{shown(path)} is {what}")
    if head.startswith(_PICKLE):
        return read_torch(path, part)
    # Nothing is known by its bytes: the reader that the name asks for says what is wrong with them.
    if path.suffix == ".npz":
        return read_npz(path)
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    raise DataError(
        f"{shown(path)} is no file of torch.save, safetensors or numpy.savez: it begins with {_shown(head)}"
    )


def _read_archive(path: Path, part: str | None) -> Contents:
    try:
        names = names_in(path)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        kind = "an .npz file of arrays" if path.suffix == ".npz" else "a file of torch.save or numpy.savez"
        raise DataError(f"{shown(path)} cannot be read as {kind}: {error}") from error
    if (what := foreign_archive(path, names)) is not None:
        raise DataError(f"{shown(path)} is {what}")
    if any(name.endswith("data.pkl") for name in names):
        return read_torch(path, part)
    _refuse_part(path, part)
    return read_npz(path)


def _is_safetensors(head: bytes) -> bool:
    """Return True for a length in eight bytes, then the header in JSON."""
    return len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < 1 << 32


def _refuse_part(path: Path, part: str | None) -> None:
    if part is not None:
        raise UsageError(f"part: {shown(path)} has no parts, only tensors by name: leave `part` out, or use `map`")


def _shown(head: bytes) -> str:
    start = head[:16]
    return (
        repr(start.decode("ascii")) if start.isascii() and start.decode().isprintable() else f"bytes {start.hex(' ')}"
    )

"""Where the files of examples are in tar archives: found once, so that each can be read by itself.

The files of one example have one name up to the first dot of its last part, and stand together: `0001.png`, `0001.cls`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, StorageError
from ...system import downloads, storage

log = logging.getLogger("optrun")

_VERSION = 1  # of the indices that are kept
_BLOCK = tarfile.BLOCKSIZE
_MOST_OPEN = 64  # archives at a time
_COMPRESSED = {
    b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip",
}  # fmt: skip


@dataclass(frozen=True)
class Shard:
    """The examples of one archive.

    Args:
        path: of the archive.
        size: of it in bytes, when it was read.
        changed: when it was last changed before that, in nanoseconds.
        keys: the common name of the files of each example.
        endings: what follows it, of all kinds that there are.
        offsets: of each example's files of each ending, int64, shape (examples, endings); -1 where it has none.
        sizes: of these in bytes, likewise.
    """

    path: str
    size: int
    changed: int
    keys: list[str]
    endings: list[str]
    offsets: np.ndarray
    sizes: np.ndarray


def index_of(path: str) -> Shard:
    """Return where the files of an archive are, from the index that was kept of it, where it has not changed since.

    Raises:
        DataError: it is missing, damaged or compressed, or has a file twice.
    """
    try:
        stat = os.stat(path)
    except OSError as error:
        raise DataError(f"no tar archive {path}: {error.strerror}") from error
    known = f"{_VERSION} {os.path.abspath(path)} {stat.st_size} {stat.st_mtime_ns}"
    kept = downloads.data_dir() / "tar_shards" / f"{hashlib.sha256(known.encode()).hexdigest()}.json"
    if kept.is_file():
        try:
            return _from_json(path, json.loads(kept.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s is damaged, and will be made again: %s", kept, error)
    shard = _indexed(path, stat)
    try:
        storage.make_dir(kept.parent, exist_ok=True)
        storage.write_derived(kept, json.dumps(_as_json(shard)).encode())
    except StorageError as error:
        log.warning("the index of %s is not kept, and will be made each time: %s", path, error)
    return shard


def _indexed(path: str, stat: os.stat_result) -> Shard:
    examples: dict[str, dict[str, tuple[int, int]]] = {}
    last = None
    for name, offset, size in _members(path, stat.st_size):
        key, ending = key_of(name)
        own = examples.setdefault(key, {})
        if ending in own:
            raise DataError(f"{path} has {name} twice")
        if own and last != key:
            raise DataError(
                f"{path}: {name} stands apart from the other files of {key}: those of an example are together"
            )
        own[ending], last = (offset, size), key
    endings = sorted({ending for own in examples.values() for ending in own})
    places = np.full((2, len(examples), len(endings)), -1, np.int64)
    for row, own in enumerate(examples.values()):
        for ending, place in own.items():
            places[:, row, endings.index(ending)] = place
    return Shard(path, stat.st_size, stat.st_mtime_ns, list(examples), endings, places[0], places[1])


def key_of(name: str) -> tuple[str, str]:
    """Return the common name of an example's files, and what follows it: `a/01.seg.png` is `a/01` and `seg.png`."""
    folder, _, last = name.rpartition("/")
    key, _, ending = last.partition(".")
    return (f"{folder}/{key}" if folder else key), ending.lower()


def _members(path: str, size: int) -> Iterator[tuple[str, int, int]]:
    """Yield name, offset and size of the files in an archive, in its order.

    Raises:
        DataError: it is damaged or compressed, or has what is no plain file.
    """
    try:
        with open(path, "rb") as file:
            _refuse_compressed(path, file.read(8))
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for member in archive:
                    if member.isdir() or Path(member.name).name.startswith("."):
                        continue
                    if not member.isreg() or member.issparse():
                        raise DataError(f"{path}: {member.name} is no plain file: write shards of files alone")
                    if member.offset_data + member.size > size:
                        raise DataError(f"{path} is cut off within {member.name}")
                    yield member.name, member.offset_data, member.size
                _refuse_rest(path, file, archive.offset, size)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(f"{path} is damaged, or no tar archive: {error}") from error


def _refuse_compressed(path: str, start: bytes) -> None:
    for mark, kind in _COMPRESSED.items():
        if start.startswith(mark):
            raise DataError(
                f"{path} is compressed ({kind}), so that no file in it can be read by itself: unpack it to .tar"
            )


def _refuse_rest(path: str, file: Any, offset: int, size: int) -> None:
    """Refuse an archive that does not end where its files do: tarfile takes a damaged header for the end."""
    file.seek(offset)
    rest = file.read(2 * _BLOCK)  # of zeros
    if len(rest) < _BLOCK or rest.strip(b"\0"):
        raise DataError(
            f"{path} is damaged or cut off at byte {offset:,} of {size:,}: nothing there is a file or an end"
        )


def _as_json(shard: Shard) -> dict[str, Any]:
    return {
        "size": shard.size,
        "changed": shard.changed,
        "keys": shard.keys,
        "endings": shard.endings,
        "offsets": shard.offsets.tolist(),
        "sizes": shard.sizes.tolist(),
    }


def _from_json(path: str, found: dict[str, Any]) -> Shard:
    shape = (len(found["keys"]), len(found["endings"]))
    offsets, sizes = (np.array(found[name], np.int64).reshape(shape) for name in ("offsets", "sizes"))
    return Shard(path, int(found["size"]), int(found["changed"]), found["keys"], found["endings"], offsets, sizes)


class ShardFiles:
    """Reads files of archives by their offsets; each process opens them itself.

    Args:
        shards: the archives.
    """

    def __init__(self, shards: Sequence[Shard]):
        self.shards = shards
        self._open: dict[int, int] = {}  # descriptors

    def __del__(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def __getstate__(self) -> dict[str, Any]:
        return {"shards": self.shards, "_open": {}}

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Return the bytes of a file.

        Raises:
            DataError: its archive has changed, or cannot be read.
        """
        try:
            if shard not in self._open:
                self._open[shard] = self._opened(self.shards[shard])
            found = os.pread(self._open[shard], size, offset)
        except OSError as error:
            raise DataError(f"{self.shards[shard].path} cannot be read: {error}") from error
        if len(found) != size:
            raise DataError(f"{self.shards[shard].path} is cut off")
        return found

    def _opened(self, shard: Shard) -> int:
        if len(self._open) >= _MOST_OPEN:
            os.close(self._open.pop(next(iter(self._open))))
        descriptor = os.open(shard.path, os.O_RDONLY)
        stat = os.fstat(descriptor)
        if (stat.st_size, stat.st_mtime_ns) != (shard.size, shard.changed):
            os.close(descriptor)
            raise DataError(f"{shard.path} has changed since its files were looked for: start again")
        return descriptor

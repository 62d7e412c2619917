"""A durable file that only grows, such as a log of rows."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from . import forks, storage


class AppendFile:
    """A file that only grows, one whole row at a time; the process must be its only writer.

    Args:
        path: created when missing; its folder must exist.

    Raises:
        StorageError: it cannot be opened for writing.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        is_new = not self.path.exists()
        with storage.explain("open", self.path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | storage.BINARY
            self._descriptor = storage.system.open(self.path, flags, 0o666)
            self.size = os.fstat(self._descriptor).st_size
        if is_new:
            storage.fsync_dir(self.path.parent)

    def append(self, row: bytes) -> None:
        """Write `row` with one call of the system's write.

        Raises:
            StorageError: it could not be written; what had been written of it is taken back.
        """
        forks.refuse_to_write(self.path)
        with storage.explain("append to", self.path, len(row)):
            try:
                storage.write_all(self._descriptor, row)
            except BaseException:
                with suppress(OSError):  # readers skip a torn last row where even this fails
                    storage.system.truncate(self._descriptor, self.size)
                raise
        self.size += len(row)

    def sync(self) -> None:
        """Return when all rows are on the disk."""
        with storage.explain("flush", self.path):
            storage.flush(self._descriptor)

    def truncate(self, offset: int) -> None:
        """Keep the first `offset` bytes only, durably."""
        if not 0 <= offset <= self.size:
            raise ValueError(f"cannot truncate {self.path} of {self.size} bytes to {offset}")
        forks.refuse_to_write(self.path)
        with storage.explain("truncate", self.path):
            storage.system.truncate(self._descriptor, offset)
            storage.flush(self._descriptor)
        self.size = offset

    def read(self) -> bytes:
        """Return the whole content."""
        return storage.read_bytes(self.path)

    def close(self) -> None:
        """Close the file; closing it again does nothing."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with storage.explain("close", self.path):
                storage.system.close(descriptor)

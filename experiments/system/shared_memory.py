"""Memory that processes share, which Linux keeps in /dev/shm: containers often have little of it, or none to write."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

_FOLDER = Path("/dev/shm")
_LITTLE = 64 << 20  # bytes: what containers have by default
_ERRORS = (errno.EROFS, errno.ENOSPC, errno.EACCES, errno.ENOSYS)
_SPEAKS_OF_IT = re.compile(r"shared memory|shm|bus error", re.IGNORECASE)


def explain_shared_memory(error: BaseException) -> str | None:
    """Return why processes cannot share memory, with the way out, if that is what an error comes from; else None.

    Args:
        error: of code that starts processes, such as a DataLoader with workers.
    """
    names_no_file = isinstance(error, OSError) and error.errno in _ERRORS and error.filename is None
    if not names_no_file and not _SPEAKS_OF_IT.search(str(error)):
        return None
    if not os.access(_FOLDER, os.W_OK):
        state = "cannot be written"
    elif (free := shutil.disk_usage(_FOLDER).free) < _LITTLE:
        state = f"has {free >> 20} MiB left"
    else:
        return None
    return (
        f"{_FOLDER}, where processes share memory, {state}: give it more (docker run --shm-size=2g), or use no workers"
    )

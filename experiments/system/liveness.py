"""Processes by number and machine: which a file may name as its holder, long after they have ended."""

from __future__ import annotations

import os
from pathlib import Path


def host_name() -> str:
    """Return the name of this machine."""
    import socket

    return socket.gethostname()


def is_alive(pid: int) -> bool:
    """Return True if a process of this machine has the number `pid`."""
    if os.name == "nt":
        return True  # os.kill(pid, 0) would end it there
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return pid > 0 and not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Return True if a process has ended and nobody asks for its exit code, as in a container without an init."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:  # another system, or gone at this moment
        return False
    return facts.rpartition(b")")[2].split()[:1] == [b"Z"]

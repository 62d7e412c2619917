"""The variables by which a launcher such as torchrun says which of its processes this one is."""

from __future__ import annotations

import os
import re

from ..errors import UsageError

_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
_NUMBER = re.compile("[0-9]{1,6}", re.ASCII)


def rank() -> int:
    """Return the number of this process, from RANK; 0 where nothing says so.

    Raises:
        UsageError: RANK, WORLD_SIZE or LOCAL_RANK is no such number.
    """
    return _read()["RANK"]


def world_size() -> int:
    """Return the number of processes, from WORLD_SIZE; 1 where nothing says so.

    Raises:
        UsageError: see `rank`.
    """
    return _read()["WORLD_SIZE"]


def refuse_several(what: str) -> None:
    """Refuse to be one of several processes, each of which would make the same run.

    Args:
        what: would be made: "train".

    Raises:
        UsageError: there are several ranks, or a variable is no number of one.
    """
    found = _read()
    for name, alone in (("WORLD_SIZE", 1), ("RANK", 0)):
        if found[name] > alone:
            raise UsageError(
                f"{name}={found[name]}: `{what}` cannot divide its work among ranks yet, and each would do all of it: "
                "start it once, without torchrun, or unset WORLD_SIZE and RANK. A MonitoredTrainingSession of your own "
                "may have several ranks"
            )


def _read() -> dict[str, int]:
    values = {name: _number(name) for name in _NAMES}
    size = values["WORLD_SIZE"]
    if "WORLD_SIZE" in os.environ and values["RANK"] >= size:
        raise UsageError(f"RANK={values['RANK']}: expected less than WORLD_SIZE={size}")
    return values


def _number(name: str) -> int:
    least = 1 if name == "WORLD_SIZE" else 0
    text = os.environ.get(name, str(least))
    if not _NUMBER.fullmatch(text) or int(text) < least:
        raise UsageError(f"{name}={text}: expected a number, at least {least}; unset it where there is one process")
    return int(text)

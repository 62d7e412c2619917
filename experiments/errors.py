"""Errors, as types: each error knows the exit code that the command line gives for it."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable
from pathlib import Path


class ExitCode(enum.IntEnum):
    """How a process ends: the number that a shell sees, and its meaning."""

    def __new__(cls, number: int, meaning: str) -> ExitCode:
        code = int.__new__(cls, number)
        code._value_ = number
        code.meaning = meaning
        return code

    meaning: str
    DONE = 0, "done"
    NO = 1, "the answer is no"
    USAGE = 2, "usage or configuration"
    DIVERGED = 3, "diverged"
    DATA = 4, "data missing or corrupt"
    NOTHING_MATCHED = 5, "nothing matched"
    PART_FAILED = 6, "part of a set failed"
    BUG = 70, "a bug"
    IN_USE = 73, "run directory in use"
    STORAGE = 74, "I/O error"
    SIGINT = 130, "SIGINT"
    SIGTERM = 143, "SIGTERM (state saved)"
    BROKEN_PIPE = 141, "nobody reads the output"


class OptrunError(Exception):
    """The root of every error that optrun raises on purpose; its message is meant for users."""

    exit_code: int = ExitCode.BUG


class UsageError(OptrunError):
    """The request itself cannot be met: a wrong option, an unknown name, two options that exclude each other."""

    exit_code = ExitCode.USAGE


class NotVerifiedError(OptrunError):
    """A run is not in a batch what it is by itself.

    Args:
        message: which, and how far apart they are.
        path: the folder of the comparison, which is complete; None where nobody says.
    """

    exit_code = ExitCode.NO

    def __init__(self, message: str, path: Path | None = None):
        super().__init__(message)
        self.path = path


class ArgumentsError(UsageError):
    """Arguments are refused that fit their own ranges, but not each other or what else there is.

    Args:
        message: what is wrong.
        names: of the arguments, the one to point at first; `then.length` is one of a component that is an argument.
    """

    def __init__(self, message: str, *names: str):
        super().__init__(message)
        self.names = names

    def __reduce__(self) -> tuple[type[ArgumentsError], tuple[str, ...]]:
        return type(self), (str(self), *self.names)


class CodeNotAllowedError(UsageError):
    """A stored configuration names code that is not, byte for byte, the code that the run was made with."""


class DivergedError(OptrunError):
    """The loss or a gradient became infinite or not a number."""

    exit_code = ExitCode.DIVERGED


class DataError(OptrunError):
    """Data or a checkpoint is missing, damaged, or not what its description says."""

    exit_code = ExitCode.DATA


class FaultsError(DataError):
    """Several things are wrong with data, each of which an argument of the data set decides about.

    Args:
        faults: for each the name of that argument, and what is wrong; a text alone is about the data as a whole.
    """

    def __init__(self, *faults: tuple[str, str] | str):
        self.faults = tuple(("", fault) if isinstance(fault, str) else fault for fault in faults)
        super().__init__("\n".join(message for _, message in self.faults))

    def __reduce__(self) -> tuple[type[FaultsError], tuple[tuple[str, str], ...]]:
        return type(self), self.faults


class CheckpointError(DataError):
    """A checkpoint is damaged, or belongs to another model or optimizer."""


class NothingMatchedError(OptrunError):
    """A selection matched nothing."""

    exit_code = ExitCode.NOTHING_MATCHED


class RunInUseError(OptrunError):
    """Another process holds the run directory."""

    exit_code = ExitCode.IN_USE


class StorageError(OptrunError):
    """Writing or reading durable state failed: disk full, read-only, gone."""

    exit_code = ExitCode.STORAGE


class SessionError(OptrunError, RuntimeError):
    """A session, train op or hook is used in a way that cannot work."""

    exit_code = ExitCode.USAGE


class UserExitError(OptrunError, RuntimeError):
    """Code that a run calls raised what ends a process (SystemExit, KeyboardInterrupt, …), which it must not.

    Its `__cause__` is what was raised; its exit code that of any code of the user's own that fails.
    """

    exit_code = ExitCode.USAGE


class TransientError(OptrunError):
    """A passing fault: the session goes back to its last good checkpoint and tries again."""

    exit_code = ExitCode.STORAGE


class WaitTimeoutError(TransientError):
    """Something that another process should have provided did not come in time."""


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived; everything up to the last completed step has been saved.

    It derives from KeyboardInterrupt so that `except Exception` cannot swallow it.
    """

    def __init__(self, signum: int, saved: bool = True):
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum
        self.saved = saved

    def __reduce__(self) -> tuple[type[Interrupted], tuple[int, bool]]:
        return type(self), (self.signum, self.saved)  # not the message, which is what exceptions are rebuilt from

    @property
    def exit_code(self) -> int:
        return 128 + self.signum


_LONGEST = 100  # names looked at; comparing takes the square of their lengths


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` was most likely meant to be, or None."""
    if len(name) > _LONGEST:
        return None
    known = list(known)
    by_lower = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def in_python(*flags: str) -> str:
    """Return what options are in Python, for the end of a message that names them: ` (in Python allow_change=True)`."""
    names = (flag.removeprefix("--").replace("-", "_") for flag in flags)
    return f" (in Python {', '.join(f'{name}=True' for name in names)})"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message that no `kind` is called `name`, with the nearest name and all names."""
    known = sorted(known)
    guess = nearest(name, known)
    hint = f" Did you mean '{guess}'?" if guess else ""
    return f"no {kind} named '{name}'.{hint} Known: {', '.join(known) or 'none'}"

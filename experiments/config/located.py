"""Errors of what a configuration names, told at the place in it that asked for that."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ArgumentsError, FaultsError, OptrunError, UsageError, UserExitError
from ..registry.calls import Call, call_of, comes_from_outside, error_text, told_key, users_place
from ..system.raised import message_of, refusing_exits
from .configuration import Config
from .problems import ConfigError, ConfiguredDataError, display

_REFUSALS = (
    ValueError,
    TypeError,
    RuntimeError,
    LookupError,
)  # what constructors raise at values that they do not take
_FED = ("model", "loss", "metrics")  # given what other parts of the configuration make: what they raise is never a bug
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS}


@contextmanager
def located(config: Config, path: str = "", *also: str) -> Iterator[None]:
    """Turn what is raised within a `with` block into a ConfigError at a key of the configuration.

    That is the key that the exception was noted with (registry/calls.py), or else `path`. The user's own line and the
    event are named; notes and cause stay.

    Passed on as they are: a ConfigError, which has its place; an OptrunError with an exit code of its own; faults of
    a disk or a network; and what none but optrun's own code can have raised, which is a bug.

    Args:
        config: which is at work.
        path: the key at which what was not noted belongs; without it, only what was noted is turned.
        also: other keys that take part there, such as the length of the run; see `Config.problem`.

    Raises:
        ConfigError: located.
    """
    try:
        with refusing_exits(), told_key(path):
            yield
    except ConfigError:
        raise
    except FaultsError as error:
        call = call_of(error)
        if not (key := (call.key if call is not None else "") or path):
            raise
        raise _of_data(config, key, error) from error
    except Exception as error:
        call = call_of(error)
        key = (call.key if call is not None else "") or path
        if not key or not _belongs(config, key, error, is_call=call is not None):
            raise
        keys = [f"{key}.{name}" for name in error.names] if isinstance(error, ArgumentsError) else [key]
        keys += also if key == path else ()
        problem = config.problem(keys[0], _message(error, call), also=keys[1:])
        for note in getattr(error, "__notes__", ()):
            if note != str(call):  # which the message has
                problem.add_note(note)
        raise problem from (error.__cause__ if isinstance(error, UserExitError) else error)


def _of_data(config: Config, key: str, error: FaultsError) -> ConfiguredDataError:
    """Return what is wrong with data, each at the key of the argument that decides about it."""
    found = [config.problem(f"{key}.{name}" if name else key, message) for name, message in error.faults]
    return ConfiguredDataError(problem for each in found for problem in each.problems)


def _belongs(config: Config, key: str, error: Exception, is_call: bool) -> bool:
    """Return True if an exception is the affair of whoever wrote the key, not optrun's or the machine's."""
    if isinstance(error, OptrunError):
        return error.exit_code == UsageError.exit_code
    if isinstance(error, ConnectionError) or (isinstance(error, OSError) and error.errno in _OF_THE_DISK):
        return False
    if is_call and key.split(".")[0] in _FED and not isinstance(error, OSError):
        return True
    if not is_call and isinstance(error, _REFUSALS):
        return True
    return comes_from_outside(error) or any(part.component.roots() for part in config.components_at(key))


def _message(error: Exception, call: Call | None) -> str:
    text = " ".join(message_of(error).split()) if isinstance(error, OptrunError) else error_text(error)
    place = users_place(error) if not isinstance(error, UserExitError) else None  # which says it
    where = [f"{display(place[0])}:{place[1]}"] if place is not None else []
    where += [str(call)] if call is not None else []
    return f"{text} ({', '.join(where)})" if where else text

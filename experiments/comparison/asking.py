"""What is asked of a worker process about a configuration, and its answer: what passes through a pipe."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..config import Config, ConfigError, Origin
from ..config.places import place
from ..errors import OptrunError
from ..system.raised import guarded_process_end, message_of, place_of, refusing_exits
from ..system.switches import held_switches
from ..training.load import read

_PLAIN = (str, int, float, type(None))  # which run no code of the user's where they are unpickled


@dataclass(frozen=True)
class Asked:
    """A configuration for another process, in which errors are told at the places that the user wrote.

    Args:
        plain: as plain data.
        origins: of its values, by key.
        file: the place of the whole.
    """

    plain: dict[str, Any]
    origins: Mapping[str, Origin]
    file: Origin

    @classmethod
    def about(cls, config: Config) -> Asked:
        """Return what another process needs of a configuration."""
        return cls(config.to_dict(), dict(config.origins), config.place)

    def config(self) -> Config:
        """Return the configuration, made in this process.

        Raises:
            ConfigError: it cannot be made here, such as where the user's code has changed meanwhile.
        """
        try:
            made = read(self.plain)
        except ConfigError as error:
            problems = error.problems
            raise ConfigError(
                [replace(each, origin=place(self.origins, each.key, self.file)) for each in problems]
            ) from error
        return replace(made, origins=self.origins, place=self.file)


@dataclass(frozen=True)
class Answer:
    """What a call in another process has returned or raised.

    Args:
        value: returned.
        error: raised, where it is one that can be told in another process; else None.
        kind, text: type and text of what was raised; both empty where nothing was.
        notes: on it.
        trace: the way to it.
    """

    value: Any = None
    error: Exception | None = None
    kind: str = ""
    text: str = ""
    notes: tuple[str, ...] = ()
    trace: str = ""

    @classmethod
    def of(cls, call: Callable[[], Any]) -> Answer:
        """Return what a call gives, in a process that is put back to what it was."""
        try:
            with held_switches(), guarded_process_end(), refusing_exits():
                return cls(call())
        except Exception as error:  # noqa: BLE001 (it is raised in the process that asks)
            notes = [str(note) for note in getattr(error, "__notes__", ())]
            if not isinstance(error, OptrunError):  # whose place is lost with its traceback
                notes.append(f"raised at {place_of(error)}")
            trace = "".join(traceback.format_exception(error)).rstrip()
            return cls(None, _portable(error), type(error).__name__, message_of(error), tuple(notes), trace)

    def get(self) -> Any:
        """Return what the call returned, or raise what it raised, of a user's own type as one of that name."""
        if not self.kind:
            return self.value
        error = self.error if self.error is not None else type(self.kind, (Exception,), {})(self.text)
        for note in self.notes:
            error.add_note(note)
        raise error from InOtherProcess(f"\n{self.trace}")


class InOtherProcess(Exception):
    """The traceback of an error that was raised in another process, as its cause in this one."""


def _portable(error: Exception) -> Exception | None:
    is_ours = type(error).__module__.partition(".")[0] == __name__.partition(".")[0]
    is_plain = type(error).__module__ == "builtins" and all(isinstance(each, _PLAIN) for each in error.args)
    if not (is_ours or is_plain):
        return None
    try:
        return pickle.loads(pickle.dumps(error)).with_traceback(None)
    except Exception:  # noqa: BLE001 (of what it was given)
        return None

"""Tries entries before the first run, in a worker process, which the user's own code may end.

Code that kills its process, ends it in a thread or crashes it ends no command: it is refused like any other error, at
the key that was being called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..components.data import make_data
from ..config import Config, ConfigError
from ..system.processes import how, why
from ..training.record import local_components
from . import worker
from .asking import Answer, Asked
from .entry import Entry
from .shipping import pack
from .workers import WorkerDiedError, Workers


def has_own_code(config: Config) -> bool:
    """Return True if some component is the user's own."""
    return bool(config.roots() or local_components(config))


def workers_for(entries: Sequence[Entry]) -> Workers:
    """Return worker processes for the runs of entries, to be started."""
    configs = [entry.config for entry in entries]
    return Workers(pack(configs), is_plain=not any(map(has_own_code, configs)))


def try_building(entry: Entry, workers: Workers) -> None:
    """Build an entry, and throw it away.

    Raises:
        ConfigError: something cannot be made, does not fit together, or ends the process; located.
        DataError: data is missing or damaged.
    """
    _answer(worker.TRY, entry, workers)


def data_sha256(entry: Entry, workers: Workers) -> str:
    """Return the hash of an entry's examples themselves: a file of the user's may change under the same name.

    Raises:
        ConfigError: what makes them ends the process; located.
        Exception: what the data raises.
    """
    data = entry.config.data
    if any(part.component.roots() or part.component.is_of_a_program for part in data.nested()):
        return _answer(worker.HASH, entry, workers)
    return make_data(data.component, **data.args).sha256()


def _answer(what: str, entry: Entry, workers: Workers) -> Any:
    try:
        answer: Answer = workers.ask((what, Asked.about(entry.config)), frozenset(entry.config.reached.files))
    except WorkerDiedError as died:
        raise _refusal(entry, died) from died
    return answer.get()


def _refusal(entry: Entry, died: WorkerDiedError) -> ConfigError:
    """Return the error that an entry has ended the process in which it was tried."""
    key, call = died.called
    where = f" (in {call})" if call else ""
    message = f"the process in which this was tried ended, {how(died.exitcode)}{why(died.exitcode)}{where}"
    error = entry.config.problem(key, message, code="process-ended")
    given = f", with {' '.join(entry.overrides)}" if entry.overrides else ""
    error.add_note(f"in entry '{entry.name}'{given}")
    return error

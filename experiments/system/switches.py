"""Process-wide switches that change numbers: a snapshot of all, what has changed, and all put back.

They belong to no model, so no state of a run holds them; the user's code may turn any of them, at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .switch_table import OWN, SWITCHES
from .switch_table import THREAD_VARIABLES as THREAD_VARIABLES
from .switch_table import VARIABLES as VARIABLES

Snapshot = Mapping[str, Any]
Changes = Mapping[str, tuple[Any, Any]]
_MAX_PASSES = 3  # since a few are several names of one thing: float32 matmul precision sets cuda.matmul.allow_tf32


def snapshot() -> dict[str, Any]:
    """Return the value of every switch by its name; what this version of torch has not is left out."""
    found = {}
    for name, switch in SWITCHES.items():
        try:
            found[name] = switch.get()
        except (AttributeError, RuntimeError):  # an older torch; or two ways to set a precision were mixed
            continue
    return found


def unusual(state: Snapshot) -> dict[str, Any]:
    """Return the switches that are not as in a process in which nobody has turned one."""
    usual = {name: switch.usual for name, switch in SWITCHES.items() if switch.is_numeric}
    return {name: value for name, value in state.items() if usual.get(name, OWN) not in (OWN, value)}


def changes(before: Snapshot, now: Snapshot) -> dict[str, tuple[Any, Any]]:
    """Return what differs between two snapshots: before and now, by name."""
    return {name: (before[name], now[name]) for name in before if name in now and before[name] != now[name]}


def put_back(state: Snapshot) -> list[str]:
    """Set switches as a snapshot has them; return the names of those that cannot be set."""
    left: Changes = {}
    for _ in range(_MAX_PASSES):
        for name, (_, wanted) in changes(snapshot(), state).items():
            put = SWITCHES[name].put
            if put is not None and snapshot().get(name) != wanted:  # another name of it may have set it
                put(wanted)
        left = changes(snapshot(), state)
        if all(SWITCHES[name].put is None for name in left):
            break
    return list(left)


def words(changed: Changes) -> str:
    """Return changes in words: `default dtype float32 -> float64, threads 1 -> 2`."""
    return ", ".join(f"{name} {_word(before)} -> {_word(now)}" for name, (before, now) in changed.items())


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "unset" if value is None else str(value)


# ---- what is held while something runs -------------------------------------------------------------------------------

_at_start: dict[str, Any] | None = None
_origin: dict[str, Any] | None = None  # of the process that this one works for
_turned: set[str] = set()  # by blocks that have ended
_told: set[str] = set()  # whose change was told in this block
_OURS = ("threads", "deterministic algorithms")  # which each run sets for itself
_imported: dict[str, tuple[Any, Any, frozenset[str]]] = {}  # by imports: before, after, the files that were imported


@contextmanager
def held_switches() -> Iterator[None]:
    """Put back at the end what the block turned, but for what an import did, since nothing is imported twice.

    An inner block changes nothing. It is a decorator, too, for functions that run the user's code.
    """
    global _at_start
    if _at_start is not None:
        yield
        return
    _at_start = snapshot()
    _told.clear()
    known = dict(_imported)
    try:
        yield
    except Exception as error:
        _note_changes(error, _at_start)
        raise
    finally:
        _turned.update(changes(_at_start, snapshot()))
        kept = {name: after for name, (_, after, _) in _imported.items() if known.get(name) != _imported[name]}
        state, _at_start = {**_at_start, **kept}, None
        put_back(state)


def _note_changes(error: Exception, before: Snapshot) -> None:
    """Add to an error what the block has turned, which may be why; what was told already is left out."""
    found = changes(before, snapshot())
    if new := {name: values for name, values in found.items() if name not in {*_OURS, *_told}}:
        BaseException.add_note(error, f"code that was called has changed, for the whole process: {words(new)}")


def remember_told(names: Iterable[str]) -> None:
    """Remember which changes the block's user has heard of."""
    _told.update(names)


def at_start() -> dict[str, Any]:
    """Return the switches as they were before what runs now began, or as they are."""
    if _origin is not None:
        return dict(_origin)
    return snapshot() if _at_start is None else dict(_at_start)


def work_for(origin: Snapshot) -> None:
    """Begin a process that works for another one: with its switches, which stand for those at the start."""
    global _at_start, _origin
    _at_start, _origin = None, dict(origin)
    _imported.clear()
    _turned.clear()
    put_back(origin)


def turned() -> tuple[set[str], set[str]]:
    """Return what blocks that have ended had turned: by imports, which stays so, and otherwise, which was put back."""
    return set(_imported), _turned - set(_imported) - set(_OURS)


def note_imports(before: Snapshot, files: Mapping[str, str]) -> dict[str, tuple[Any, Any]]:
    """Remember what the import of files turned, since `before`; return it."""
    found = changes(before, snapshot())
    _imported.update({name: (*values, frozenset(files)) for name, values in found.items()})
    return found


def left_by_imports(files: Mapping[str, str]) -> dict[str, tuple[Any, Any]]:
    """Return what the imports of other files than these have turned in this process, and is still so."""
    now = snapshot()
    return {
        name: (before, after)
        for name, (before, after, by) in _imported.items()
        if now.get(name) == after and by.isdisjoint(files)
    }

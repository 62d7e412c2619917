"""Calls of what a configuration names: what they raise is noted with the key and the event, in one place for all.

    with Calling("loss", "the loss"):
        value = loss(outputs, targets)

The innermost note stays. Whoever knows the configuration turns it into an error at that key (config/located.py).
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from ..system.raised import type_and_text
from ..system.user_files import is_installed, is_standard_library, is_users

_NOTE, _PLACE = "__optrun_call__", "__optrun_place__"
_LIBRARIES = ("torch", "numpy")  # they do what they are told, by whoever called them


class Call(NamedTuple):
    """A call that failed.

    Args:
        key: of what was called, in the configuration; empty for what no configuration names.
        what: was called, in words: `after_run of hook 'mine'`.
        step: completed updates by then; None where there is no train op.
        fed: the name of what a hook had fed, where that is what failed.
    """

    key: str
    what: str
    step: int | None = None
    fed: str = ""

    def __str__(self) -> str:
        return f"in {self.what}" + (f", at step {self.step}" if self.step is not None else "")


class Calling:
    """A `with` block around a call of something that a configuration names; it may be entered again and again.

    Args:
        key: see `Call`.
        what: see `Call`.
        op: whose `global_step` is that of the call; None for no step.
    """

    __slots__ = ("_key", "_op", "_what")

    def __init__(self, key: str, what: str, op: Any = None):
        self._key, self._what, self._op = key, what, op

    def __enter__(self) -> None:
        if _watch is not None:  # else, at every step, all there is to do is done where something is raised
            _watch.begin(self._key, self._what)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if _watch is not None:
            _watch.end()
        if error is not None:
            note_call(error, Call(self._key, self._what, getattr(self._op, "global_step", None)))


class _Watch:
    """What is being called at the moment, told whenever that changes.

    Calls in other threads are left out.

    Args:
        tell: takes the key and the call in words; both empty where nothing is called.
    """

    def __init__(self, tell: Callable[[str, str], None]):
        self._tell, self._calls, self._thread = tell, [("", "")], threading.get_ident()

    def begin(self, key: str, what: str) -> None:
        if threading.get_ident() != self._thread:
            return
        self._calls.append((key, what) if key else self._calls[-1])
        self._tell(*self._calls[-1])

    def end(self) -> None:
        if threading.get_ident() != self._thread or len(self._calls) == 1:
            return
        self._calls.pop()
        self._tell(*self._calls[-1])


_watch: _Watch | None = None


@contextmanager
def told_calls(tell: Callable[[str, str], None]) -> Iterator[None]:
    """Let somebody hear of each call within the block before it is made, in case that it ends the process.

    Args:
        tell: takes the key of what is called from now on, and the call in words.
    """
    global _watch
    before, _watch = _watch, _Watch(tell)
    try:
        yield
    finally:
        _watch = before


@contextmanager
def told_key(key: str, what: str = "") -> Iterator[None]:
    """Let whoever hears of calls know that what is called within the block belongs to a key."""
    watch = _watch
    if watch is not None:
        watch.begin(key, what)
    try:
        yield
    finally:
        if watch is not None:
            watch.end()


def note_call(error: BaseException, call: Call) -> None:
    """Note on an exception which call it comes from, unless one inside of that has been noted."""
    if call_of(error) is None:
        BaseException.__setattr__(error, _NOTE, call)  # past a `__setattr__` of the user's own


def renote_call(error: BaseException, call: Call) -> None:
    """Note a call instead of the one that has been noted, of which more is known now."""
    BaseException.__setattr__(error, _NOTE, call)


def call_of(error: BaseException) -> Call | None:
    """Return the call that an exception was noted with; None for any other."""
    return vars(error).get(_NOTE)


def error_text(error: BaseException) -> str:
    """Return the type and the text of an exception, on one line; its own text may fail."""
    return " ".join(type_and_text(error).split()).removesuffix(":")


def described(value: Any) -> str:
    """Return in words what a call gave: `None`, `a tuple of 2`, `a dict with 'logits'`, `a tensor of shape (3,)`.

    Nothing of the value's own code is run but what its class says of itself.
    """
    name = type(value).__name__
    if value is None or isinstance(value, bool | int | float):
        return repr(value) if value is None else f"{value!r} ({name})"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if (shape := getattr(value, "shape", None)) is not None and (dtype := getattr(value, "dtype", None)) is not None:
        kind = "tensor" if name in ("Tensor", "Parameter") else "numpy array" if name == "ndarray" else name
        dtype = str(dtype).removeprefix("torch.")
        return f"{_a(kind)} of shape {tuple(shape)}" + ("" if dtype == "float32" else f" and type {dtype}")
    if isinstance(value, Mapping):
        return f"{_a(name)} with {_listed([repr(str(key)) for key in value])}"
    if is_dataclass(value):
        return f"{_a(name)} with {_listed([field.name for field in fields(value)])}"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return f"{_a(name)} with {_listed(list(value._fields))}"  # type: ignore[attr-defined] (of a named tuple)
    if isinstance(value, list | tuple | set | frozenset):
        return f"{_a(name)} of {len(value)}"
    return _a(name)


def _a(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "") if names else "nothing"


def note_place(error: BaseException, file: Path, line: int) -> None:
    """Note on an exception where in the user's own code it was raised, in another process."""
    BaseException.__setattr__(error, _PLACE, (file, line))


def users_place(error: BaseException) -> tuple[Path, int] | None:
    """Return file and line of the innermost frame of an exception in code of the user's own; None where there is none.

    That of the exception which it was raised from counts as well.
    """
    if (noted := vars(error).get(_PLACE)) is not None:
        return noted
    for file, line in reversed(_frames(error)):
        if is_users(file):
            return file, line
    cause = error.__cause__
    return users_place(cause) if cause is not None else None


def is_raised_by_user(error: BaseException) -> bool:
    """Return True if the very line that raised an exception is the user's own."""
    frames = _frames(error)
    return bool(frames) and is_users(frames[-1][0])


def comes_from_outside(error: BaseException) -> bool:
    """Return True if code that is neither optrun's, nor Python's, torch's or numpy's was at work."""
    if _PLACE in vars(error):
        return True
    return any(is_users(file) or _is_plugin(file) for file, _ in _frames(error))


def _frames(error: BaseException) -> list[tuple[Path, int]]:
    frames = traceback.walk_tb(error.__traceback__)
    return [
        (Path(frame.f_code.co_filename), line) for frame, line in frames if not frame.f_code.co_filename.startswith("<")
    ]


def _is_plugin(file: Path) -> bool:
    if not is_installed(file) or is_standard_library(file):
        return False
    top = file.parts[max(file.parts.index(part) for part in file.parts if part.endswith("-packages")) + 1]
    return top not in _LIBRARIES and top != __name__.partition(".")[0]

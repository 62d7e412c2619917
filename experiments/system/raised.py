"""What the user's code raises: in words, whatever it is, and as an error where it would end the process.

A run that ends otherwise than planned never looks like one that went well. `sys.exit(0)` deep in a library, a custom
BaseException, `os._exit(0)`: each is a failure of the run, with its place.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from ..errors import ExitCode, Interrupted, OptrunError, UserExitError
from . import forks, signals
from .user_files import is_users

MUST_NOT_EXIT = "code that a run calls must not end the process"
_LONGEST = 2_000  # characters of an exception's text that are told
_end_at_once = os._exit


def type_and_text(error: BaseException) -> str:
    """Return an exception's type and text, whatever its own methods do: a long text is cut, others are escaped."""
    text = message_of(error)
    name = _printable(type(error).__name__)
    return f"{name}: {text}" if text else name


def message_of(error: BaseException) -> str:
    """Return an exception's text alone, as `type_and_text` does."""
    try:
        text = str(error)
    except BaseException as second:  # noqa: BLE001 (a method of the user's own, of an error that is told already)
        return f"(its text cannot be had: {_printable(type(second).__name__)})"
    longest = _LONGEST if not isinstance(error, OptrunError) else 50 * _LONGEST  # ours list names and places
    more = f"… ({len(text):,} characters)" if len(text) > longest else ""
    return _printable(text[:longest]) + more


def place_of(error: BaseException) -> str:
    """Return where an exception was raised, `file:line in function`: the innermost place that is the user's own."""
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [each for each in frames if is_users(Path(each[0].co_filename))]
    if not frames:
        return "an unknown place"
    code, line = (own or frames)[-1]
    return f"{code.co_filename}:{line} in {code.co_name}"


def is_failure(error: BaseException) -> bool:
    """Return True unless an exception is the answer to a real signal, which no error may hide.

    Nor is it one that a process which the user's code has forked ends with: that may end as it likes.
    """
    if isinstance(error, Interrupted) or (forks.is_fork() and not isinstance(error, Exception)):
        return False
    return not isinstance(error, KeyboardInterrupt) or not signals.may_raise()


def refuse_exit(error: BaseException) -> None:
    """Raise an error in place of what the user's code has raised to end the process; return for any other exception.

    Raises:
        UserExitError: with the place, and the exception as its cause.
    """
    if isinstance(error, Exception) or not is_failure(error):
        return
    refusal = UserExitError(f"{type_and_text(error)}, at {place_of(error)}: {MUST_NOT_EXIT}")
    vars(refusal).update({key: value for key, value in vars(error).items() if key.startswith("__")})  # its notes
    raise refusal from error


class refusing_exits(contextlib.ContextDecorator):  # noqa: N801 (used like a function)
    """Apply `refuse_exit` to what a `with` block, or a function under this decorator, raises.

    It ends in the process that began it; one that was forked meanwhile, and comes here, gets a SessionError.
    """

    def __enter__(self) -> None:
        forks.enter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        is_same_process = forks.leave()
        if error is None and not is_same_process:
            raise forks.error()
        if error is not None and is_same_process:
            refuse_exit(error)


@contextlib.contextmanager
def guarded_process_end() -> Iterator[None]:
    """Let `os._exit`, called by the user's code within the block, be a failure that is told.

    In the main thread it raises SystemExit; in another one it ends the process, never with 0. Processes that are forked
    meanwhile end as they want to.
    """
    own, before = os.getpid(), os._exit

    def end(status: int = 0) -> NoReturn:
        if os.getpid() == own and threading.current_thread() is threading.main_thread():
            raise SystemExit(f"os._exit({status!r})")
        if os.getpid() == own:
            caller = sys._getframe(1)
            where = f"{caller.f_code.co_filename}:{caller.f_lineno}"
            _say(f"error: os._exit({status!r}), at {where}, in a thread of the user's code: the process ends\n")
            status = status or ExitCode.BUG
        _end_at_once(status)

    os._exit = end
    try:
        yield
    finally:
        os._exit = before


def keep_exit_code(code: int) -> None:
    """Let no handler that the user's code left for the end of this process turn a failure into a success."""
    own = os.getpid()

    def end(status: int = 0) -> NoReturn:
        _end_at_once(code if os.getpid() == own and status == 0 else status)

    if code != 0:
        os._exit = end


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody may be listening
        os.write(2, line.encode("utf-8", "backslashreplace"))


def _printable(text: str) -> str:
    """Escape what is no text: surrogates, which no stream takes, and control characters."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs") else _escaped(char) for char in text
    )


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "backslashreplace").decode() if ord(char) < 0x100 else f"\\u{ord(char):04x}"

"""Work in processes of its own: each call in a new interpreter, with nothing left in memory from the one before."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import Interrupted, OptrunError, SessionError
from . import signals
from .raised import guarded_process_end, refusing_exits, type_and_text

_POLL_SECS = 0.1
_SIGKILL, _SIGHUP = getattr(signal, "SIGKILL", 9), getattr(signal, "SIGHUP", 1)  # Windows has neither


class Processes:
    """Calls functions, each in a new process that a signal to this one ends as well.

    Args:
        stop: whether there was a signal.
    """

    def __init__(self, stop: signals.Stop):
        self._stop = stop
        self._error: BaseException | None = None  # the first one, which ends all
        self._context = multiprocessing.get_context("spawn")  # a new interpreter, its order of sets included

    def guarded(self, function: Callable[[int], Any]) -> Callable[[int], Any]:
        """Return a function whose first error ends the calls in other threads too."""

        def call(point: int) -> Any:
            try:
                return function(point)
            except BaseException as error:
                self._error = self._error or error
                raise

        return call

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return what `function(*args)` returns, or raise what it raises.

        Raises:
            Interrupted: a signal came.
            SessionError: the process died.
        """
        receiving, sending = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_answer, args=(sending, function, args))
        with _without_interrupts():
            process.start()
        sending.close()
        try:
            while not receiving.poll(_POLL_SECS):
                if self._stop.signum is not None or self._error is not None:
                    process.terminate()
                    raise self._error or Interrupted(self._stop.signum or signal.SIGTERM, saved=False)
            answer = pickle.loads(receiving.recv_bytes())
        except EOFError as error:
            process.join()
            raise SessionError(f"the training process died, {how(process.exitcode)}{why(process.exitcode)}") from error
        finally:
            process.join()
            receiving.close()
        if isinstance(answer, Interrupted) and self._stop.signum is None and self._error is None:
            raise SessionError(f"the training process was ended by {_name_of(answer.signum)}, which it was sent")
        if isinstance(answer, BaseException):
            raise answer
        return answer


def how(exitcode: int | None) -> str:
    """Return how a process ended, in words."""
    if exitcode is not None and exitcode < 0:
        return f"killed by {_name_of(-exitcode)}"
    return f"with exit code {exitcode}"


def why(exitcode: int | None) -> str:
    """Return what may be the reason that a process died: a question, or nothing where a signal says it all."""
    if exitcode == -_SIGKILL:
        return ": out of memory?"
    asked_to = exitcode is not None and -exitcode in (signal.SIGTERM, signal.SIGINT, _SIGHUP)
    return "" if asked_to else ": does its code, or a library, end the process?"


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextlib.contextmanager
def _without_interrupts():
    """Let a process that is started meanwhile not hear Ctrl-C, from its first instruction on: it is the parent's."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _answer(sending: Any, function: Callable[..., Any], args: Sequence[Any]) -> None:
    """Send what a call returns or raises; the life of a process of `Processes`."""
    os.dup2(2, 1)  # stdout is for the result: what the user's code prints is talk
    logging.getLogger("optrun").addHandler(logging.NullHandler())
    try:
        with guarded_process_end(), refusing_exits():
            answer: Any = function(*args)
    except BaseException as error:  # noqa: BLE001 (it is raised in the parent)
        answer = error
    try:
        sent = pickle.dumps(answer)
        pickle.loads(sent)
    except Exception:  # noqa: BLE001 (of an error of the user's own that is no plain data)
        sent = pickle.dumps(OptrunError(type_and_text(answer)))
    sending.send_bytes(sent)

"""`log.txt`: what is said during a run, kept beside it."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from ..errors import DivergedError, Interrupted, OptrunError
from ..registry.calls import call_of
from ..run_directory.run_dir import RunDir
from ..system import storage
from ..system.raised import message_of
from ..system.visible import visible

log = logging.getLogger("optrun")


class _LogFile(logging.FileHandler):
    """Writes `log.txt`; a line that the disk refuses is lost, and no more: what matters is saved elsewhere."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):  # it would write again what it could not
            super().close()


class _Visible(logging.Formatter):
    """Writes control characters out: whoever reads the log does so on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


_told: ContextVar[RunDir | None] = ContextVar("told", default=None)  # the run that what is said now is about
_open: list[tuple[RunDir, int]] = []  # runs whose logs are open, with the level of the log before the first


@contextmanager
def log_file(run_dir: RunDir) -> Iterator[None]:
    """Send what is said during the run to `log.txt` as well.

    Of several runs that go on at once, each in a context of its own, each gets what is said in its own.
    """
    with storage.explain("open", run_dir.log_path):
        handler = _LogFile(run_dir.log_path, encoding="utf-8", errors="backslashreplace")
    formatter = _Visible("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    own = os.getpid()
    handler.addFilter(lambda record: os.getpid() == own)  # what a forked process says is not of this run
    handler.addFilter(lambda record: _told.get() in (None, run_dir))
    entry = run_dir, _open[0][1] if _open else log.level
    _open.append(entry)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    before = _told.set(run_dir)
    try:
        yield
    except (DivergedError, Interrupted) as end:
        log.info("%s", message_of(end))
        raise
    except OptrunError as error:
        cause = error.__cause__  # the user's own, with the way there
        log.error("%s", message_of(error), exc_info=cause if cause is not None and call_of(cause) is not None else None)
        raise
    except Exception:
        log.exception("failed")
        raise
    finally:
        _told.reset(before)
        _open.remove(entry)
        if not _open:
            log.setLevel(entry[1])
        log.removeHandler(handler)
        handler.close()

"""The library's log and its downloads on stderr."""

from __future__ import annotations

import logging

from ...experiments.system import downloads, waiting
from .console import say, say_warning
from .downloading import DownloadProgress


def show_log(verbose: bool = False) -> None:
    """Show what the library logs: warnings and downloads always, the rest when asked for."""
    handler = _SayHandler(logging.INFO if verbose else logging.WARNING)
    logger = logging.getLogger("optrun")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(handler.level)
    downloads.reporter = DownloadProgress()
    waiting.reporter = say


class _SayHandler(logging.Handler):
    """Writes records to stderr, except errors: they arrive as exceptions, and are reported at the very end."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            say_warning(record.getMessage())
        elif record.levelno < logging.ERROR:
            say(record.getMessage())

"""Where words go: results to stdout, talk to stderr; live only where a person is watching."""

from __future__ import annotations

import logging
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import IO, Any

import click

_WIDEST = 80  # of what is laid out for reading; a terminal may be narrower
_NARROWEST = 40


def is_live() -> bool:
    """Tell whether to draw a live display on stderr: --style, then whether a person watches a terminal there.

    FORCE_COLOR and its like have no say: cursor codes in a log file help nobody.
    """
    style = _settings().get("style", "auto")
    if style != "auto":
        return style == "full"
    return _is_terminal(sys.stderr) and not os.environ.get("CI")


def has_color(stream: IO[str]) -> bool:
    """Tell whether `stream` gets colours: --color, then NO_COLOR and CI, then whether it is a terminal."""
    wanted = _settings().get("color", "auto")
    if wanted != "auto":
        return wanted == "always"
    return _is_terminal(stream) and not os.environ.get("NO_COLOR") and not os.environ.get("CI")


def paint(stream: IO[str], text: str, **style: Any) -> str:
    """Return `text` in colour, if `stream` gets any; `style` is click's: fg, bold, dim."""
    return click.style(text, **style) if has_color(stream) else text


def columns(stream: IO[str]) -> int:
    """Return how wide `stream` is: COLUMNS, then its terminal, then 80."""
    if (wanted := os.environ.get("COLUMNS", "")).isdecimal() and int(wanted) > 0:
        return int(wanted)
    try:
        return os.get_terminal_size(stream.fileno()).columns or _WIDEST
    except (OSError, ValueError):  # no terminal
        return _WIDEST


def width(stream: IO[str]) -> int:
    """Return the width to lay text out for: at most 80, and never so narrow that nothing fits."""
    return max(_NARROWEST, min(_WIDEST, columns(stream)))


def filled(text: str, indent: int = 0, head: str = "", break_on_hyphens: bool = False) -> list[str]:
    """Fill a paragraph to the width of stdout, after `head`, with further lines indented; words stay whole."""
    lines = textwrap.wrap(
        text,
        width(sys.stdout),
        initial_indent=head,
        subsequent_indent=" " * indent,
        break_on_hyphens=break_on_hyphens,
        break_long_words=False,
    )
    return lines or [head.rstrip()]


def say(text: str = "") -> None:
    """Write a line of talk to stderr, above the live display if there is one."""
    from .live import clear_current

    clear_current()
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def result(lines: str | Iterable[str]) -> None:
    """Write a result to stdout, in one go."""
    text = lines if isinstance(lines, str) else "\n".join(lines)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def result_json(schema: str, *, indent: int | None = 2, **content: Any) -> None:
    """Write a JSON document to stdout, in UTF-8 whatever the locale.

    Args:
        schema: name and version: `optrun/train@1`. Within a version, keys are only added.
        indent: how deep; None writes one line, for commands that write a document again and again.
        content: the rest.
    """
    from ...experiments.system.json_text import encode_json

    sys.stdout.flush()
    sys.stdout.buffer.write(encode_json({"schema": schema, **content}, indent=indent))
    sys.stdout.buffer.flush()


def show_log(verbose: bool = False) -> None:
    """Show what the library says on stderr: warnings and downloads always, the rest when asked for."""
    from ...experiments.system import downloads
    from .downloading import DownloadProgress

    handler = _SayHandler(logging.INFO if verbose else logging.WARNING)
    logger = logging.getLogger("optrun")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(handler.level)
    downloads.reporter = DownloadProgress()


def table(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Lay out rows in columns two spaces apart; the columns in `right` are aligned to the right."""
    right = set(right)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        cells = [cell.rjust(widths[i]) if i in right else cell.ljust(widths[i]) for i, cell in enumerate(row)]
        return "  ".join(cells).rstrip()

    return [line(row) for row in rows]


class _SayHandler(logging.Handler):
    """Says what is logged, except errors: they arrive as exceptions, and are reported at the very end."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            return
        text = record.getMessage()
        if record.levelno == logging.WARNING:
            text = f"{paint(sys.stderr, record.levelname.lower() + ':', fg='yellow')} {text}"
        say(text)


def _is_terminal(stream: IO[str]) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _settings() -> dict[str, str]:
    ctx = click.get_current_context(silent=True)
    return (ctx.find_root().obj or {}) if ctx else {}

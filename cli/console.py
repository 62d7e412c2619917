"""Where words go: results to stdout, talk to stderr; live only where a person is watching."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import IO, Any

import click


def is_live(style: str) -> bool:
    """Tell whether to draw a live display on stderr.

    FORCE_COLOR and its like have no say: cursor codes in a log file help nobody.
    """
    if style != "auto":
        return style == "full"
    return _is_terminal(sys.stderr) and not os.environ.get("CI")


def has_color(stream: IO[str]) -> bool:
    """Tell whether `stream` gets colours: --color, then NO_COLOR, then whether it is a terminal."""
    wanted = _settings().get("color", "auto")
    if wanted != "auto":
        return wanted == "always"
    return _is_terminal(stream) and not os.environ.get("NO_COLOR")


def style() -> str:
    """Return the --style of this command line."""
    return _settings().get("style", "auto")


def console(stream: IO[str]) -> Any:
    """Return a rich console on `stream` that decides for itself neither colour nor liveness."""
    from rich.console import Console

    color = has_color(stream)
    live = stream is sys.stderr and is_live(style())
    return Console(
        file=stream,
        force_terminal=color or live,
        force_interactive=live,
        no_color=not color,
        color_system="auto" if color else None,
        highlight=False,
        soft_wrap=True,
    )


def unicode_ok(stream: IO[str]) -> bool:
    """Tell whether `stream` can carry bars and sparklines."""
    return (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "").startswith("utf")


def say(text: str = "") -> None:
    """Write a line of talk to stderr; a closed stderr is no reason to stop."""
    _write(sys.stderr, text)


def result(text: str = "") -> None:
    """Write a line of the result to stdout."""
    click.echo(text)


def result_json(schema: str, **content: Any) -> None:
    """Write the one JSON document of this command to stdout.

    Args:
        schema: name and version: `optrun/train@1`. Within a version, keys are only added.
        content: the rest.
    """
    from ..experiments.json_text import encode_json

    click.echo(encode_json({"schema": schema, **content}, indent=2).decode().rstrip())


def show_log(verbose: bool, quiet: bool) -> None:
    """Show what the library says on stderr: warnings always, the rest when asked for."""
    logger = logging.getLogger("optrun")
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.INFO if verbose else logging.WARNING)
    handler.setFormatter(_PlainFormatter())
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO if verbose else logging.WARNING)


def table(rows: list[list[str]], header: list[str], right: set[int] = frozenset()) -> list[str]:  # type: ignore[assignment]
    """Lay out rows in columns two spaces apart; the columns in `right` are aligned to the right."""
    from rich.cells import cell_len

    widths = [max(cell_len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(row: list[str]) -> str:
        cells = []
        for index, cell in enumerate(row):
            space = " " * (widths[index] - cell_len(cell))
            cells.append(space + cell if index in right else cell + space)
        return "  ".join(cells).rstrip()

    return [line(row) for row in [header, *rows]]


class _PlainFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


def _is_terminal(stream: IO[str]) -> bool:
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # closed
        return False


def _settings() -> dict[str, str]:
    ctx = click.get_current_context(silent=True)
    return (ctx.find_root().obj or {}) if ctx else {}


def _write(stream: IO[str], text: str) -> None:
    try:
        stream.write(text + "\n")
        stream.flush()
    except (BrokenPipeError, ValueError):
        pass


__all__ = ["console", "has_color", "is_live", "json", "result", "result_json", "say", "show_log", "style", "table"]

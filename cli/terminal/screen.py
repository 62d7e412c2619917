"""The screen that a stream ends at: whether a person watches, whether it has colours, how wide it is."""

from __future__ import annotations

import os
import re
import secrets
import sys
from typing import IO, Any

import click

from ...experiments.system.visible import visible

_WIDEST = 80  # of what is laid out for reading; a terminal may be narrower
_NARROWEST = 40
_COMMAND = re.compile(r"(?m)(?<=^)\s*::|##\[")  # what a GitHub workflow would obey
PAINT = f"\x1b{secrets.token_hex(8)}["  # begins a colour until it is written: nobody else can know it


def is_live() -> bool:
    """Return True if a live display is drawn on stderr: by --style, else if a person watches a terminal there.

    FORCE_COLOR and its like have no say: cursor codes in a log file help nobody.
    """
    style = _settings().get("style", "auto")
    if style != "auto":
        return style == "full"
    return _is_terminal(sys.stderr) and not os.environ.get("CI")


def has_color(stream: IO[str]) -> bool:
    """Return True if `stream` gets colours: by --color, else if neither NO_COLOR nor CI is set on a terminal."""
    wanted = _settings().get("color", "auto")
    if wanted != "auto":
        return wanted == "always"
    return _is_terminal(stream) and not os.environ.get("NO_COLOR") and not os.environ.get("CI")


def paint(stream: IO[str], text: str, **style: Any) -> str:
    """Return `text` in colour, if `stream` gets any; `style` is click's: fg, bold, dim."""
    return click.style(visible(text), **style).replace("\x1b[", PAINT) if has_color(stream) else text


def for_screen(text: str) -> str:
    """Return text as a screen or a pipe may get it: with colours that `paint` put there, and no other control codes."""
    shown = "\x1b[".join(visible(part) for part in text.split(PAINT))
    in_workflow = os.environ.get("GITHUB_ACTIONS") == "true"
    return _COMMAND.sub(lambda found: " ".join(found[0]), shown) if in_workflow else shown


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


def _is_terminal(stream: IO[str]) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _settings() -> dict[str, str]:
    ctx = click.get_current_context(silent=True)
    return (ctx.find_root().obj or {}) if ctx else {}

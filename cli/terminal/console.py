"""Where words go: results to stdout, talk to stderr, above the live display if there is one."""

from __future__ import annotations

import shlex
import sys
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO

import click

from ...experiments.system.visible import in_json, one_line
from .live import clear_current
from .screen import for_screen, paint, width
from .streams import results

ARGUMENTS = "optrun.arguments"  # the key under which click's context keeps the command line
_NOT_REPEATED = {"--fresh"}  # it would begin anew what is to go on


@dataclass(frozen=True)
class Output:
    """The options of a command on what it prints.

    Args:
        as_json: the result is one JSON document.
        quiet: nothing is said but the result.
        verbose: more is said: values, restores, every save.
    """

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False


def say(text: str = "") -> None:
    """Write a line of talk to stderr."""
    clear_current()
    sys.stderr.write(for_screen(text) + "\n")
    sys.stderr.flush()


def say_command(text: str) -> None:
    """Write a line to stderr that a program reads there."""
    clear_current()
    sys.stderr.write(one_line(text) + "\n")
    sys.stderr.flush()


def say_error(text: object) -> None:
    """Write a line that begins with `error:`, in red, to stderr."""
    say(f"{paint(sys.stderr, 'error:', fg='red')} {text}")


def say_warning(text: object) -> None:
    """Write a line that begins with `warning:`, in yellow, to stderr."""
    say(f"{paint(sys.stderr, 'warning:', fg='yellow')} {text}")


def result(lines: str | Iterable[str]) -> None:
    """Write a result to stdout, in one go."""
    text = lines if isinstance(lines, str) else "\n".join(lines)
    results().write(for_screen(text) + "\n")
    results().flush()


def result_json(schema: str, *, indent: int | None = 2, **content: object) -> None:
    """Write a JSON document to stdout, in UTF-8 whatever the locale.

    Args:
        schema: name and version: `optrun/train@1`. Within a version, keys are only added.
        indent: how deep; None writes one line, for commands that write a document again and again.
        content: the rest.
    """
    from ...experiments.system.json_text import encode_json

    results().flush()
    document = encode_json({"schema": schema, **content}, indent=indent).decode()
    results().buffer.write(in_json(document).encode())
    results().buffer.flush()


def filled(
    text: str,
    head: str = "",
    indent: int | None = None,
    stream: IO[str] | None = None,
    break_on_hyphens: bool = False,
    break_long_words: bool = False,
) -> list[str]:
    """Fill a paragraph to the width of a stream.

    Args:
        text: the paragraph.
        head: what stands before it, on the first line.
        indent: of the further lines; by default they begin below the text.
        stream: where it goes; stdout by default.
        break_on_hyphens: lines may end within `warm-up`.
        break_long_words: what is longer than a line is cut; else it stays whole, to be copied.
    """
    lines = textwrap.wrap(
        text,
        width(stream or results()),
        initial_indent=head,
        subsequent_indent=" " * (len(head) if indent is None else indent),
        break_on_hyphens=break_on_hyphens,
        break_long_words=break_long_words,
    )
    return lines or ([head.rstrip()] if head else [])


def cut(text: str, room: int) -> str:
    """Cut a text at a word, where it is longer than there is room."""
    return text if len(text) <= room else text[: room - 1].rpartition(" ")[0].rstrip(",;:") + "…"


def titled(name: str, source: str, place: str, key: str) -> list[str]:
    """Return the title of a header on stderr: a name, and at the right its place, or below where there is no room."""
    gap = width(sys.stderr) - len(name) - len(source) - len(place)
    title = f"{paint(sys.stderr, name, bold=True)}{source}"
    return [f"{title}{' ' * gap}{place}"] if gap >= 2 else [title, f"  {key:<11}{place}"]


def same_command() -> str:
    """Return the command line that is being run, as it can be pasted into a shell."""
    ctx = click.get_current_context(silent=True)
    arguments = [] if ctx is None else ctx.meta.get(ARGUMENTS, [])
    return shlex.join(["optrun", *(argument for argument in arguments if argument not in _NOT_REPEATED)])

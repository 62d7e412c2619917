"""Problems of a configuration, with the places of the values that are wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import DataError, UsageError, nearest
from ..system.places import from_here

SHOWN = 100  # problems written out in one message; the rest is counted
_OUTSIDE = {"command line": "on the command line", "overrides": "in the overrides"}
_WIDTH = 100  # characters of a line shown in a snippet
_LONG = 200  # characters of a message that is not told twice, such as of a file that fails whoever imports it


@dataclass(frozen=True)
class Origin:
    """The place that a value comes from.

    Args:
        kind: `file`, `preset`, `override`, `python` or `default`.
        file: what to print: a path (relative where it lies below the working directory), `preset:NAME`,
            `command line`, `<python>` or `default`.
        line: counted from 1; None where there are no lines.
        column: counted from 1, in characters; for an override the position in the argument.
        text: the value as written.
        snippet: the whole line, or the whole argument of an override.
        width: how many characters of the snippet the value covers.
        via: the file that brought this one in by `extends`.
        folder: what a relative path in the value is relative to.
        index: which of the overrides.
        was: the origin of the value that this one replaced.
    """

    kind: str
    file: str
    line: int | None = None
    column: int | None = None
    text: str = ""
    snippet: str | None = None
    width: int = 1
    via: str | None = None
    folder: Path = Path()
    index: int = 0
    was: Origin | None = None

    @property
    def place(self) -> str:
        """Return `file:line`, or the file alone."""
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def as_dict(self) -> dict[str, Any]:
        """Return what `origins.json` keeps."""
        kept = {"kind": self.kind, "file": self.file, "line": self.line, "column": self.column, "text": self.text}
        return {**kept, "via": self.via, "was": self.was.as_dict() if self.was else None}


DEFAULT = Origin("default", "default")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a configuration.

    Args:
        origin: where.
        key: the key path, `optimizer.lr`; empty where the file cannot be read that far.
        code: a short name for the sort of problem, for machines.
        message: what is wrong, and what was expected.
        hint: one thing to try.
    """

    origin: Origin
    key: str
    code: str
    message: str
    hint: str | None = None

    @property
    def file(self) -> str:
        return self.origin.file

    @property
    def line(self) -> int | None:
        return self.origin.line

    @property
    def column(self) -> int | None:
        return self.origin.column

    @property
    def snippet(self) -> str | None:
        return self.origin.snippet

    @property
    def headline(self) -> str:
        """Return `file:line:column: key: message`."""
        place = self.origin.place if self.line is None else f"{self.origin.place}:{self.column}"
        via = f" (via extends of {self.origin.via})" if self.origin.via else ""
        return f"{place}: {self.said}{via}"

    @property
    def said(self) -> str:
        """Return `key: message`, for a configuration that was made, and has no place."""
        return f"{self.key}: {self.message}" if self.key else self.message

    def __str__(self) -> str:
        lines = [self.headline]
        if self.snippet is not None:
            text, column = _window(self.snippet, self.column or 1)
            number = "" if self.line is None else str(self.line)
            width = max(1, min(self.origin.width, len(text) - column + 1))
            lines.append(f"{number:>5} | {text}".rstrip())
            lines.append(f"{'':>5} | {' ' * (column - 1)}{'^' * width} {self.hint or ''}".rstrip())
        elif self.hint:
            lines.append(f"    hint: {self.hint}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return the problem as JSON-able data."""
        kept = {"file": self.file, "line": self.line, "column": self.column, "key": self.key, "code": self.code}
        return {**kept, "message": self.message, "hint": self.hint, "snippet": self.snippet, "via": self.origin.via}


class ConfigError(UsageError):
    """A configuration that cannot be used; `problems` has everything that is wrong with it, in file order."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems = in_order(problems)
        super().__init__(self._text())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)

    @property
    def headline(self) -> str:
        """Return all problems on one line, without the lines of the files."""
        return "; ".join(problem.headline for problem in self.problems[:SHOWN])

    def _text(self) -> str:
        shown: list[str] = []
        first_with: dict[str, Problem] = {}
        for problem in self.problems[:SHOWN]:
            first = first_with.setdefault(problem.message, problem)
            is_told = first is not problem and len(problem.message) > _LONG
            shown.append(str(replace(problem, message=f"the same as {first.key}") if is_told else problem))
        if len(self.problems) > SHOWN:
            shown.append(f"… and {len(self.problems) - SHOWN} more")
        return "\n".join([*shown, self._count()])

    def _count(self) -> str:
        sources = {problem.file for problem in self.problems}
        files = {problem.file for problem in self.problems if problem.origin.kind in ("file", "preset")}
        places = [f"in {_plural(len(files), 'file')}"] if files else []
        places += [words for name, words in _OUTSIDE.items() if name in sources]
        return " ".join(["Found", _plural(len(self.problems), "problem"), " and ".join(places)]).rstrip() + "."


class ConfiguredDataError(ConfigError, DataError):
    """Data that is not what a configuration needs, told at the keys that decide what becomes of it."""

    exit_code = DataError.exit_code


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Sort problems by file (as first met), line and column; overrides come last, one after the other."""
    problems = list(problems)
    files: dict[str, int] = {}
    for problem in problems:
        files.setdefault(problem.file, len(files))

    def rank(problem: Problem) -> tuple[bool, int, int, int, int]:
        origin = problem.origin
        is_override = origin.kind == "override"
        return is_override, files[problem.file], origin.index, origin.line or 0, origin.column or 0

    return tuple(dict.fromkeys(sorted(problems, key=rank)))


def suggestion(name: str, known: Iterable[str], otherwise: str | None = None) -> str | None:
    """Return the hint that the nearest known name was meant; `otherwise` where none is near."""
    guess = nearest(name, known)
    return f"did you mean '{guess}'?" if guess else otherwise


def shorten(text: str, length: int = 60) -> str:
    """Cut a text that is too long for a message."""
    return text if len(text) <= length else text[: length - 1] + "…"


def display(path: Path) -> str:
    """Write a path as users like to read it: relative to the working directory where it lies below."""
    return from_here(path)


def _window(line: str, column: int) -> tuple[str, int]:
    """Return the part of a line around `column`, printable, and the column within it."""
    start = max(0, column - _WIDTH // 2) if len(line) > _WIDTH else 0
    shown = line[start : start + _WIDTH]
    printable = "".join(char if char.isprintable() else " " if char.isspace() else "�" for char in shown)
    return printable, column - start


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

"""Messages to a GitHub workflow: annotations at the lines that are wrong, a table on the job's page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ...experiments.report.tables.table import markdown_text
from ...experiments.run_directory.final_values import not_finite
from ...experiments.system.visible import visible
from .console import say, say_command

_MOST = 10  # GitHub shows ten annotations of a kind for each step


def annotate(problems: Sequence[Any], message: str) -> None:
    """Annotate the lines that are wrong, or the job as a whole where there is no line; elsewhere, do nothing.

    Args:
        problems: a ConfigError's.
        message: what to say when there are none.
    """
    if not _is_github():
        return
    for problem in problems[:_MOST]:
        place = {"file": problem.file, "line": problem.line, "col": problem.column} if problem.line else {}
        where = ",".join(f"{key}={_escape(str(value), in_place=True)}" for key, value in place.items())
        text = ": ".join(part for part in (problem.key, problem.message, problem.hint) if part)
        say_command(f"::error{' ' if where else ''}{where}::{_escape(text)}")
    if len(problems) > _MOST:
        say_command(f"::notice::{len(problems) - _MOST} more problems are in the log")
    if not problems:
        say_command(f"::error::{_escape(message)}")


def add_step_summary(name: str, summary: Mapping[str, Any]) -> None:
    """Add a run's result to the job's page, as a table in Markdown; elsewhere, do nothing."""
    final = {key: "" if value is None else f"{value:.4f}" for key, value in summary["final"].items()}
    final |= not_finite(summary)
    head = ["run", "outcome", "steps", *final]
    cells = [name, summary["outcome"], str(summary["steps"]), *final.values()]
    rows = [list(map(markdown_text, head)), ["---"] * len(head), list(map(markdown_text, cells))]
    add_markdown("".join(f"| {' | '.join(row)} |\n" for row in rows))


def add_markdown(text: str) -> None:
    """Add Markdown to the job's page; elsewhere, do nothing."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path or not _is_github():
        return
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{text.rstrip()}\n\n")
    except OSError as error:
        say(f"warning: no step summary: {error}")


def _is_github() -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true"


def _escape(text: str, in_place: bool = False) -> str:
    text = visible(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if in_place else text

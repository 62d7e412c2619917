"""The differences between two runs: settings, results, environment."""

from __future__ import annotations

from typing import Any

from ...config.changes import changed_keys
from ...run_directory.final_values import not_finite
from ...run_directory.run import Run
from ...system.places import shown
from .. import style
from ..group import Row
from .table import Column, Table

_NOT_COMPARED = {"command", "run", "project"}
_RESULTS = ("outcome", "steps", "epochs", "examples", "gradient_evaluations", "skipped", "train_secs", "cpu_secs")
_RESULTS += ("num_parameters",)


def diff_rows(a: Run, b: Run) -> list[Row]:
    """Return one row for each key that differs: section, key, both values, and their difference where it is a number.

    Sections are `config`, `result` (final values among them) and `environment`. What is missing on one side is None; a
    final value that is not finite is `nan`, `inf` or `-inf`.
    """
    rows = [_row("config", change.key, change.before, change.after) for change in changed_keys(a.config, b.config)]
    first, second = _results(a), _results(b)
    rows += [_row("result", key, first.get(key), second.get(key)) for key in _union(first, second)]
    first, second = a.env, b.env
    for change in changed_keys(first, second):
        if change.key.split(".")[0] not in _NOT_COMPARED:
            rows.append(_row("environment", change.key, change.before, change.after))
    return [row for row in rows if not _same(row["a"], row["b"])]


def diff_table(a: Run, b: Run) -> Table:
    """Return what differs as a table; without rows where nothing does."""
    names = (a.name, b.name) if a.name != b.name else (shown(a.path), shown(b.path))
    columns = [
        Column("", lambda row: row["section"], "section"),
        Column("key", lambda row: row["key"], "key", is_header=True, shrinks=True),
        Column(style.shortened(names[0], 24), lambda row: _text(row["a"]), "a", right=True, shrinks=True),
        Column(style.shortened(names[1], 24), lambda row: _text(row["b"]), "b", right=True, shrinks=True),
        Column("difference", lambda row: _difference(row["difference"]), "difference", right=True),
    ]
    return Table("diff", f"{names[0]} and {names[1]}", columns, diff_rows(a, b))


def _row(section: str, key: str, a: Any, b: Any) -> Row:
    difference = b - a if style.is_number(a) and style.is_number(b) else None
    return {"section": section, "key": key, "a": a, "b": b, "difference": difference}


def _results(run: Run) -> Row:
    summary = run.summary
    found = {key: summary[key] for key in _RESULTS if summary.get(key) is not None}
    return {**found, **(summary.get("final") or {}), **not_finite(summary)}


def _union(a: Row, b: Row) -> list[str]:
    return list(dict.fromkeys([*a, *b]))


def _same(a: Any, b: Any) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else style.cell(value, missing="-")


def _difference(value: float | None) -> str:
    if value is None:
        return ""
    return f"{'+' if value > 0 else ''}{style.number(value, 3)}"

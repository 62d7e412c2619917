"""The list of runs as a table, those of a group below its name."""

from __future__ import annotations

from typing import Any

from ...experiments.report.style import score
from ...experiments.report.tables.table import aligned
from ..terminal.charts import sparkline
from ..terminal.screen import columns
from ..terminal.streams import is_utf8, results

_HEADER = ["run", "status", "optimizer", "steps", "secs", "result", "curve"]
_NUMBERS = {3, 4}  # columns aligned to the right
_DROPPED = ["curve", "secs", "steps", "optimizer"]  # in this order, where the terminal is too narrow


def runs_table(rows: list[dict[str, Any]]) -> list[str]:
    """Lay the runs out, without what there is no room for."""
    cells, kept = [_HEADER, *(_cells(row) for row in rows)], list(_HEADER)
    lines = _laid_out(cells, kept)
    for name in _DROPPED:
        if max(map(len, lines)) > columns(results()):
            kept.remove(name)
            lines = _laid_out(cells, kept)
    return _below_their_groups(lines, rows)


def _laid_out(cells: list[list[str]], kept: list[str]) -> list[str]:
    indices = [index for index, name in enumerate(_HEADER) if name in kept]
    right = [place for place, index in enumerate(indices) if index in _NUMBERS]
    return aligned([[row[index] for index in indices] for row in cells], right)


def _below_their_groups(lines: list[str], rows: list[dict[str, Any]]) -> list[str]:
    """Put the name of each group before the lines of its runs."""
    headed, group = lines[:1], None
    for line, row in zip(lines[1:], rows, strict=True):
        if row["group"] not in (None, group):
            headed.append(f"{row['group']}/")
        group = row["group"]
        headed.append(line)
    return headed


def _cells(row: dict[str, Any]) -> list[str]:
    final = row["final"]
    name = next((name for name in final if name.startswith("test/") and name != "test/loss"), next(iter(final), None))
    optimizer = (row["optimizer"] or "").rpartition(":")[2]
    return [
        f"  {row['name']}" if row["group"] else row["name"],
        row["status"] or "unknown",
        f"{optimizer} {row['lr']:g}" if row["lr"] is not None else optimizer,
        "" if row["steps"] is None else str(row["steps"]),
        "" if row["train_secs"] is None else f"{row['train_secs']:.1f}",
        _result(name, row),
        sparkline(row["curve"], 10, is_utf8(results())),
    ]


def _result(name: str | None, row: dict[str, Any]) -> str:
    """Return a final value, and the first of those that are not finite, with how many more there are."""
    if name is None:
        return ""
    bad = dict(row["not_finite"])
    shown = f"{name} {bad.pop(name)}" if name in bad else f"{name} {score(row['final'][name])}"
    if not bad:
        return shown
    first, value = next(iter(bad.items()))
    return f"{shown}, {first} {value}" + (f" (+{len(bad) - 1})" if len(bad) > 1 else "")

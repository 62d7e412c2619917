"""What may differ between two runs of the same code, taken out: times, processes, folders, versions, keys of the cache.

`freeze` sets the clock of finished runs in their own files, so that everything that is read from them afterwards
(tables, pages, figures) can be compared as it is.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

_MOMENT = "2026-01-01T00:00:00.000000+00:00"
_TIMES = {"time", "secs", "created", "updated", "started", "when", "pid", "host"}

_PATTERNS = [
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(\+00:00|Z| UTC)?"), "<moment>"),
    (re.compile(r"(step-\d{8})-[0-9a-f]{64}"), r"\1-<hash>"),
    (re.compile(r"(-s\d+)-[0-9a-f]{8}\b"), r"\1-<key>"),
    (re.compile(r"\boptrun \d+\.\d+\.\w+"), "optrun <version>"),
    (re.compile(r"\btfevents\.\S+"), "tfevents"),
    (re.compile(r"^.*FutureWarning: optrun\..*\n .*\n", re.MULTILINE), ""),  # an import of a user's has moved
    (re.compile(r'"[^"\n]*/__main__\.py"'), '"<program>"'),
    (re.compile(r'(?:\\n)+Examples?:\\n(?:[^"\\]|\\.)*"'), '"'),  # of a docstring: for readers of the code
    (re.compile(r"[\w/.-]+\.py:\d+"), "<file>:<line>"),
    (re.compile(r"(<folder>.*\n *\| *)\^+"), r"\1^"),  # as many as the folder's name has letters
]
_TALK = [
    (re.compile(r"^.* (ex/s|eta)=.*\n", re.MULTILINE), ""),  # also said after a silence, which a slow machine makes
    (re.compile(r"\b(in|about) (\d+\.\d+ s|\d+:\d\d)\b"), r"\1 <time>"),
    (re.compile(r" \d+\.\ds$", re.MULTILINE), " <time>"),
]


def text(words: str, folder: Path, *, talk: bool = False) -> str:
    """Return words without what may differ; `talk` is stderr, which also names durations."""
    words = words.replace(str(folder), "<folder>").replace(str(folder.parent), "<place>")
    for pattern, replacement in [*_PATTERNS, *(_TALK if talk else [])]:
        words = pattern.sub(replacement, words)
    return words


def document(data: Any) -> Any:
    """Return JSON without the values of times."""
    return _with_times(data, lambda value: "<time>")


def freeze(runs: Path) -> None:
    """Set all times in a folder of runs: those of run number i, by path, to the i-th second of the year 2026."""
    for number, status in enumerate(sorted(runs.rglob("status.json"), key=lambda path: text(str(path), runs))):
        moment = f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}.000000+00:00"
        for path in (status, status.with_name("summary.json")):
            _rewrite(path, moment, indent=2)
        rows = status.with_name("metrics.jsonl")
        if rows.exists():
            rows.write_text("".join(_freeze_row(line) for line in rows.read_text().splitlines(keepends=True)))
    for path in runs.rglob("comparison.json"):
        _rewrite(path, _MOMENT, indent=1)
    _renew_hashes(runs)
    for page in runs.glob("*/report.html"):  # of the comparison itself; the times in it are gone by
        page.write_text("")


def _renew_hashes(runs: Path) -> None:
    """Let comparisons, and what they keep for others, know the files of their runs as they are now."""
    kept = (path for path in runs.glob(".cache/*") if path.suffix != ".lock")
    for path in [*runs.rglob("comparison.json"), *kept]:
        try:
            data = json.loads(path.read_text())
        except ValueError:  # earlier versions kept no JSON there
            continue
        for record in data.get("runs", [data]):
            if record.get("sha256"):
                folder = runs / record["path"]
                record["sha256"] = {name: _sha256(folder / name) for name in record["sha256"]}
        path.write_text(json.dumps(data, indent=1) + "\n")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _rewrite(path: Path, moment: str, indent: int) -> None:
    if not path.exists():
        return

    data = _with_times(json.loads(path.read_text()), lambda value: moment if isinstance(value, str) else 1.5)
    for name in ("pid", "host"):
        if name in data:
            data[name] = 1 if name == "pid" else "host"
    path.write_text(json.dumps(data, indent=indent) + "\n")


def _freeze_row(line: str) -> str:
    row = json.loads(line)
    return json.dumps({**row, "time": row["step"] / 128}, separators=(",", ":")) + "\n"


def _with_times(data: Any, replace: Any) -> Any:
    if isinstance(data, dict):
        return {
            key: replace(value) if _is_time(key, value) else _with_times(value, replace) for key, value in data.items()
        }
    if isinstance(data, list):
        return [_with_times(value, replace) for value in data]
    return data


def _is_time(key: str, value: Any) -> bool:
    return (key in _TIMES or key.endswith("_secs")) and isinstance(value, str | int | float)

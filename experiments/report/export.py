"""A comparison as a file: Markdown, CSV, JSON, a page, or a figure, by the suffix."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..system import storage
from ..system.json_text import encode_json
from .figures.overview import overview_figure
from .page.html import group_page
from .records import analysis_record
from .report import Report
from .results import Results
from .sensitivity import good_range, good_ranges
from .tables.comparison_tables import cost_table, result_table, sensitivity_table
from .tables.table import csv_text, markdown_table, markdown_text
from .trials import keys_of, num_known, trial_states
from .words.headline import verdict_sentences

SCHEMA = "optrun/comparison-result@1"
SUFFIXES = (".md", ".csv", ".json", ".html", ".png", ".svg")


def export(comparison: Any, path: str | Path) -> Path:
    """Write a comparison or sweep in the format that the suffix names, and return the file.

    Args:
        comparison: a `Report`, a `Group`, its folder, or an object that has the folder as `path`.
        path: ends in .md, .csv, .json, .html, .png or .svg.

    Raises:
        UsageError: another suffix, or a folder that is not there.
        NothingMatchedError: no comparison there, or an entry without a finished run.
        StorageError: it cannot be written.
    """
    path = Path(path)
    report = comparison if isinstance(comparison, Report) else Report(comparison)
    check_suffix(path)
    _ = report.results  # an entry without a finished run is refused, whatever the suffix
    if path.suffix in (".png", ".svg"):
        return overview_figure(report, path)
    content: str | bytes
    if path.suffix == ".md":
        content = markdown(report)
    elif path.suffix == ".csv":
        content = csv_text(report.named.runs)
    elif path.suffix == ".json":
        content = encode_json(as_dict(report), indent=2)
    else:
        content = group_page(report)
    storage.write_derived(path, content)
    return path


def check_suffix(path: str | Path) -> None:
    """Refuse a file that no format is known for, before work is put into it.

    Raises:
        UsageError: its suffix, or its folder.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path}: the suffix says what to write: {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}")


def as_dict(report: Report) -> dict[str, Any]:
    """Return everything as plain data, every number at full precision, entries by their names."""
    said, report = report.said, report.named
    group, results = report.group, report.results
    lost = {name: [group.result_state(run) for run in group.lost(name)] for name in group.names if group.lost(name)}
    return {
        "schema": SCHEMA,
        "name": group.name,
        "kind": group.kind,
        "complete": bool(group.data.get("complete")),
        "exploratory": group.exploratory,
        "sentence": str(said),
        "headline": said.headline,
        "notes": list(said.notes),
        "protocol": group.protocol,
        "entries": _sweep_rows(report) if group.kind == "sweep" else report.entries,
        "failed_entries": [name for name, states in lost.items() if "failed" in states],
        "lost_entries": {name: dict(Counter(states)) for name, states in lost.items()},
        "analysis": None if results is None else analysis_record(results.analysis),
        "times_to_target": {} if results is None else _times(results),
        "sensitivity": report.trials,
        "runs": report.runs,
        "pairing": group.data.get("pairing"),
        "looks": group.looks,
        "verified": group.data.get("verified"),
        "wall_secs": group.data.get("wall_secs"),
    }


def markdown(report: Report) -> str:
    """Return the report as Markdown, for an issue, a pull request or a step summary."""
    results, said = report.results, report.said
    parts = [f"## {markdown_text(report.group.name)}", f"**{markdown_text(said.headline)}.**"]
    if said.notes:
        parts.append("\n".join(f"> {markdown_text(note)}  " for note in said.notes))
    if results is not None:
        parts.append("\n".join(markdown_table(result_table(report, verdicts=True))))
        parts.append("\n".join(markdown_table(cost_table(report))))
        if len(results.analysis.pairs) > 1:
            parts.append(_listed(verdict_sentences(results)))
    if report.trials:
        lines = "\n".join(markdown_table(sensitivity_table(report)))
        parts.append(lines if results is None else _folded("Every trial", lines))
    parts.append(_folded("What was done", _listed(report.protocol)))
    return "\n\n".join(parts) + "\n"


def _listed(lines: list[str]) -> str:
    return "\n".join(f"- {markdown_text(line)}" for line in lines)


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def _times(results: Results) -> dict[str, Any]:
    found = {}
    for name, times in results.times.items():
        seeds = {str(s): {"epochs": times.epochs[s], "reached": times.reached[s]} for s in times.epochs}
        mean = times.mean
        found[name] = {
            "seeds": seeds,
            "reached": times.num_reached,
            "n": len(seeds),
            "median": times.median.median,
            "median_low": times.median.low,
            "median_high": times.median.high,
            "restricted_mean": mean.mean if mean else None,
            "restricted_mean_low": mean.interval.low if mean else None,
            "restricted_mean_high": mean.interval.high if mean else None,
            "horizon": mean.horizon if mean else None,
            "expected": times.median.expected,
        }
    return found


def _sweep_rows(report: Report) -> list[dict[str, Any]]:
    group, rows = report.group, []
    for entry in group.entries:
        tuning, is_one = entry.get("tuning") or {}, len(keys_of(entry)) == 1
        kept = ("key", "chosen", "bracketed", "spent") if is_one else ("keys", "chosen", "bracketed", "edges", "spent")
        row = {"entry": entry["name"], **{key: tuning.get(key) for key in kept}}
        row["known"] = num_known(trial_states(entry))
        if is_one:
            span = good_range(entry, group.selector)
            row |= {"good_low": span.low if span else None, "good_high": span.high if span else None}
        else:
            row["good"] = {key: [span.low, span.high] for key, span in good_ranges(entry, group.selector).items()}
        rows.append(row)
    return rows

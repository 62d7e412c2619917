"""A comparison as a file: Markdown, CSV, JSON, a page, or a figure, by the suffix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..system import storage
from ..system.json_text import encode_json
from .figures.figures import group_figure
from .group import Group
from .page.html import group_page
from .results import Results
from .sensitivity import good_range, sensitivity_rows
from .tables import tables
from .tables.entry_rows import comparison_rows, final_metrics, run_rows
from .tables.table import csv_text, markdown_table, markdown_text
from .words.protocol_text import protocol_sentences
from .words.sentence import say, say_sweep, verdict_sentences

SCHEMA = "optrun/comparison-result@1"
SUFFIXES = (".md", ".csv", ".json", ".html", ".png", ".svg")


def export(comparison: Any, path: str | Path, *, results: Results | None = None) -> Path:
    """Write a comparison or sweep in the format that the suffix names, and return the file.

    Args:
        comparison: a `Group`, its folder, or an object that has the folder as `path`.
        path: ends in .md, .csv, .json, .html, .png or .svg.
        results: of the group, where they were computed already.

    Raises:
        UsageError: another suffix, or a folder that is not there.
        NothingMatchedError: no comparison there, or an entry without a finished run.
        StorageError: it cannot be written.
    """
    path = Path(path)
    group = comparison if isinstance(comparison, Group) else Group(comparison)
    check_suffix(path)
    if results is None and group.kind == "compare":
        results = Results(group)
    if path.suffix in (".png", ".svg"):
        return group_figure(group, results, path)
    content: str | bytes
    if path.suffix == ".md":
        content = markdown(group, results)
    elif path.suffix == ".csv":
        content = csv_text(run_rows(group.records, final_metrics(group)))
    elif path.suffix == ".json":
        content = encode_json(as_dict(group, results), indent=2)
    else:
        content = group_page(group, results)
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


def as_dict(group: Group, results: Results | None = None) -> dict[str, Any]:
    """Return everything as plain data, every number at full precision.

    Args:
        group: a comparison or a sweep.
        results: of a comparison.
    """
    said = say(results) if results else say_sweep(group)
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
        "entries": comparison_rows(results) if results else _sweep_rows(group),
        "analysis": results.analysis.as_dict() if results else None,
        "times_to_target": _times(results) if results else {},
        "sensitivity": sensitivity_rows(group),
        "runs": run_rows(group.records, final_metrics(group)),
        "pairing": group.data.get("pairing"),
        "looks": group.data.get("looks") or [],
        "wall_secs": group.data.get("wall_secs"),
    }


def markdown(group: Group, results: Results | None = None) -> str:
    """Return the report as Markdown, for an issue, a pull request or a step summary."""
    said = say(results) if results else say_sweep(group)
    parts = [f"## {markdown_text(group.name)}", f"**{markdown_text(said.headline)}.**"]
    if said.notes:
        parts.append("\n".join(f"> {markdown_text(note)}  " for note in said.notes))
    if results:
        parts.append("\n".join(markdown_table(tables.result_table(results, verdicts=True))))
        parts.append("\n".join(markdown_table(tables.cost_table(results))))
        if len(results.analysis.pairs) > 1:
            parts.append("\n".join(f"- {markdown_text(line)}" for line in verdict_sentences(results)))
    table = tables.sensitivity_table(group)
    if table.rows:
        lines = "\n".join(markdown_table(table))
        parts.append(lines if results is None else f"<details><summary>Every trial</summary>\n\n{lines}\n\n</details>")
    protocol = "\n".join(f"- {markdown_text(line)}" for line in protocol_sentences(group, results))
    parts.append(f"<details><summary>What was done</summary>\n\n{protocol}\n\n</details>")
    return "\n\n".join(parts) + "\n"


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


def _sweep_rows(group: Group) -> list[dict[str, Any]]:
    rows = []
    for entry in group.entries:
        tuning, span = entry.get("tuning") or {}, good_range(entry, group.margin, group.mode)
        row = {"entry": entry["name"], **{key: tuning.get(key) for key in ("key", "chosen", "bracketed", "spent")}}
        row |= {"good_low": span.low if span else None, "good_high": span.high if span else None}
        rows.append(row)
    return rows

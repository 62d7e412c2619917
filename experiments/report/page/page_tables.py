"""The tables of a page: the same rows as in text, with a second line in a cell where there is room for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...run_directory.comparison_file import NO_RESULT
from .. import style
from ..group import Group, Row
from ..tables import comparison_tables
from ..tables.table import Column, Table
from ..words.protocol import pairing_sentences

if TYPE_CHECKING:
    from ..report import Report


def page_result_table(report: Report) -> Table:
    """Return the endpoint with its intervals and the verdict in words."""
    rows = report.entries
    columns = {
        "entry": {"title": "Entry"},
        "rank_low": {"title": "Rank"},
        "ties": {"title": "Tie"},
        "n": {"title": "Runs", "text": lambda row: str(row["n"]), "sub": _lost, "css": "right"},
        "mean": {"title": "Mean", "sub": _range(rows, "mean")},
        "difference": {
            "title": f"Difference to {rows[0]['reference']}",
            "sub": _range(rows, "difference", sign=True),
        },
        "p_adjusted": {},
        "better_share": {"sub": _shares},
        "verdict_text": {"title": "Verdict", "css": "words-cell"},
    }
    return page_table(comparison_tables.result_table(report, verdicts=True), report.group.names, columns)


def page_cost_table(report: Report) -> Table:
    """Return what it took."""
    target = report.group.target or {"metric": "", "value": None}
    columns = {
        "entry": {"title": "Entry"},
        "setting": {"title": comparison_tables.tuned_key(report.entries), "text": _written("setting"), "sub": _bracket},
        "trial_runs": {"title": "Trial runs", "text": comparison_tables.trial_runs_text},
        "epochs_median": {"title": f"Epochs to {target['metric']} {style.number(target['value'])}", "sub": _sooner},
        "gradient_evaluations": {"title": "Gradient evaluations", "text": _written("gradient_evaluations", "")},
        "examples": {"title": "Examples", "text": _written("examples", "")},
        "cpu_secs": {"title": "CPU seconds"},
    }
    table = page_table(comparison_tables.cost_table(report), report.group.names, columns)
    return replace(table, caption="Tuning, time to target, and the mean cost of one evaluation run.")


def page_table(table: Table, names: list[str], columns: Mapping[str, dict[str, Any]] | None = None) -> Table:
    """Return a table as pages have it: numbers to the right, each row in the colour of its entry.

    Args:
        table: as in text.
        names: of the entries, in the order of their colours.
        columns: changes of the columns, by their keys, in the order of the page; those that the table lacks are not
            missed. By default the columns are those of the text.
    """
    found = {column.key: column for column in table.columns}
    changes = {key: {} for key in found} if columns is None else {key: columns[key] for key in columns if key in found}
    shown = [
        replace(found[key], **{"css": "right number" if found[key].right else found[key].css, **changed})
        for key, changed in changes.items()
    ]
    rows = [{**row, "color": names.index(row["entry"]) % len(style.LIGHT)} for row in table.rows]
    return replace(table, columns=shown, rows=rows)


def pairing_tables(group: Group) -> dict[str, Any] | None:
    """Return what was found to be the same and what differs between entries; None where nothing was recorded."""
    pairing = group.data.get("pairing") or {}
    if not pairing:
        return None
    seeds, differences = pairing.get("seeds") or {}, pairing.get("differences") or []
    names = group.names
    rows = [
        {
            "key": item["key"],
            "color": None,
            **{f"entry {n}": style.cell(item["values"].get(n), missing="–") for n in names},
        }
        for item in differences
    ]
    columns = [Column("Setting", lambda row: row["key"], "key", is_header=True)]
    columns += [Column(name, _named(f"entry {name}"), f"entry {name}") for name in names]
    return {
        "words": pairing_sentences(pairing, group.paired),
        "differences": Table("differences", "Settings that differ", columns, rows),
        "seeds": _seeds_table(seeds),
    }


def _order(row: dict[str, Any]) -> str:
    return str(row.get("order") or row.get("first_batches", ""))[:16]


def _seeds_table(seeds: dict[str, Any]) -> Table:
    rows = [{"color": None, "seed": seed, **facts} for seed, facts in seeds.items()]
    columns = [
        Column("Seed", lambda row: str(row["seed"]), "seed", is_header=True),
        Column("Initial parameters", lambda row: str(row.get("parameters", ""))[:16], "parameters", css="path"),
        Column(
            "Initial loss", lambda row: style.number(row.get("initial_loss"), 7), "initial_loss", css="right number"
        ),
        Column(
            "Order of the data",
            _order,
            "order",
            css="path",
        ),
    ]
    return Table("seeds", "Fingerprints, seed by seed", columns, rows)


def _written(key: str, missing: str = "–") -> Callable[[Row], str]:
    return lambda row: style.number(row[key], missing=missing)


def _range(rows: list[Row], key: str, sign: bool = False) -> Callable[[Row], str]:
    """Write an interval with the decimals of its column: `0.9528 to 0.9630`."""
    written = comparison_tables.value_writer(rows, key, sign)

    def write(row: Row) -> str:
        low, high = row[f"{key}_low"], row[f"{key}_high"]
        if low is None or high is None:
            return ""
        return f"{written(low)} to {written(high)}"

    return write


def _shares(row: Row) -> str:
    return "" if row["better_low"] is None else f"{100 * row['better_low']:.0f} to {100 * row['better_high']:.0f} %"


def _lost(row: Row) -> str:
    """Write what came of the other runs, of all that were planned: `1 diverged, of 10: 2 failed`."""
    diverged = f"{row['diverged']} diverged" if row["diverged"] else ""
    lost = ", ".join(f"{row[state]} {state}" for state in NO_RESULT if row[state])
    return ", ".join(part for part in (diverged, f"of {row['planned']}: {lost}" if lost else "") if part)


def _bracket(row: Row) -> str:
    if row["bracketed"] is False and row["chosen"] is None:
        return "as given"
    return {None: "", True: "bracketed", False: "not bracketed"}[row["bracketed"]]


def _sooner(row: Row) -> str:
    """Write how many times sooner than the reference, where no run missed."""
    ratio, low, high = row["times_sooner"], row["times_sooner_low"], row["times_sooner_high"]
    if ratio is None:
        return ""
    if ratio < 1:
        ratio, low, high = 1 / ratio, None if high is None else 1 / high, None if low is None else 1 / low
        words = "slower"
    else:
        words = "sooner" if ratio > 1 else "the time"
    interval = "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"
    p = row["times_sooner_p_adjusted"]
    return f"{ratio:.2f} × {words}{interval}{'' if p is None else f', p {style.p_value(p)}'}"


def _named(key: str) -> Callable[[Row], str]:
    return lambda row: row[key]

"""The tables of a page: the same rows as in text, with a second line in a cell where there is room for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import style
from ..group import Group
from ..results import Results
from ..tables import tables
from ..tables.entry_rows import comparison_rows
from ..tables.table import Column, Row, Table


def page_result_table(results: Results) -> Table:
    """Return the endpoint with its intervals and the verdict in words."""
    rows = colored(comparison_rows(results), results.group.names)
    columns = [
        Column("Entry", lambda row: row["entry"], "entry", is_header=True),
        Column("Rank", tables.rank_text, "rank_low"),
        Column("Tie", lambda row: row["ties"], "ties"),
        Column("Runs", lambda row: str(row["n"]), "n", right=True, sub=_diverged, css="right"),
        _number("Mean", tables.mean_writer(rows), "mean", _range(rows, "mean")),
        _number(
            f"Difference to {results.reference}",
            tables.difference_writer(rows),
            "difference",
            _range(rows, "difference", sign=True),
        ),
        _number("p", lambda row: style.p_value(row["p_adjusted"]), "p_adjusted"),
        _number("P(better)", tables.better_text, "better_share", _shares),
        Column("Verdict", lambda row: row["verdict_text"], "verdict_text", css="words-cell"),
    ]
    if not any(row["ties"] for row in rows):
        columns = [column for column in columns if column.key != "ties"]
    return Table("result", f"Result on {results.group.metric}", columns, rows)


def page_cost_table(results: Results) -> Table:
    """Return what it took."""
    rows = colored(comparison_rows(results), results.group.names)
    key = next((row["tuned_key"] for row in rows if row["tuned_key"]), None) or "optimizer.lr"
    columns = [
        Column("Entry", lambda row: row["entry"], "entry", is_header=True),
        _number(key, lambda row: style.number(row["setting"], missing="–"), "setting", _bracket),
        _number("Trial runs", lambda row: style.number(row["trial_runs"], missing="–"), "trial_runs"),
    ]
    if results.times:
        target = results.group.target or {}
        title = f"Epochs to {target['metric']} {style.number(target['value'])}"
        columns.append(_number(title, tables.epochs_text, "epochs_median", _sooner))
    columns += [
        _number("Gradient evaluations", lambda row: style.number(row["gradient_evaluations"]), "gradient_evaluations"),
        _number("Examples", lambda row: style.number(row["examples"]), "examples"),
        _number("CPU seconds", lambda row: style.decimal(row["cpu_secs"], 2), "cpu_secs"),
    ]
    caption = "Tuning, time to target, and the mean cost of one evaluation run."
    return Table("cost", "Tuning, time to target, and cost", columns, rows, caption)


def pairing_tables(group: Group) -> dict[str, Any] | None:
    """Return what was found to be the same and what differs between entries; None where nothing was recorded."""
    pairing = group.data.get("pairing") or {}
    if not pairing:
        return None
    same = style.listing([str(item) for item in pairing.get("same") or []])
    seeds = pairing.get("seeds") or {}
    if pairing.get("checked"):
        words = f"For each of {style.many(len(seeds), 'seed')} all entries were shown to have the same {same}."
    else:
        words = "The pairing was not checked: nothing proves that entries saw the same data from the same start."
    differences = pairing.get("differences") or []
    words += (
        " Between the entries only these settings differ:"
        if differences
        else " No setting differs between the entries."
    )
    names = group.names
    rows = [
        {"key": item["key"], "color": None, **{f"entry {n}": _text(item["values"].get(n)) for n in names}}
        for item in differences
    ]
    columns = [Column("Setting", lambda row: row["key"], "key", is_header=True)]
    columns += [Column(name, _cell(f"entry {name}"), f"entry {name}") for name in names]
    return {
        "words": words,
        "differences": Table("differences", "Settings that differ", columns, rows),
        "seeds": _seeds_table(seeds),
    }


def colored(rows: list[Row], names: list[str]) -> list[Row]:
    """Give each row the colour of its entry: its place in the group."""
    return [{**row, "color": names.index(row["entry"]) % len(style.LIGHT)} for row in rows]


def _seeds_table(seeds: dict[str, Any]) -> Table:
    rows = [{"color": None, "seed": seed, **facts} for seed, facts in seeds.items()]
    columns = [
        Column("Seed", lambda row: str(row["seed"]), "seed", is_header=True),
        Column("Initial parameters", lambda row: str(row.get("parameters", ""))[:16], "parameters", css="path"),
        Column(
            "Initial loss", lambda row: style.number(row.get("initial_loss"), 7), "initial_loss", css="right number"
        ),
        Column("Order of the data", lambda row: str(row.get("order", ""))[:16], "order", css="path"),
    ]
    return Table("seeds", "Fingerprints, seed by seed", columns, rows)


def _number(title: str, text: Callable[[Row], str], key: str, sub: Callable[[Row], str] | None = None) -> Column:
    return Column(title, text, key, right=True, sub=sub, css="right number")


def _range(rows: list[Row], key: str, sign: bool = False) -> Callable[[Row], str]:
    """Write an interval with the decimals of its column: `0.9528 to 0.9630`."""
    decimals = tables.decimals_of(rows, key)

    def write(row: Row) -> str:
        low, high = row[f"{key}_low"], row[f"{key}_high"]
        if low is None or high is None:
            return ""
        return f"{style.decimal(low, decimals, sign)} to {style.decimal(high, decimals, sign)}"

    return write


def _shares(row: Row) -> str:
    return "" if row["better_low"] is None else f"{100 * row['better_low']:.0f} to {100 * row['better_high']:.0f} %"


def _diverged(row: Row) -> str:
    return f"{row['diverged']} diverged" if row["diverged"] else ""


def _bracket(row: Row) -> str:
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


def _cell(key: str) -> Callable[[Row], str]:
    return lambda row: row[key]


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return style.number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)

"""The tables of a comparison: the columns in which people read its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...run_directory.comparison_file import NO_RESULT
from .. import style
from ..group import Row
from ..statistics import verdicts as kinds
from ..trials import keys_of, short_keys
from .table import Column, Table

if TYPE_CHECKING:
    from ..report import Report


_SHORT = {"failed": "failed", "changed": "changed", "unmeasured": "unmeas.", "unfinished": "unfin."}


def result_table(report: Report, verdicts: bool = False) -> Table:
    """Return the endpoint: rank, entry, mean, difference, p; the verdict too where there is room for it."""
    rows, metric = report.entries, report.group.metric
    columns = [
        Column("rank", rank_text, "rank_low"),
        Column("tie", lambda row: row["ties"], "ties"),
        Column("entry", lambda row: row["entry"], "entry", shrinks=True, is_header=True),
        Column("n", n_text, "n", right=True),
        Column(metric, mean_writer(rows), "mean", right=True),
        Column(f"vs {style.shortened(rows[0]['reference'], 12)}", difference_writer(rows), "difference", right=True),
        Column("p", lambda row: style.p_value(row["p_adjusted"]), "p_adjusted", right=True),
        Column("P(better)", better_text, "better_share", right=True),
    ]
    if report.results is None or not report.results.tested:  # each stands for itself
        columns = [column for column in columns if column.key in ("entry", "n", "mean")]
    if not any(row["ties"] for row in rows):
        columns = [column for column in columns if column.key != "ties"]
    if verdicts:
        columns.append(Column("verdict", lambda row: row["verdict_text"], "verdict_text"))
    return Table("result", f"Result on {metric}", columns, rows)


def cost_table(report: Report) -> Table:
    """Return what it took: the tuned setting, trials, time to target, gradient evaluations, examples, CPU seconds."""
    rows, target = report.entries, report.group.target
    columns = [
        Column("entry", lambda row: row["entry"], "entry", shrinks=True, is_header=True),
        Column("lr" if (key := tuned_key(rows)) == "optimizer.lr" else key, setting_text, "setting", right=True),
        Column("trial runs", trial_runs_text, "trial_runs", right=True),
    ]
    if target:
        title = f"epochs to {style.number(target['value'])}"
        columns.append(Column(title, epochs_text, "epochs_median", right=True))
    columns += [
        Column("gradients", lambda row: style.large(row["gradient_evaluations"]), "gradient_evaluations", right=True),
        Column("examples", lambda row: style.large(row["examples"]), "examples", right=True),
        Column("CPU s", lambda row: style.decimal(row["cpu_secs"], 2), "cpu_secs", right=True),
    ]
    return Table("cost", "Tuning, time to target, and cost", columns, rows)


def sensitivity_table(report: Report) -> Table:
    """Return every trial: the values tried, mean and single scores, what came of its runs, and which was chosen."""
    rows, metric = report.trials, report.group.select
    keys = next((keys_of(entry) for entry in report.group.entries if entry.get("tuning")), ["setting"])
    values = {key: Column(title, _value_writer(key), key, right=True) for key, title in short_keys(keys).items()}
    if len(keys) == 1:
        values = {keys[0]: Column(keys[0], _value_writer("value"), "value", right=True)}
    columns = [
        Column("entry", lambda row: row["entry"], "entry", shrinks=True, is_header=True),
        *values.values(),
        Column(metric, lambda row: style.number(row["mean"], missing="-"), "mean", right=True),
        Column("lowest", lambda row: style.number(row["lowest"], missing="-"), "lowest", right=True),
        Column("highest", lambda row: style.number(row["highest"], missing="-"), "highest", right=True),
        Column("runs", lambda row: str(row["n"]), "n", right=True),
        _count("diverged"),
        *(_count(state) for state in NO_RESULT if any(row[state] for row in rows)),
        Column("", _trial_mark, "chosen"),
    ]
    return Table("sensitivity", f"Sensitivity of {metric} to {style.listing(keys)}", columns, rows)


def runs_table(report: Report) -> Table:
    """Return every run of a group, tuning included."""
    return Table("runs", "Every run", run_columns(report.runs, report.metrics), report.runs)


def run_columns(rows: list[Row], metrics: list[str]) -> list[Column]:
    """Return the columns for rows of runs; settings and final values as the rows have them."""
    known = {"entry", "role", "seed", "lr", "outcome", "steps", "epochs", "gradient_evaluations", "examples"}
    known |= {"train_secs", "cpu_secs", "cached", "message", "path", *metrics}
    settings = dict.fromkeys(key for row in rows for key in row if key not in known)
    columns = [Column("entry", lambda row: row["entry"], "entry", shrinks=True, is_header=True)]
    if any(row.get("role") for row in rows):
        columns.append(Column("role", lambda row: row["role"], "role"))
    columns += [_plain("seed"), _plain("lr"), *(_plain(key) for key in settings)]
    columns.append(Column("outcome", lambda row: row["outcome"], "outcome"))
    columns += [
        _plain("steps"),
        *(_plain(metric) for metric in metrics if any(row.get(metric) is not None for row in rows)),
    ]
    columns += [_plain("train_secs", "secs"), _plain("cpu_secs", "CPU s")]
    columns.append(Column("run", lambda row: row["path"].rpartition("/")[2], "path", css="path"))
    return columns


def _plain(key: str, title: str = "") -> Column:
    return Column(title or key, lambda row: style.cell(row.get(key)), key, right=True)


def _count(key: str) -> Column:
    return Column(key, lambda row: str(row[key] or ""), key, right=True)


def rank_text(row: Row) -> str:
    """Write a rank interval: `1`, `1-2`."""
    low, high = row["rank_low"], row["rank_high"]
    return f"{low}" if low == high else f"{low}-{high}"


def n_text(row: Row) -> str:
    """Write the number of runs with a result, of all, and what came of others: `10 (2 div.)`, `8/10 (2 failed)`."""
    said = [f"{row['diverged']} div."] if row["diverged"] else []
    said += [f"{row[state]} {short}" for state, short in _SHORT.items() if row[state]]
    number = str(row["n"]) if row["n"] == row["planned"] else f"{row['n']}/{row['planned']}"
    return f"{number} ({', '.join(said)})" if said else number


def trial_runs_text(row: Row) -> str:
    """Write how many trials an entry was tuned on, of all where some came to nothing: `10`, `8/10`."""
    known, spent = row["trial_runs_known"], row["trial_runs"]
    return style.number(spent, missing="-") if known in (None, spent) else f"{known}/{spent}"


def half_width(row: Row, key: str) -> float | None:
    """Return half the width of an interval in a row."""
    low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
    return None if low is None or high is None else (high - low) / 2


def decimals_of(rows: list[Row], key: str) -> int:
    """Return how many decimals a column gets: two significant figures of its narrowest interval."""
    halves = [half for row in rows if (half := half_width(row, key))]
    return style.num_decimals(min(halves, default=None), max((abs(row[key] or 0) for row in rows), default=0))


def value_writer(rows: list[Row], key: str, sign: bool = False) -> Callable[[float], str]:
    """Return a writer of values of a column, all with the decimals that its intervals leave; the rest is rounding."""
    decimals = decimals_of(rows, key)
    least = 0.5 * 10.0**-decimals if any(half_width(row, key) for row in rows) else 0.0
    return lambda value: style.decimal(0.0 if abs(value) < least else value, decimals, sign)


def mean_writer(rows: list[Row]) -> Callable[[Row], str]:
    """Return a writer of `0.9642 ±0.0051`, all rows with the same decimals; a median where the mean is withheld."""
    written = value_writer(rows, "mean")

    def write(row: Row) -> str:
        if row["mean"] is None:
            return "diverged" if row["median"] is None else f"median {written(row['median'])}"
        return written(row["mean"]) + _plus_minus(row, "mean", written)

    return write


def difference_writer(rows: list[Row]) -> Callable[[Row], str]:
    """Return a writer of `-0.0031 ±0.0040`, all rows with the same decimals."""
    written, half_written = value_writer(rows, "difference", sign=True), value_writer(rows, "difference")

    def write(row: Row) -> str:
        if row["entry"] == row["reference"]:
            return ""
        if row["difference"] is None:
            return "withheld"
        if row["verdict"] == kinds.IDENTICAL:
            return "0"
        return written(row["difference"]) + _plus_minus(row, "difference", half_written)

    return write


def _plus_minus(row: Row, key: str, written: Callable[[float], str]) -> str:
    half = half_width(row, key)
    return "" if half is None else f" ±{written(half)}"


def better_text(row: Row) -> str:
    """Write P(better) as a percentage: `80 %`."""
    share = row["better_share"]
    return "" if share is None else f"{100 * share:.0f} %"


def setting_text(row: Row) -> str:
    """Write the setting that was used; `!` marks one that is not bracketed by worse ones."""
    return f"{style.number(row['setting'], missing='-')}{'!' if row['bracketed'] is False else ''}"


def epochs_text(row: Row) -> str:
    """Write epochs to target: the median, or `mean … ` restricted to the budget where half of the runs missed it."""
    if row["reached"] is None:
        return ""
    share = "" if row["reached"] == row["n"] else f" ({row['reached']}/{row['n']})"
    if row["epochs_median"] is not None:
        return f"{style.number(row['epochs_median'], 3)}{share}"
    if row["reached"] == 0:
        return f"none (0/{row['n']})"
    mean = style.number(row["epochs_restricted_mean"], 3, missing="?")
    return f"mean {mean}{share}"


def tuned_key(rows: list[Row]) -> str:
    """Return the key of the setting that was tuned, or that would have been."""
    return next((row["tuned_key"] for row in rows if row["tuned_key"]), "optimizer.lr")


def _value_writer(key: str) -> Callable[[Row], str]:
    return lambda row: style.cell(row[key])


def _trial_mark(row: Row) -> str:
    if not row["chosen"]:
        return ""
    return "chosen" if row["bracketed"] else "chosen, at the edge"

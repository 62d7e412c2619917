"""Rows of raw numbers: one for each entry of a comparison, one for each run."""

from __future__ import annotations

from ...run_directory.comparison_file import Record
from .. import style
from ..group import Group
from ..results import Against, Results
from ..statistics import verdicts
from .table import Row


def comparison_rows(results: Results) -> list[Row]:
    """Return one row for each entry, best first: endpoint, difference to the reference, target, costs, tuning."""
    return [_comparison_row(results, entry.name) for entry in results.analysis.entries]


def _comparison_row(results: Results, name: str) -> Row:
    group, entry = results.group, results.analysis.entry(name)
    interval = entry.interval
    row: Row = {
        "entry": name,
        "rank_low": entry.rank.best,
        "rank_high": entry.rank.worst,
        "ties": entry.letters,
        "metric": group.metric,
        "n": entry.n,
        "diverged": entry.num_diverged,
        "mean": entry.mean,
        "sd": entry.sd,
        "mean_low": interval.low if interval else None,
        "mean_high": interval.high if interval else None,
        "median": entry.median,
        "reference": results.reference,
    }
    row |= _difference(None if name == results.reference else results.against(name))
    row["verdict_text"] = verdict_text(results, name)
    row |= _target(results, name)
    for key in ("gradient_evaluations", "examples", "steps", "cpu_secs", "train_secs"):
        row[key] = results.mean(name, key)
    return row | _tuning(group, name)


def _difference(against: Against | None) -> Row:
    if against is None:
        keys = ("difference", "difference_low", "difference_high", "level", "better_share", "better_low", "better_high")
        return dict.fromkeys([*keys, "p", "p_adjusted", "test", "p_sign_flip", "verdict", "winner", "seeds_needed"])
    pair, interval = against.pair, against.interval
    return {
        "difference": against.difference,
        "difference_low": interval.low if interval else None,
        "difference_high": interval.high if interval else None,
        "level": interval.level if interval else None,
        "better_share": against.share,
        "better_low": against.share_interval[0],
        "better_high": against.share_interval[1],
        "p": pair.result.p,
        "p_adjusted": pair.adjusted.p,
        "test": pair.result.test,
        "p_sign_flip": pair.adjusted.flip_p,
        "verdict": pair.verdict.kind,
        "winner": pair.verdict.winner,
        "seeds_needed": pair.verdict.seeds_needed,
    }


def _target(results: Results, name: str) -> Row:
    keys = (
        "target_metric",
        "target",
        "reached",
        "epochs_median",
        "epochs_low",
        "epochs_high",
        "epochs_restricted_mean",
    )
    row: Row = dict.fromkeys(
        [*keys, "times_sooner", "times_sooner_low", "times_sooner_high", "times_sooner_p_adjusted"]
    )
    if name not in results.times:
        return row
    times, target = results.times[name], results.group.target or {}
    row["target_metric"], row["target"] = target["metric"], target["value"]
    row["reached"] = times.num_reached
    row["epochs_median"], row["epochs_low"] = times.median.median, times.median.low
    row["epochs_high"] = times.median.high
    row["epochs_restricted_mean"] = times.mean.mean if times.mean else None
    if name != results.reference and (ratio := (against := results.against(name)).ratio) is not None:
        interval = ratio.interval
        row["times_sooner"], row["times_sooner_p_adjusted"] = ratio.ratio, against.ratio_p
        row["times_sooner_low"] = interval.low if interval else None
        row["times_sooner_high"] = interval.high if interval else None
    return row


def _tuning(group: Group, name: str) -> Row:
    entry = next(entry for entry in group.entries if entry["name"] == name)
    tuning, optimizer = entry.get("tuning") or {}, (entry.get("config") or {}).get("optimizer") or {}
    settings = entry.get("settings") or {}
    key = tuning.get("key") or "optimizer.lr"
    return {
        "tuned_key": tuning.get("key"),
        "chosen": tuning.get("chosen"),
        "lr": settings.get("optimizer.lr", optimizer.get("lr")),
        "bracketed": tuning.get("bracketed"),
        "trials": len(tuning["trials"]) if "trials" in tuning else None,
        "trial_runs": tuning.get("spent"),
        "setting": settings.get(key, optimizer.get("lr")),
    }


def verdict_text(results: Results, name: str) -> str:
    """Say in words what was concluded about an entry and the reference."""
    if name == results.reference:
        return "baseline" if results.analysis.baseline else "reference"
    verdict = results.against(name).pair.verdict
    margin = style.number(results.group.margin)
    if verdict.kind == verdicts.BETTER:
        said = "better" if verdict.winner == name else "worse"
        return f"{said} (not confirmed by sign flips)" if verdict.agrees is False else said
    if verdict.kind == verdicts.EQUIVALENT:
        return f"equivalent within {margin}"
    if verdict.kind == verdicts.WITHIN_MARGIN:
        return f"different, but less than the margin of {margin}"
    if verdict.kind == verdicts.NO_DIFFERENCE and verdict.seeds_needed:
        n = results.analysis.entry(name).n
        if verdict.seeds_needed > n:
            seeds = style.many(verdict.seeds_needed, "seed")
            return f"no difference shown; about {seeds} would be needed to show {margin}"
    return verdict.kind


def run_rows(records: list[Record], metrics: list[str]) -> list[Row]:
    """Return one row for each run of a group.

    Args:
        records: of the group, in the order of the rows.
        metrics: whose final values to give.
    """
    rows = []
    for record in records:
        summary = record.summary
        final = summary.get("final") or {}
        row: Row = {"entry": record.entry, "role": record.role, "seed": record.seed}
        row["lr"] = record.settings.get("optimizer.lr", _optimizer(summary).get("lr"))
        row |= {key: value for key, value in record.settings.items() if key != "optimizer.lr"}
        row |= {"outcome": record.state, "steps": summary.get("steps"), "epochs": summary.get("epochs")}
        row |= {metric: final.get(metric) for metric in metrics}
        for key in ("gradient_evaluations", "examples", "train_secs", "cpu_secs"):
            row[key] = summary.get(key)
        row |= {"cached": record.cached, "message": record.message, "path": record.path}
        rows.append(row)
    return rows


def final_metrics(group: Group) -> list[str]:
    """Return the names of the final values that the runs have: the endpoint, what was selected by, then the others."""
    names = dict.fromkeys([group.metric, str(group.protocol.get("select") or group.metric)])
    for record in group.records:
        names |= dict.fromkeys(record.summary.get("final") or {})
    return list(names)


def _optimizer(summary: Row) -> Row:
    return (summary.get("config") or {}).get("optimizer") or {}

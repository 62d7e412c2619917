"""Rows of raw numbers: one for each entry of a comparison, one for each run."""

from __future__ import annotations

from ..run_directory.comparison_file import NO_RESULT, Record
from .group import Group, Row
from .results import Against, Results
from .statistics.student import Interval
from .trials import num_known, trial_states
from .words.verdicts import verdict_phrase

_DIFFERENCE = ("difference", "difference_low", "difference_high", "level", "better_share", "better_low", "better_high")
_TESTS = ("p", "p_adjusted", "test", "p_sign_flip", "verdict", "winner", "seeds_needed")
_TARGET = ("target_metric", "target", "reached", "epochs_median", "epochs_low", "epochs_high", "epochs_restricted_mean")
_SOONER = ("times_sooner", "times_sooner_low", "times_sooner_high", "times_sooner_p_adjusted")


def comparison_rows(results: Results) -> list[Row]:
    """Return one row for each entry, best first: endpoint, difference to the reference, target, costs, tuning."""
    return [_comparison_row(results, entry.name) for entry in results.analysis.entries]


def _comparison_row(results: Results, name: str) -> Row:
    group, entry = results.group, results.analysis.entry(name)
    against = None if name == results.reference or not results.tested else results.against(name)
    states = [group.result_state(record) for record in group.of(name, "evaluate")]
    row: Row = {
        "entry": name,
        "label": group.label(name),
        "rank_low": entry.rank.best,
        "rank_high": entry.rank.worst,
        "ties": entry.letters,
        "metric": group.metric,
        "n": entry.n,
        "diverged": entry.num_diverged,
        "planned": len(states),
        **{state: states.count(state) for state in NO_RESULT},
        "mean": entry.mean,
        "sd": entry.sd,
        **_ends("mean", entry.interval),
        "median": entry.median,
        "reference": results.reference,
        **dict.fromkeys([*_DIFFERENCE, *_TESTS]),
    }
    row |= {} if against is None else _difference(against)
    row["verdict_text"] = verdict_phrase(results, name)
    row |= dict.fromkeys([*_TARGET, *_SOONER])
    if name in results.times:
        row |= _target(results, name, against)
    for key in ("gradient_evaluations", "examples", "steps", "cpu_secs", "train_secs"):
        row[key] = results.mean(name, key)
    return row | _tuning(group.entry(name))


def _difference(against: Against) -> Row:
    pair, interval = against.pair, against.interval
    return {
        "difference": against.difference,
        **_ends("difference", interval),
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


def _target(results: Results, name: str, against: Against | None) -> Row:
    times, target = results.times[name], results.group.target or {}
    row: Row = {
        "target_metric": target["metric"],
        "target": target["value"],
        "reached": times.num_reached,
        "epochs_median": times.median.median,
        "epochs_low": times.median.low,
        "epochs_high": times.median.high,
        "epochs_restricted_mean": times.mean.mean if times.mean else None,
    }
    if against is not None and against.ratio is not None:
        row |= {"times_sooner": against.ratio.ratio, **_ends("times_sooner", against.ratio.interval)}
        row["times_sooner_p_adjusted"] = against.ratio_p
    return row


def _tuning(entry: Row) -> Row:
    tuning, settings = entry.get("tuning") or {}, entry.get("settings") or {}
    lr = _optimizer(entry).get("lr")
    return {
        "tuned_key": tuning.get("key"),
        "chosen": tuning.get("chosen"),
        "lr": settings.get("optimizer.lr", lr),
        "bracketed": tuning.get("bracketed"),
        "trials": len(tuning["trials"]) if "trials" in tuning else None,
        "trial_runs": tuning.get("spent"),
        "trial_runs_known": num_known(trial_states(entry)) if "trials" in tuning else None,
        "setting": settings.get(tuning.get("key") or "optimizer.lr", lr),
    }


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
    names = dict.fromkeys([group.metric, group.select])
    for record in group.records:
        names |= dict.fromkeys(record.summary.get("final") or {})
    return list(names)


def _ends(key: str, interval: Interval | None) -> Row:
    return {f"{key}_low": interval.low if interval else None, f"{key}_high": interval.high if interval else None}


def _optimizer(entry: Row) -> Row:
    """Return the optimizer in the configuration of an entry or of a run's summary."""
    return (entry.get("config") or {}).get("optimizer") or {}

"""A comparison or sweep in words: the plan before it, tables, curves and the sentence after it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...experiments.report import style
from ...experiments.report.figures.terminal import curves_text
from ...experiments.report.group import Group, endpoint_of
from ...experiments.report.learning_curves import group_bands, starts_log
from ...experiments.report.report import Report
from ...experiments.report.sensitivity import is_as_good
from ...experiments.report.style import duration, many
from ...experiments.report.tables import comparison_tables
from ...experiments.report.tables.table import text_table
from ...experiments.report.trials import chosen_settings, keys_of, label_of, settings_of, trials_of
from ...experiments.report.words.headline import Said, range_notes
from ...experiments.report.words.states import lost_text
from ...experiments.run_directory.run_dir import default_root
from ...experiments.system.places import shown
from ..terminal.console import filled, titled
from ..terminal.screen import paint, width
from ..terminal.streams import is_utf8, results

_CURVE_HEIGHT = 10


def plan_lines(plan: Mapping[str, Any]) -> list[str]:
    """Return the lines that say what will be done, how long it takes, and by what it will be judged."""
    lines = titled(plan["name"], "", f"{plan['path']}/", "group")
    for key, text in _plan_facts(plan):
        lines += filled(text, f"  {key:<11}", stream=sys.stderr, break_long_words=True)
    return lines


def _plan_facts(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    protocol = plan["protocol"]
    yield "entries", ", ".join(map(_entry_text, plan["entries"]))
    if problem := protocol.get("problem"):
        yield "problem", problem
    if plan.get("differences"):
        yield "differ in", ", ".join(difference["key"] for difference in plan["differences"])
    if spec := protocol.get("spec"):
        trials, seeds = protocol["tune_trials"], len(protocol["tune_seeds"])
        if isinstance(spec, list):
            yield "sweep", f"{' with '.join(spec)}: {many(trials, 'setting')}, each on {many(seeds, 'seed')}"
        else:
            how = f" ({protocol['method']})" if ":" in spec.partition("=")[2] else ""  # listed values are no grid
            yield "sweep", f"{spec}: {many(trials, 'value')}{how}, each on {many(seeds, 'seed')}"
    elif protocol["tuned"]:
        trials, seeds = protocol["tune_trials"], len(protocol["tune_seeds"])
        yield "tuning", f"{many(trials, 'rate')} for each entry, each on {many(seeds, 'seed')}; more at an edge"
    else:
        yield "tuning", "none: each entry runs with its settings as given"
    if protocol["seeds"]:
        yield "seeds", f"{len(protocol['seeds'])}, the same for all entries"
    yield "runs", _runs(plan)
    if (engine := plan.get("engine") or {}).get("why") or engine.get("name") == "batched":
        yield "engine", f"{engine['name']}: {engine['why']}" if engine.get("why") else engine["name"]
    yield ("score" if protocol.get("spec") else "endpoint"), _endpoint(protocol)
    if protocol.get("target"):
        target = protocol["target"]
        yield "target", f"{target['metric']} {style.number(target['value'])}; epochs until it is reached are compared"


def _entry_text(entry: Mapping[str, Any]) -> str:
    """Write an entry: its name, its label where it has one, and where it comes from."""
    said = f"{entry['name']}: {entry['label']}" if "label" in entry else entry["name"]
    return f"{said} ({entry['target']})" if entry["target"] != entry["name"] else said


def _runs(plan: Mapping[str, Any]) -> str:
    total, cached = plan["runs"], plan["cached"]
    if cached >= total:
        return f"{total}, all done before"
    before = f", {cached} of them done before" if cached else ""
    secs = plan.get("estimate_secs")
    about = f"; about {duration(secs)}" if secs else ""
    jobs = plan["protocol"]["jobs"]
    is_batched = (plan.get("engine") or {}).get("name") == "batched"
    at_a_time = f"in batches, {many(jobs, 'batch', 'batches')} at a time" if is_batched else f"{jobs} at a time"
    return f"{total}{before}, {at_a_time}{about}"


def _endpoint(protocol: Mapping[str, Any]) -> str:
    endpoint = endpoint_of(protocol)
    better, margin = endpoint.better, endpoint.margin
    if margin is None:
        return f"{protocol['metric']}, {better}"
    source = protocol.get("margin_source")
    said = f"{protocol['metric']}, {better}; margin {style.number(margin)}{f' ({source})' if source else ''}"
    if protocol.get("spec"):
        return said
    against = f"; each against {protocol['baseline']}" if protocol.get("baseline") else ""
    return f"{said}, alpha {style.number(protocol['alpha'])}{against}"


def result_lines(report: Report) -> list[str]:
    """Return a result for a terminal: the tables, the curves or the sensitivity, the sentence and what limits it."""
    room, group = width(results()), report.group
    if report.results is None:
        lines = [*text_table(comparison_tables.sensitivity_table(report), room), ""] if report.trials else []
        for entry in group.entries:
            lines += [*sensitivity_lines(entry, group, room), ""]
        return [*lines, *sentence_lines(report)]
    tables = comparison_tables.result_table(report), comparison_tables.cost_table(report)
    lines = [line for table in tables for line in (*text_table(table, room), "")]
    return [*lines, *_curves(group, room), "", *sentence_lines(report)]


def sentence_lines(report: Report) -> list[str]:
    """Return the sentence, wrapped, and each note below it; for a sweep also how wide the good range is."""
    said = report.said
    ranges = range_notes(report.group) if report.group.kind == "sweep" else []
    return said_lines(Said(said.headline, (*ranges, *said.notes)))


def said_lines(said: Said) -> list[str]:
    """Return the sentence, wrapped, and each note below it."""
    lines = [paint(results(), line, bold=True) for line in filled(f"{said.headline}.", break_long_words=True)]
    return [*lines, *(line for note in said.notes for line in filled(note, "  ", break_long_words=True))]


def _curves(group: Group, room: int) -> list[str]:
    metric, found = group_bands(group)
    bands = [band for band in found.values() if band is not None]
    seeds = max((band.num_runs for band in bands), default=0)
    median = f", median of {many(seeds, 'seed')}" if seeds > 1 else ""
    drawn = curves_text(
        bands, x="step", width=room, height=_CURVE_HEIGHT, unicode=is_utf8(results()), log=starts_log(bands)
    )
    return [f"{metric}{median}", *drawn]


def sensitivity_lines(entry: Mapping[str, Any], group: Group, room: int) -> list[str]:
    """Draw the mean score of every value as a bar from the worst to the best; `+` marks those as good as the best."""
    trials = trials_of(entry)
    scored = [trial["mean"] for trial in trials if trial["mean"] is not None]
    if not scored:
        return []
    low, high = min(scored), max(scored)
    if group.selector.mode == "min":
        low, high = high, low
    settings = [settings_of(entry, trial) for trial in trials]
    labels = [label_of(each) if len(each) > 1 else style.cell(*each.values()) for each in settings]
    margin = max(map(len, labels))
    room = max(10, room - margin - 26)
    lines = [f"{group.select} by {style.listing(keys_of(entry))}, mean over seeds"]
    for label, trial in zip(labels, trials, strict=True):
        text = lost_text(trial.get("states") or [])
        if trial["mean"] is not None:
            share = (trial["mean"] - low) / (high - low) if high != low else 1.0
            text = f"{_block(share, room)} {style.number(trial['mean'])}"
        mark = _mark(entry, trial, group)
        lines.append(f"  {label:>{margin}}  {text}{f'  {mark}' if mark else ''}")
    return lines


def _mark(entry: Mapping[str, Any], trial: Mapping[str, Any], group: Group) -> str:
    if settings_of(entry, trial) == chosen_settings(entry):
        return "best"
    return "as good" if is_as_good(entry, trial, group.selector) else ""


def _block(share: float, room: int) -> str:
    full = "━" if is_utf8(results()) else "#"
    return full * (1 + round(share * (room - 1)))


def group_reference(path: Path) -> str:
    """Return how a group is named on the command line."""
    return path.name if path.parent == default_root() else shlex.quote(shown(path))

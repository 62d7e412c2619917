"""`report.html`: one file that holds everything, works from a disk, and asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from ...run_directory.comparison_file import NO_RESULT, Record
from ...run_directory.final_values import not_finite_text
from ...run_directory.run import Run
from ...system.json_text import encode_json
from ...system.places import shown
from ...system.visible import visible, visible_in
from .. import style
from ..group import Group, unique_labels
from ..results import Results
from ..rows import run_rows
from ..tables.comparison_tables import run_columns, runs_table, sensitivity_table
from ..tables.table import Table
from ..trials import keys_of, trial_states
from ..words.headline import verdict_sentences
from . import page_data
from .page_tables import page_cost_table, page_result_table, page_table, pairing_tables

if TYPE_CHECKING:
    from ..report import Report

_SCRIPTS = ("drawing.js", "curves.js", "charts.js", "page.js")  # in this order, as one script
_ENVIRONMENT = (
    "optrun",
    "torch",
    "numpy",
    "python",
    "device",
    "device_name",
    "cpu",
    "threads",
    "precision",
    "platform",
    "commit",
)


def group_page(report: Report) -> str:
    """Return the page of a comparison or a sweep.

    Raises:
        NothingMatchedError: an entry of a comparison has no finished run yet.
    """
    group, results, said = report.group, report.results, report.said
    lead = [] if results is None else verdict_sentences(results)
    data = page_data.page_data(
        title=group.name,
        entries=group.names,
        curves=page_data.group_curves(group),
        sensitivity=page_data.sensitivity_data(group),
        paired=None if results is None else page_data.paired_data(results),
        ranks=None if results is None else page_data.ranks_data(results),
    )
    return _page(
        data,
        title=f"{group.name} · optrun",
        eyebrow=f"optrun {group.kind} · {group.name} · {str(group.data.get('updated') or '')[:10]}",
        headline=f"{said.headline}.",
        lead=lead if len(lead) > 1 else [],
        notes=said.notes,
        result=None if results is None else page_result_table(report),
        more_tables=[] if results is None else [page_cost_table(report)],
        result_note="" if results is None else _result_note(results),
        captions=_captions(group, results),
        sensitivity=page_table(sensitivity_table(report), group.names) if report.trials else None,
        swept=style.listing(next((keys_of(entry) for entry in group.entries if entry.get("tuning")), [])),
        runs=page_table(runs_table(report), group.names),
        pairing=pairing_tables(group),
        protocol=report.protocol,
        configs=[_config(str(entry["name"]), entry.get("config") or {}) for entry in group.entries],
        environment=_environment([record.run for record in group.records if record.run is not None]),
    )


def runs_page(runs: Sequence[Run]) -> str:
    """Return the page of plain runs: their curves, what they ended with, their configurations."""
    labels = unique_labels(runs)
    metrics = list(dict.fromkeys(name for run in runs for name in run.summary.get("final") or {}))
    records = [_plain_record(label, run) for label, run in zip(labels, runs, strict=True)]
    rows = [
        {key: value for key, value in row.items() if key not in ("role", "cached")}
        for row in run_rows(records, metrics)
    ]
    metric = next((run.summary["metric"] for run in runs if run.summary.get("metric")), {})
    data = page_data.page_data(
        title=", ".join(labels),
        entries=labels,
        curves=page_data.curves_data(
            {label: [run] for label, run in zip(labels, runs, strict=True)},
            first=[metric.get("name", ""), "val/loss", "loss"],
        ),
        sensitivity=None,
        paired=None,
        ranks=None,
    )
    table = Table("runs", "Every run", run_columns(rows, metrics), rows)
    return _page(
        data,
        title=f"{labels[0] if len(labels) == 1 else style.many(len(labels), 'run')} · optrun",
        eyebrow="optrun report",
        headline=_runs_headline(labels, runs, metric.get("name")),
        notes=["Single runs side by side show what happened, not which is better: that takes `optrun compare`."]
        if len(runs) > 1
        else [],
        runs=page_table(table, labels),
        configs=[_config(label, run.config) for label, run in zip(labels, runs, strict=True)],
        environment=_environment(runs),
    )


def typeset(text: str) -> str:
    """Give numbers their minus and dash, and keep together what must not be torn apart at the end of a line."""
    text = re.sub(r"(?<![\w.)/-])-(?=\.?\d)", "\u2212", text)
    text = re.sub(r"(?<=CI )([\d.]+)-(?=[\d.])", "\\1\u2013", text)
    text = re.sub(r"(?<=\d) %", "\u00a0%", text)
    return re.sub(r"\b([pn]) ([=<]) (?=[.\d])", "\\1\u00a0\\2\u00a0", text).replace("% CI ", "%\u00a0CI\u00a0")


def embedded_json(data: Any) -> str:
    """Return JSON that no parser of HTML can take for the end of its script element."""
    text = encode_json(visible_in(data)).decode().rstrip("\n")
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _page(data: dict[str, Any], **facts: Any) -> str:
    import jinja2
    from markupsafe import Markup

    defaults = {"lead": [], "notes": [], "captions": {}, "result": None, "more_tables": [], "sensitivity": None}
    defaults |= {"swept": "", "pairing": None, "protocol": [], "environment": []}
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
    )
    environment.filters["typeset"] = typeset
    script = "\n".join(_asset(name) for name in _SCRIPTS)
    return environment.from_string(_asset("report.html.jinja")).render(
        **{**defaults, **facts},
        data=data,
        json=Markup(embedded_json(data)),
        css=Markup(_asset("report.css")),
        palette=Markup(_palette()),
        script=Markup(script),
        script_hash=Markup(f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"),
    )


def _shown(value: Any) -> Any:
    from markupsafe import Markup

    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _asset(name: str) -> str:
    return resources.files(__package__ or "").joinpath(name).read_text(encoding="utf-8")


def _palette() -> str:
    pairs = enumerate(zip(style.LIGHT, style.DARK, strict=True))
    colors = "\n".join(f"  --series-{index}: light-dark({light}, {dark});" for index, (light, dark) in pairs)
    return f":root {{\n{colors}\n}}"


def _result_note(results: Results) -> str:
    group = results.group
    level = style.number(100 * (1 - group.alpha))
    if not results.tested:
        said = f"{group.metric}, {group.endpoint.better}; mean over seeds with its {level} % interval"
        return f"{said}, each entry for itself."
    return (
        f"{group.metric}, {group.endpoint.better}; mean over seeds with its {level} % interval. Differences are to "
        f"{results.reference}, seed by seed; p is corrected over all that was tested."
    )


def _captions(group: Group, results: Results | None) -> dict[str, str]:
    tuned = "Large dots are means, small ones single runs; a ring marks what was chosen, a cross runs that diverged"
    states = {state for entry in group.entries for state in trial_states(entry)}
    lost = [state for state in NO_RESULT if state in states]
    tuned += f", a square runs without a result ({', '.join(lost)})." if lost else "."
    if results is None:
        return {"sensitivity": tuned}
    level = style.number(100 * (1 - group.alpha))
    dots = f"One dot for each seed; the diamond is the mean, the bar its {level} % interval."
    dots += (
        f" The shaded band is the margin of {style.number(results.margin)}, inside which differences do not matter."
        if results.margin
        else ""
    )
    ranks = "The places that each entry can still have after what was shown; the letter above names its ties."
    return {"sensitivity": tuned, "paired": dots, "ranks": ranks}


def _runs_headline(labels: list[str], runs: Sequence[Run], metric: str | None) -> str:
    said = []
    for label, run in zip(labels, runs, strict=True):
        value = (run.summary.get("final") or {}).get(metric) if metric else None
        text = f"{label}: {run.state}" + (f", {metric} {style.number(value)}" if value is not None else "")
        bad = not_finite_text(run.summary)
        said.append(f"{text} (not finite: {bad})" if bad else text)
    return "; ".join(said) + "." if len(said) <= 3 else f"{style.many(len(said), 'run')} side by side."


def _plain_record(label: str, run: Run) -> Record:
    seed = int(run.config.get("seed") or 0)
    message = str(run.summary.get("message") or "")
    return Record(label, "", seed, {}, shown(run.path), run.state, False, message, run)


def _config(name: str, config: dict[str, Any]) -> dict[str, str]:
    from ...config import to_yaml

    return {"name": name, "text": to_yaml(config)}


def _environment(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Return what the runs were made with; several values where they differ."""
    facts = []
    for key in _ENVIRONMENT:
        values = list(dict.fromkeys(str(run.env[key]) for run in runs if run.env.get(key) is not None))
        if values:
            facts.append((key.replace("_", " "), ", ".join(values)))
    return facts

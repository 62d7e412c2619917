"""Why a run diverged, in words: the first tensor that was not finite, what is kept, and two ways out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...experiments.report.tables.table import aligned
from ...experiments.system.places import shown
from ..terminal.console import filled
from .run_text import resume_command

if TYPE_CHECKING:
    from ...experiments.run_directory.run import Run

_NUM_ROWS = 5
_COLUMNS = ("step", "lr", "loss", "grad_norm", "norm/grad", "norm/weight")
_TELLING = frozenset(_COLUMNS) - {"step", "lr"}


def why_lines(run: Run) -> list[str]:
    """Return what is known of a run's divergence beyond its message; nothing for a run that did not diverge.

    Args:
        run: as its directory describes it; one of an older version knows its message alone.
    """
    facts = run.summary.get("diverged")
    if not facts:
        return []
    lines = [f"first not finite: {_first(facts)}"] if facts["first_bad"] else []
    lines += [facts["note"]] if facts["note"] else []
    lines += [f"largest weight: {_largest(facts)}"] if facts["cause"] != "batch" and facts["largest_weight"] else []
    lines += [f"the batch is kept in {shown(run.path / facts['batch_file'])}"] if facts["batch_file"] else []
    return [part for line in lines for part in filled(line, "  ", stream=sys.stderr)]


def ways_out(run: Run) -> list[str]:
    """Return two ways to go on after a divergence, each a command to paste."""
    summary, command = run.result, resume_command(run.dir)
    facts = summary.get("diverged") or {}
    if facts.get("cause") == "batch":
        start = f"go on from step {facts['step']}" if facts["checkpoint"] else "start again"
        return [
            f"  {start}, leaving such batches out: {command} stop.on_nan=skip --allow-change",
            "  or correct the data, and train anew",
        ]
    lr = summary["config"]["optimizer"].get("lr")
    ways = [("with a lower rate", f"optimizer.lr={lr / 10:g}")] if lr else []
    ways.append(("with bounded gradients", "train.clip_norm=1"))
    start = _start(run, facts)
    return [
        f"  {'or ' if number else ''}{start} {how}: {command} {change} --allow-change"
        for number, (how, change) in enumerate(ways)
    ]


def history_lines(run: Run) -> list[str]:
    """Return the last metric rows that hold a loss or a gradient's norm, as a table."""
    rows = [row for row in run.rows if not _TELLING.isdisjoint(row)][-_NUM_ROWS:]
    if not rows:
        return []
    columns = [key for key in _COLUMNS if any(key in row for row in rows)]
    cells = [[_cell(key, row) for key in columns] for row in rows]
    return [f"  {line}" for line in aligned([columns, *cells], right=range(len(columns)))]


def _cell(key: str, row: Mapping[str, Any]) -> str:
    if key not in row:
        return ""
    return str(row[key]) if key == "step" else _number(row[key])


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"


def _first(facts: Mapping[str, Any]) -> str:
    where = f", in micro-batch {facts['micro_batch']}" if facts["micro_batch"] else ""
    where += f", in evaluation {facts['evaluation']} of the batch" if (facts["evaluation"] or 1) > 1 else ""
    return ", then ".join([facts["first_bad"] + where, *facts["then"]])


def _largest(facts: Mapping[str, Any]) -> str:
    value = facts["largest_weight"]["value"]
    return f"{_number(value)}, in {facts['largest_weight']['name']}"


def _start(run: Run, facts: Mapping[str, Any]) -> str:
    """Return where a resumed run begins, as `training.divergence.choose_start` arranges it."""
    step = facts.get("step")
    if (facts.get("evaluation") or 1) > 1 or facts.get("cause") in ("hook", "unknown"):
        return f"go on from step {step}" if facts["checkpoint"] else "start again"
    steps = [file.step for file in run.checkpoints if step is None or file.step < step]
    return f"go on from step {steps[-1]}" if steps else "start again"

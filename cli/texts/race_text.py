"""A race of optimizers over a function, as a table and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...experiments.report.style import listing, number
from ...experiments.report.tables.table import aligned

if TYPE_CHECKING:
    from ...experiments.studies.trajectories import Race


def race_table(done: Race) -> list[str]:
    """Return a line for each optimizer: where it ended, and how far from a minimum that is."""
    rows = [["optimizer", "lr", "steps", "value", "distance", ""]]
    for each in done.trajectories:
        ends = [number(float(each.values[-1])), number(each.distance)]
        outcome = "" if each.outcome == "done" else each.outcome
        rows.append([each.label, number(each.lr), str(each.steps), *ends, outcome])
    lines = aligned(rows, right=(1, 2, 3, 4))
    if done.minimum is not None:
        places = listing([f"({', '.join(f'{round(at, 6) + 0.0:.4g}' for at in point)})" for point in done.minima])
        lines.append(f"minimum {number(done.minimum)} at {places}")
    return lines


def race_document(done: Race, view: tuple[float, float, float, float] | None) -> dict[str, Any]:
    """Return a race as JSON has it."""
    trajectories = [
        {
            "name": each.name,
            "optimizer": each.optimizer,
            "settings": list(each.settings),
            "lr": each.lr,
            "steps": each.steps,
            "outcome": each.outcome,
            "value": float(each.values[-1]),
            "distance": each.distance,
            "points": each.points.tolist(),
            "values": each.values.tolist(),
        }
        for each in done.trajectories
    ]
    facts = {"function": done.function, "minima": done.minima, "minimum": done.minimum}
    return {**facts, "view": view or done.view(), "trajectories": trajectories}

"""`summary.json`: what a run was and what came of it."""

from __future__ import annotations

import math
from typing import Any

from ..components.data import StreamBatches
from ..config.goal import goals_record
from ..run_directory.final_values import not_finite
from .experiment import Experiment
from .session.session import MonitoredTrainingSession


def summarise(experiment: Experiment, session: MonitoredTrainingSession, outcome: str, message: str) -> dict[str, Any]:
    """Return `summary.json`: what the run was and what came of it, with everything that lists and reports need."""
    train_op = session.train_op or experiment.train_op
    goal = experiment.goal
    metric = goal.metric
    target = experiment.config.eval.target
    rows = session.rows.rows()
    scored = [row for row in rows if row.get(metric) is not None]
    final = session.final.get(metric, math.nan)  # a row has null for what is not finite, which is never the best
    if math.isfinite(final) and (not scored or scored[-1]["step"] < train_op.global_step):
        scored.append({**session.position(), metric: final})  # measured at the end, between evaluations
    best = goal.best(scored, lambda row: row[metric])
    reached = None
    if target is not None:
        reached = next((row for row in scored if goal.reaches(row[metric], target)), None)
    where = ("step", "epoch", "examples", "time")
    steps_per_epoch = experiment.length.steps_per_epoch
    return {
        "schema": "optrun/summary@1",
        "outcome": outcome,
        "message": message,
        "steps": train_op.global_step,
        "num_steps": experiment.length.num_steps,
        "epochs": train_op.batch / steps_per_epoch if steps_per_epoch else None,
        "batches": train_op.batch,
        "skipped": train_op.skipped,
        "examples": train_op.examples,
        "gradient_evaluations": train_op.gradient_evaluations,
        "train_secs": round(session.elapsed_secs, 3) if session.is_timed else None,
        "cpu_secs": round(session.cpu_secs, 3) if session.is_timed else None,
        "batch_size": experiment.batches.batch_size,
        "num_parameters": experiment.num_parameters,
        "splits": {name: size for name, size in experiment.splits.sizes().items() if size is not None},
        **_stream(experiment.batches),
        "metric": {"name": metric, "mode": goal.mode, "target": target},
        "metrics": goals_record(experiment.config),
        "final": session.final,
        "not_finite": not_finite({"final": session.final}),
        "best": {metric: best[metric], **{key: best.get(key) for key in where}} if best else None,
        "target_reached": {key: reached.get(key) for key in where} if reached else None,
        "curve": _thinned([row[metric] for row in scored]),
        "slow_hooks": session.times.slow_hooks(session.named_hooks),
        **({"profile": profile} if (profile := session.profile()) is not None else {}),
        "config": experiment.config.to_dict(),
    }


def _stream(data: Any) -> dict[str, Any]:
    """Return what is known of a stream, and the hashes of what was read of it."""
    if not isinstance(data, StreamBatches):
        return {}
    return {"stream": {**data.facts(), "hashes": {str(number): found for number, found in data.hashes.items()}}}


def _thinned(values: list[float], most: int = 40) -> list[float]:
    """Return at most `most` of the values, evenly spread: enough for a sparkline in a list of runs."""
    if len(values) <= most:
        return values
    return [values[round(index * (len(values) - 1) / (most - 1))] for index in range(most)]

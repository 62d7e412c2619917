"""Run directories and comparisons, written by hand: no training, no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from optrun.experiments.run_directory.run_dir import RunDir
from optrun.experiments.system.json_text import encode_json

EPOCHS, PER_EPOCH = 4, 5
TARGET = 0.8


def write_run(
    folder: Path,
    *,
    optimizer: str = "sgd",
    lr: float = 0.1,
    seed: int = 0,
    curve: Sequence[float | None] = (0.5, 0.7, 0.85, 0.9),
    test: float | None = None,
    outcome: str = "done",
    gradients: int = 1,
) -> RunDir:
    """Write a run directory whose val/accuracy after each epoch is `curve`; a diverged one ends with it."""
    folder.mkdir(parents=True)
    run = RunDir(folder)
    rows, reached = [], None
    for epoch, value in enumerate(curve, start=1):
        step = epoch * PER_EPOCH
        place = {"step": step, "epoch": float(epoch), "examples": step * 64, "time": epoch * 0.5}
        loss = None if value is None else 2 * (1 - value)
        rows.append({**place, "loss": loss, "lr": lr})
        rows.append({**place, "val/loss": loss, "val/accuracy": value})
        if value is not None and value >= TARGET and reached is None:
            reached = place
    steps = len(curve) * PER_EPOCH
    done = outcome == "done"
    last = curve[-1] if curve else None
    final = {"val/accuracy": last, "test/accuracy": last if test is None else test} if done else {}
    config = {
        "name": folder.name,
        "seed": seed,
        "optimizer": {"name": optimizer, "lr": lr},
        "eval": {"every": "1 epoch"},
    }
    summary = {
        "schema": "optrun/summary@1",
        "outcome": outcome,
        "message": "",
        "steps": steps,
        "num_steps": EPOCHS * PER_EPOCH,
        "epochs": float(len(curve)),
        "batches": steps,
        "skipped": 0,
        "examples": steps * 64,
        "gradient_evaluations": steps * gradients,
        "train_secs": 2.5,
        "cpu_secs": 2.0,
        "num_parameters": 100,
        "metric": {"name": "val/accuracy", "mode": "max", "target": TARGET},
        "final": final,
        "best": None,
        "target_reached": reached,
        "curve": [value for value in curve if value is not None],
        "config": config,
    }
    run.write_json("summary.json", summary)
    run.write_json("env.json", {"optrun": "0.1.0", "torch": "2.7.0", "device": "cpu", "threads": 1})
    run.metrics_path.write_bytes(b"".join(encode_json(row) for row in rows))
    run.set_status(outcome, step=steps)  # type: ignore[arg-type]
    return run


def curve_to(final: float, reached: int = 3) -> list[float]:
    """Return four epochs that end at `final`; where that is past the target, they are so from epoch `reached` on."""
    plateau = final if final >= TARGET else 0.6
    return [0.4 + 0.05 * epoch if epoch < reached else plateau for epoch in range(1, EPOCHS)] + [final]


Writer = Callable[..., Path]


@pytest.fixture
def write_group(tmp_path) -> Writer:
    """Return a function that writes a comparison with its runs.

    Its first argument maps each entry to its runs in order of their seeds: a final accuracy, a pair of it and the
    epoch of the target, or None for a run that diverged in its second epoch. Others go into `comparison.json`.
    """
    return lambda entries, **facts: _write_group(tmp_path / "runs" / "compare-1a2b3c", entries, **facts)


def _write_group(
    folder: Path,
    entries: Mapping[str, Sequence[Any]],
    *,
    tuned: bool = False,
    target: bool = True,
    protocol: Mapping[str, Any] | None = None,
    diverged_at: int = 2,
    gradients: Mapping[str, int] | None = None,
    **facts: Any,
) -> Path:
    folder.mkdir(parents=True)
    runs, listed = [], []
    for place, (name, values) in enumerate(entries.items()):
        lr = round(0.1 * 10.0**-place, 8)
        tuning = _tune(folder, runs, name, lr, place) if tuned else None
        config: dict[str, Any] = {}
        for seed, value in enumerate(values):
            final, reached = value if isinstance(value, tuple) else (value, 3)
            is_lost = final is None
            curve = [0.4, 0.3, 0.2, 0.1][: diverged_at - 1] if is_lost else curve_to(final, reached)
            run = write_run(
                folder / f"e{place}-s{seed}",
                lr=lr,
                seed=seed,
                curve=curve,
                outcome="diverged" if is_lost else "done",
                gradients=(gradients or {}).get(name, 1),
            )
            config = json.loads((run.path / "summary.json").read_bytes())["config"]
            state = "diverged" if is_lost else "done"
            runs.append(_record(name, "evaluate", seed, lr, f"{folder.name}/{run.path.name}", state))
        listed.append(
            {
                "name": name,
                "target": f"preset {name}",
                "optimizer": "sgd",
                "config": config,
                "overrides": {},
                "tuning": tuning,
                "settings": {"optimizer.lr": lr},
            }
        )
    num_seeds = max(len(values) for values in entries.values())
    plan = {
        "seeds": list(range(num_seeds)),
        "tune_trials": 3,
        "tune_seeds": [1000, 1001],
        "tuned": tuned,
        "method": "grid",
        "factor": 3.1623,
        "metric": "test/accuracy",
        "select": "val/accuracy",
        "mode": "max",
        "margin": 0.005,
        "margin_source": "registered with metric accuracy",
        "alpha": 0.05,
        "target": {"metric": "val/accuracy", "value": TARGET} if target else None,
        "baseline": None,
        "jobs": 2,
        **(protocol or {}),
    }
    data = {
        "schema": "optrun/comparison@1",
        "kind": "compare",
        "name": folder.name,
        "created": "2026-01-01T00:00:00+00:00",
        "updated": "2026-01-01T00:01:00+00:00",
        "complete": True,
        "protocol": plan,
        "entries": listed,
        "runs": runs,
        "pairing": {
            "checked": True,
            "seeds": {
                str(s): {"parameters": f"{s:064x}", "initial_loss": 2.3, "order": f"{s + 9:064x}"} for s in range(2)
            },
            "same": ["initial parameters", "initial loss", "order of the first two epochs"],
            "differences": [{"key": "optimizer.name", "values": dict.fromkeys(entries, "sgd")}],
        },
        "looks": [{"seeds": num_seeds, "when": "2026-01-01T00:01:00+00:00", "exploratory": False}],
        "estimate_secs": 3.0,
        "wall_secs": 2.5,
        **facts,
    }
    (folder / "comparison.json").write_bytes(encode_json(data, indent=1))
    return folder


def _tune(folder: Path, runs: list[dict[str, Any]], name: str, lr: float, place: int) -> dict[str, Any]:
    trials = []
    for step, finals in enumerate([(0.7, 0.72), (0.9, 0.91), (0.6, None)]):
        value, paths = round(lr * 10.0 ** ((step - 1) / 2), 8), []
        for seed, final in zip((1000, 1001), finals, strict=True):
            outcome = "diverged" if final is None else "done"
            curve = [0.4] if final is None else curve_to(final)
            path = folder / f"e{place}-t{step}-s{seed}"
            write_run(path, lr=value, seed=seed, curve=curve, outcome=outcome)
            paths.append(f"{folder.name}/{path.name}")
            runs.append(_record(name, "tune", seed, value, paths[-1], outcome))
        mean = None if None in finals else sum(finals) / 2  # type: ignore[arg-type]
        trials.append({"value": value, "scores": list(finals), "mean": mean, "runs": paths})
    return {
        "key": "optimizer.lr",
        "centre": lr,
        "centre_source": "its paper",
        "trials": trials,
        "chosen": lr,
        "bracketed": True,
        "extended": 0,
        "spent": 6,
    }


def _record(entry: str, role: str, seed: int, lr: float, path: str, state: str) -> dict[str, Any]:
    settings = {"optimizer.lr": lr}
    facts = {"entry": entry, "role": role, "seed": seed, "settings": settings, "path": path, "state": state}
    return {**facts, "cached": False, "message": ""}

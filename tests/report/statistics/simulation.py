"""Simulated comparisons whose truth is known: what the tests assert and tests/benchmarks/coverage.py prints."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np

from optrun.experiments.report.statistics.analysis import compare_entries
from optrun.experiments.report.statistics.paired import paired
from optrun.experiments.report.statistics.samples import Mode

RECORDED = Path(__file__).parent / "recorded"


@cache
def recorded(file: str, name: str) -> np.ndarray:
    """Return recorded values, one per seed 0, 1, …, 39."""
    return np.array(json.loads((RECORDED / f"{file}.json").read_text(encoding="utf-8"))[name])


def normal_runs(rng: np.random.Generator, num_entries: int, n: int) -> np.ndarray:
    return rng.normal(size=(num_entries, n))


def resampled_losses(rng: np.random.Generator, num_entries: int, n: int) -> np.ndarray:
    return rng.choice(recorded("mom_runs", "test/loss"), size=(num_entries, n))


def resampled_accuracies(rng: np.random.Generator, num_entries: int, n: int) -> np.ndarray:
    return rng.choice(recorded("mom_runs", "test/accuracy"), size=(num_entries, n))


#: Entries that are all the same optimizer: shape (num_entries, n).
SAME = {"Gaussian": normal_runs, "losses": resampled_losses, "accuracies": resampled_accuracies}


def signed_differences(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return differences between n pairs of runs of one optimizer, with random signs."""
    values = recorded("mom_runs", "test/loss")
    first = rng.integers(0, len(values), size=n)
    second = (first + rng.integers(1, len(values), size=n)) % len(values)
    return (values[first] - values[second]) * rng.choice([-1.0, 1.0], size=n)


def false_winners(kind: str, num_entries: int, n: int, num_repeats: int, *, seed: int = 0, mode: Mode = "min") -> float:
    """Return the share of comparisons of one optimizer with itself in which any entry is called better.

    The margin is 0, so that nothing but the test stands between chance and a winner.
    """
    rng = np.random.default_rng([seed, num_entries, n])
    found = 0
    for _ in range(num_repeats):
        if kind == "signed differences":
            runs = np.stack([signed_differences(rng, n), np.zeros(n)])
        else:
            runs = SAME[kind](rng, num_entries, n)
        values = {f"entry {index}": dict(enumerate(row)) for index, row in enumerate(runs.tolist())}
        found += any(pair.verdict.winner for pair in compare_entries(values, mode=mode, margin=0.0).pairs)
    return found / num_repeats


def normal_differences(rng: np.random.Generator, n: int) -> tuple[np.ndarray, float]:
    return rng.normal(0.3, 1.0, size=n), 0.3


def paired_differences(rng: np.random.Generator, n: int) -> tuple[np.ndarray, float]:
    """Resample the differences, seed by seed, between two optimizers of scikit-learn."""
    values = recorded("mlp_training_curves", "momentum") - recorded("mlp_training_curves", "nesterov")
    return rng.choice(values, size=n), float(values.mean())


def loss_differences(rng: np.random.Generator, n: int) -> tuple[np.ndarray, float]:
    values = recorded("mom_runs", "test/loss")
    return rng.choice(values, size=n) - rng.choice(values, size=n), 0.0


#: Differences and their true mean.
DIFFERENCES = {
    "Gaussian": normal_differences,
    "resampled momentum - nesterov": paired_differences,
    "resampled losses": loss_differences,
}


def coverage(kind: str, n: int, num_repeats: int, *, seed: int = 0) -> float:
    """Return the share of nominal 95 % intervals that hold the true mean difference."""
    rng = np.random.default_rng([seed, n])
    held = 0
    for _ in range(num_repeats):
        differences, true_mean = DIFFERENCES[kind](rng, n)
        interval = paired(differences.tolist(), [0.0] * n).interval
        held += interval is not None and true_mean in interval
    return held / num_repeats

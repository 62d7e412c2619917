"""The centre rate of each optimizer: the best of a grid by factors of √10, on its preset.

    python tests/benchmarks/optimizer_centres.py [NAME …] [--seeds 2] [--check]

Starts at the registered centre and walks on where the best rate is at an edge. The best has the highest mean accuracy
on validation data, of equal ones the lowest loss; the centre found is the middle of the rates within 0.005 of it. The
presets differ in optimizer and schedule only. The column `test` is measured at the registered centre over three seeds;
with `--check` only that is measured.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from optrun.experiments import train
from optrun.experiments.components.optimizers import registry
from optrun.experiments.config.targets import names_in, preset_folder
from optrun.experiments.errors import DivergedError

WORST = (-math.inf, -math.inf)
MARGIN = 0.005  # of accuracy, as in comparisons


def measured(name: str, lr: float, seeds: range, split: str, root: Path) -> tuple[float, float]:
    """Return mean accuracy and negated mean loss over the seeds; a run that diverges is the worst."""
    found = []
    for seed in seeds:
        try:
            final = train(name, {"optimizer.lr": lr, "seed": seed, "train.threads": 1}, root=root).summary["final"]
        except DivergedError:
            return WORST
        found.append((final[f"{split}/accuracy"], -final[f"{split}/loss"]))
    accuracies, losses = zip(*found, strict=True)
    return statistics.mean(accuracies), statistics.mean(losses)


def rate(centre: float, place: int) -> float:
    """Return the rate that many factors of √10 from the centre, with one digit."""
    return float(f"{centre * math.sqrt(10) ** place:.0e}")


def grid(name: str, centre: float, seeds: range, root: Path) -> dict[int, tuple[float, float]]:
    """Measure five rates around the centre, and on until the best has worse ones on both sides."""
    found: dict[int, tuple[float, float]] = {}
    low, high = -2, 2
    while True:
        for place in range(low, high + 1):
            if place not in found:
                found[place] = measured(name, rate(centre, place), seeds, "val", root)
        best = max(found, key=lambda place: found[place])
        if found[best] == WORST or (not low < best < high and high - low >= 12):
            return found
        if best == low:
            low -= 1
        elif best == high:
            high += 1
        else:
            return found


def centre_of(found: dict[int, tuple[float, float]]) -> int:
    """Return the middle of the places that are about as good as the best, the lower one of two."""
    best = max(accuracy for accuracy, _ in found.values())
    return statistics.median_low(sorted(place for place, (accuracy, _) in found.items() if accuracy >= best - MARGIN))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--check", action="store_true", help="measure the registered centres alone")
    args = parser.parse_args()
    presets = set(names_in(preset_folder()))
    print(f"{'optimizer':<26}{'centre':>8}{'found':>8}{'test':>8}   validation accuracy by rate", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in args.names or [name for name in registry.names() if name in presets]:
            centre, root = registry.get(name).facts["centre_lr"], Path(folder)
            found = {} if args.check else grid(name, centre, range(args.seeds), root)
            best = rate(centre, centre_of(found)) if found else math.nan
            accuracy, _ = measured(name, centre, range(3), "test", root)
            rates = "  ".join(f"{rate(centre, place):g}: {found[place][0]:.3f}" for place in sorted(found))
            print(f"{name:<26}{centre:>8g}{best:>8g}{accuracy:>8.3f}   {rates}", flush=True)


if __name__ == "__main__":
    main()

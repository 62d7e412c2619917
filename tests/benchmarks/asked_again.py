"""What it costs to ask for a finished comparison again: the short way, as a ratio to the way through all runs.

    python tests/benchmarks/asked_again.py [--rounds 5]

Both are measured in alternation, as the best of all rounds, on three presets with a few steps each; the long way is
taken where what is kept of the answer was deleted. The goal is less than a second.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from help_time import optrun_command

COMPARE = ["compare", "sgd", "mom", "adam", "train.epochs=2", "data.subset=256", "--seeds", "5", "--tune", "3"]


def secs_of(folder: Path) -> float:
    started = time.perf_counter()
    subprocess.run([*optrun_command(), *COMPARE], check=True, cwd=folder, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{'made':<20}{secs_of(folder):7.2f} s")
        short, long = [], []
        for _ in range(rounds):
            time.sleep(2.5)  # stamps younger than that are not relied on
            short.append(secs_of(folder))
            shutil.rmtree(folder / "runs" / ".cache" / "answers")
            long.append(secs_of(folder))
    print(f"{'asked again':<20}{min(short):7.2f} s      (goal: less than 1)")
    print(f"{'through all runs':<20}{min(long):7.2f} s")
    print(f"{'ratio':<20}{min(long) / min(short):7.2f}")


if __name__ == "__main__":
    main()

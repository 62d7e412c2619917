"""How long a comparison takes in processes and in batches, from command to verdict, in one run on this machine.

python tests/benchmarks/batched.py                     # 2,000 steps of an MLP, three optimizers
python tests/benchmarks/batched.py train.steps=10000   # more of them
python tests/benchmarks/batched.py --shipped           # the presets as they are
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

OPTIMIZERS = ["sgd", "mom", "adam"]
MLP = ["model=mlp", "loss=cross_entropy", "train.epochs=null", "train.steps=2000"]
TIMES = 2
ENGINES = {
    "processes": [],
    "batched": ["train.compile=false"],
    "batched, compiled": ["train.compile=true"],
    "auto": [],  # with graphs that are there by now
}


def main() -> None:
    given = [each for each in sys.argv[1:] if each != "--shipped"]
    problem = given if "--shipped" in sys.argv else [*MLP, *given]
    secs: dict[str, list[float]] = {name: [] for name in ENGINES}
    for _ in range(TIMES):
        for name, more in ENGINES.items():
            secs[name].append(timed(name.partition(",")[0], [*problem, *more]))
            print(f"  {name:<20} {secs[name][-1]:6.1f} s", flush=True)
    first = statistics.median(secs["processes"])
    for name, each in secs.items():
        print(f"{name:<20} {first / min(each):5.2f} times as fast; the first time {first / each[0]:.2f}")


def timed(engine: str, overrides: list[str]) -> float:
    """Return the seconds of a comparison, made in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "optrun.cli", "compare", *OPTIMIZERS, *overrides, "--engine", engine]
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, env={**os.environ, "OPTRUN_RUNS_DIR": ""}, check=True, capture_output=True)
        return time.perf_counter() - start


if __name__ == "__main__":
    main()

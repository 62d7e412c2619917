"""CPU time of `optrun runs` over many run directories: `python tests/benchmarks/runs_listing.py [NUMBER]`.

The directories are copies of one real run's files, under names of their own. Printed are the seconds of CPU of a whole
process, beside those of one that only starts; the first should stay under 1 s for 1,000 runs.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

OPTRUN = [sys.executable, "-m", "optrun.cli"]
REPEATS = 5


def copy_run(run: Path, number: int) -> None:
    """Make `number` runs out of one, each a second younger than the one before."""
    status = json.loads((run / "status.json").read_text())
    for index in range(1, number):
        copy = run.with_name(f"{run.name}-{index:05d}")
        copy.mkdir()
        for file in run.glob("*.json"):
            shutil.copy(file, copy / file.name)
        started = f"{status['started'][:10]}T{index // 3600 % 24:02d}:{index // 60 % 60:02d}:{index % 60:02d}+00:00"
        (copy / "status.json").write_text(json.dumps(status | {"started": started}))


def cpu_secs(args: list[str]) -> float:
    """Return the CPU seconds of the fastest of some processes."""
    times = []
    for _ in range(REPEATS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*OPTRUN, *args], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OPTRUN_RUNS_DIR"] = folder
        subprocess.run([*OPTRUN, "train", "mom", "-q", "--name", "run", "train.epochs=8"], check=True)
        copy_run(Path(folder) / "run", number)
        start = cpu_secs(["--version"])
        lines = {"optrun --version": start}
        lines |= {
            f"optrun runs{option}, {number} runs": cpu_secs(["runs", *option.split()]) for option in ("", " --json")
        }
        lines[f"optrun runs -n 20, {number} runs"] = cpu_secs(["runs", "-n", "20"])
    for name, secs in lines.items():
        sys.stdout.write(f"{name:<32}{secs:6.2f} s CPU   {secs / start:5.1f} x the start alone\n")


if __name__ == "__main__":
    main()

"""What `optrun --help` costs: its time as a ratio to that of importing the packages that a command line needs.

    python tests/benchmarks/help_time.py [--rounds 20]

Both are measured in alternation, as the best of all rounds. The goal is a ratio of at most 1.5.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path


def optrun_command() -> list[str]:
    """Return the installed script, beside this Python or on the path."""
    beside = Path(sys.executable).with_name("optrun")
    found = str(beside) if beside.exists() else shutil.which("optrun")
    return [found] if found else [sys.executable, "-m", "optrun.cli"]


def secs_of(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    commands = {
        "optrun --help": [*optrun_command(), "--help"],
        "import click, rich, yaml": [sys.executable, "-c", "import click, rich, yaml"],
        "python alone": [sys.executable, "-c", ""],
    }
    best = dict.fromkeys(commands, float("inf"))
    for _ in range(rounds):
        for name, command in commands.items():
            best[name] = min(best[name], secs_of(command))
    for name, secs in best.items():
        print(f"{name:<26}{secs * 1000:7.1f} ms")
    ratio = best["optrun --help"] / best["import click, rich, yaml"]
    print(f"{'ratio':<26}{ratio:7.2f}      (goal: at most 1.5)")


if __name__ == "__main__":
    main()

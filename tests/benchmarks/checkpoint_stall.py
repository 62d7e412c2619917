"""How long a checkpoint holds training up: the longest gap between two steps around a save, less the median step.

    python tests/benchmarks/checkpoint_stall.py [--work gpt] [--saves 3] [--every 12] [--ways thread] [--folder .]

The work is a GPT of 50 million parameters (16 blocks of width 512) with AdamW on batches of 8 sequences of 128 bytes, a
checkpoint of 0.6 GB; or an MLP 64-128-10 on digits in batches of 64, one of 0.1 MB. Saves are made as in any run, by
a thread, and, for comparison, within the step, as they are where a hook wants to see the file.

The median step is that of steps during which nothing is written. What a save costs is the time of all steps from one
save to the next, beyond as many median ones. Both are told by the clock, and by the processor time of the thread that
trains, which on a busy machine is the steadier one, but leaves out what it waits for. Files are written into a folder
below `--folder`, which is deleted.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from optrun.experiments import Hook, build, load_config
from optrun.experiments.run_directory.checkpoint_files import list_checkpoints

COMMON = {"name": "stall", "optimizer": {"name": "adamw", "lr": 0.0003}, "eval": {"every": "1000000000 steps"}}
GPT = {
    **COMMON,
    "model": {"name": "gpt", "width": 512, "depth": 16, "heads": 8},
    "loss": "next_token",
    "metrics": ["token_accuracy"],
}
MLP = {
    **COMMON,
    "data": {"name": "digits", "batch_size": 64},
    "model": {"name": "mlp", "hidden": [128]},
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
}


class Marks(Hook):
    """Notes when each step has ended, before anything is saved."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {"clock": [], "processor": []}

    def after_run(self, ctx: Any, values: Any) -> None:
        self.times["clock"].append(time.perf_counter())
        self.times["processor"].append(time.thread_time())


class Sees(Hook):
    """Wants to see each file, so that training waits for it."""

    def after_save(self, session: Any, step: int, path: Path) -> None:
        pass


def config_of(work: str, folder: Path, steps: int, every: int, threads: int) -> dict[str, Any]:
    """Return the configuration, with a text of random bytes where it takes one."""
    train = {"threads": threads, "steps": steps}
    rest = {"train": train, "checkpoint": {"every": f"{every} steps", "best": False}}
    if work == "mlp":
        return {**MLP, **rest}
    text = folder / "text.txt"
    text.write_bytes(np.random.default_rng(0).integers(32, 127, 200_000, dtype=np.uint8).tobytes())
    data = {"name": "text", "path": str(text), "length": 128, "batch_size": 8}
    return {**GPT, "data": data, **rest}


def measure(config: dict[str, Any], folder: Path, waits: bool) -> tuple[dict[str, list[float]], int]:
    """Train, and return when each step has ended, by each clock, and the bytes of a checkpoint."""
    experiment = build(load_config(config))
    marks = Marks()
    with experiment.session(folder, [marks, *([Sees()] if waits else [])]) as session:
        while not session.should_stop():
            session.run(experiment.train_op)
    return marks.times, list_checkpoints(folder / "checkpoints")[-1].path.stat().st_size


def figures(times: list[float], every: int) -> str:
    """Return the median step, the longest gap around a save beyond it, and what a save costs, in words."""
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]  # gaps[i]: from step i + 1 on
    rounds = [gaps[begin - 1 : begin - 1 + every] for begin in range(every, len(gaps), every)]  # a save comes first
    rounds = [each for each in rounds if len(each) == every]
    step = statistics.median(gap for each in rounds for gap in each[every // 2 :])
    stalls = [(max(each) - step) / step for each in rounds]
    cost = statistics.median(sum(each) / step - every for each in rounds)
    return (
        f"step {step * 1e3:8.2f} ms, stall {statistics.median(stalls):6.2f} steps (worst {max(stalls):.2f}), "
        f"save {cost:6.2f} steps"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=["gpt", "mlp"], default="gpt")
    parser.add_argument("--ways", nargs="+", choices=["thread", "step"], default=["thread", "step"])
    parser.add_argument("--saves", type=int, default=3)
    parser.add_argument("--every", type=int, default=12, help="steps between two saves")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path())
    args = parser.parse_args()
    steps = args.every * (args.saves + 1) + 1
    for way in args.ways:
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            folder = Path(name).resolve()
            config = config_of(args.work, folder, steps, args.every, args.threads)
            times, size = measure(config, folder, waits=way == "step")
        print(f"{'within the step' if way == 'step' else 'by a thread'}, {size / 1e6:.1f} MB")
        for clock, ends in times.items():
            print(f"  {clock:10s}{figures(ends, args.every)}", flush=True)


if __name__ == "__main__":
    main()

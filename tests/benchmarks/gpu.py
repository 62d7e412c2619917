"""Steps on a GPU: a hand-written loop, optrun's session, and compiled steps, as ratios to the loop by hand.

    python tests/benchmarks/gpu.py [--work mlp resnet20 gpt] [--rounds 15] [--precision bf16] [--channels-last]

The works are those of compiled_steps.py. The loop by hand is in float32 with torch's fused optimizer and no gate; the
session has its gate, whose answers stay on the device until a hook is due. All take stretches of steps in turn, each
timed from its first step until the device has done the last.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from compiled_steps import Work, compiled, plain

from optrun.experiments import MonitoredTrainingSession, StopAtStepHook, build_train_op
from optrun.experiments.components.data.batches import Batches
from optrun.experiments.training.step.compiled.cannot import CannotCompile

_STRETCH = {"mlp": 200, "resnet20": 20, "gpt": 20}


def session_of(work: Work, stretch: int, precision: Any) -> Iterator[None]:
    """Take a session's steps, a stretch at a time."""
    data = Batches(work.inputs, work.targets, batch_size=work.size)
    op = build_train_op(work.model, work.loss, work.optimizer, data, precision=precision)
    with MonitoredTrainingSession(op, hooks=[StopAtStepHook(last_step=10**9)]) as session:
        while True:
            last = op.global_step + stretch
            while op.global_step < last:
                session.run_block(op) if op.global_step + stretch <= last else session.run(op)
            yield


def timed(function: Callable[[], Any]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=_STRETCH, nargs="+", default=[*_STRETCH])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--channels-last", action="store_true")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("torch finds no CUDA device here: nothing to measure")
    print(f"{torch.cuda.get_device_name()}; torch {torch.__version__}")
    for name in args.work:
        stretch = _STRETCH[name]

        def work(name: str = name, is_by_hand: bool = False) -> Work:
            return Work(name, args.channels_last and not is_by_hand, device="cuda")

        loops = {
            "by hand": plain(work(is_by_hand=True), stretch),
            "session": session_of(work(), stretch, args.precision),
            "compiled": compiled(work(), stretch, min(stretch, 16), args.precision),
        }
        for kind, loop in [*loops.items()]:
            try:
                print(
                    f"{name} {kind}: first {stretch} steps in {timed(lambda loop=loop: next(loop)):.2f} s", flush=True
                )
            except CannotCompile as reason:
                print(f"{name} {kind}: {reason}")
                del loops[kind]
        times: dict[str, list[float]] = {kind: [] for kind in loops}
        for _ in range(args.rounds):
            for kind, loop in loops.items():
                times[kind].append(timed(lambda loop=loop: next(loop)))
        for kind, found in times.items():
            ratios = sorted(one / other for one, other in zip(times["by hand"], found, strict=True))
            print(
                f"{name:9} {kind:9} {statistics.median(found) / stretch * 1e6:10.1f} us a step, "
                f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) times the loop by hand"
            )


if __name__ == "__main__":
    main()

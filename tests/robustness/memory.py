"""What training takes, measured in a process of its own: `python -m tests.robustness.memory '{"mode": …}'`.

With PYTHONMALLOC=malloc every object of Python's and every tensor lies in the C library's heap, whose bytes in use it
counts exactly; the resident set counts pages as the system sees them.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

from .processes import ROOT, environment, finish, start

CONFIG: dict[str, Any] = {
    "name": "memory",
    "data": {"name": "digits", "batch_size": 64, "augment": [{"name": "noise", "std": 0.1}]},
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "adam", "lr": 0.001},
    "updates": ["ema"],
    "stop": {"on_nan": "skip"},
    "log": {"every": "10 steps"},
    "eval": {"every": "50 steps"},
    "checkpoint": {"every": "50 steps"},
}
#: All of Python's objects in one heap; and large blocks given back at once, whatever was freed before: else the peak
#: of the very same program differs by a fifth from one run to the next.
_ENVIRONMENT = {
    "PYTHONMALLOC": "malloc",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
}


def measure(**order: Any) -> dict[str, Any]:
    """Return what a new process found; see `main`."""
    command = [sys.executable, "-m", __name__, json.dumps(order)]
    code, out, err = finish(start(command, ROOT, env=environment(**_ENVIRONMENT)), timeout=1200)
    assert code == 0, err
    return json.loads(out.splitlines()[-1])


def main(mode: str, steps: int, warm: int = 0, leak: bool = False, width: int = 64) -> dict[str, Any]:
    """Train, and tell how much memory that took.

    Args:
        mode: `growth`, between step `warm` and the last; `peak`, of the whole process; `peak by hand`, of a loop that
            is written out, with the same imports, data, optimizer and average.
        steps: how many.
        warm: steps before the first measurement.
        leak: whether to keep each step's loss, as hooks should not.
        width: of the two hidden layers.
    """
    from optrun.experiments import Hook, build, load_config

    class Watch(Hook):
        """Notes the bytes in use when the warm-up is over and at the end."""

        def __init__(self) -> None:
            self.heap: list[int] = []
            self.resident: list[int] = []

        def after_run(self, ctx: Any, values: Any) -> None:
            if ctx.step in (warm, steps):
                self.look()

        def look(self) -> None:
            gc.collect()
            _libc().malloc_trim(0)
            self.heap.append(_bytes_in_use())
            self.resident.append(_resident())

    class Leak(Hook):
        """Keeps the loss of each step, with all that it was computed from gone, but the tensor there."""

        def __init__(self) -> None:
            self.losses: list[Any] = []

        def after_run(self, ctx: Any, values: Any) -> None:
            self.losses.append(ctx.train_op.last_loss)

    watch = Watch()
    model = {"name": "mlp", "hidden": [width, width]}
    experiment = build(load_config({**CONFIG, "train": {"steps": steps}, "model": model}))
    with tempfile.TemporaryDirectory() as folder:
        if mode == "peak by hand":
            _by_hand(experiment, steps)
        else:
            hooks = [*([Leak()] if leak else []), *([watch] if mode == "growth" else [])]
            with experiment.session(Path(folder), hooks) as session:
                while not session.should_stop():
                    session.run(experiment.train_op)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    grown = {name: list_[1] - list_[0] for name, list_ in vars(watch).items() if list_}
    return {"peak": peak, **grown}


def _by_hand(experiment: Any, steps: int) -> None:
    """Do what a user without optrun writes: the same model, data, optimizer, average and evaluation."""
    import copy

    import torch

    train_op, evaluator = experiment.train_op, experiment.evaluators["val"]
    model, optimizer, data = train_op.model, train_op.optimizer, train_op.data
    average = copy.deepcopy(model.state_dict())
    for step in range(steps):
        inputs, targets = data.batch(step)
        optimizer.zero_grad(set_to_none=True)
        loss = train_op.loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        for name, value in model.state_dict().items():
            average[name].lerp_(value, 0.01)
        if (step + 1) % 50 == 0:
            evaluator()
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "ema": average}
            copied = copy.deepcopy(state)  # as whoever writes it while the next steps are taken needs it
            with tempfile.NamedTemporaryFile() as file:
                torch.save(copied, file)
            del copied


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()  # noqa: SIM905
    ]


def _libc() -> Any:
    return ctypes.CDLL("libc.so.6")


def _bytes_in_use() -> int:
    mallinfo2 = _libc().mallinfo2
    mallinfo2.restype = _Mallinfo2
    found = mallinfo2()
    return found.uordblks + found.hblkhd


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(**json.loads(sys.argv[1]))) + "\n")

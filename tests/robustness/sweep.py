"""Kill a run at one of its calls, go on with it, and compare everything with the run that nobody disturbed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from optrun.experiments.errors import OptrunError
from optrun.experiments.run_directory.checkpoint_files import list_checkpoints
from optrun.experiments.run_directory.checkpoints import load
from optrun.experiments.run_directory.rows import read_rows
from optrun.experiments.run_directory.run_dir import RunDir

from . import lives
from .processes import ForkServer, Outcome

PARTS = Path(__file__).with_name("parts.py")
OPTIMIZERS = ("sgd", "mom", "adam", "adagrad", "rmsprop")
_TIMES = ("time", "train_secs", "cpu_secs")


def config(optimizer: str = "adam", steps: int = 6, every: int = 2, draws: bool = True, lr: float = 0.05) -> str:
    """Return a configuration in which everything that can have a state has one.

    Args:
        optimizer: its name.
        steps: of the run.
        every: steps between evaluations, and between checkpoints.
        draws: whether a hook draws from the global generators, which a real process seeds anew.
        lr: so large that it gets worse, or not.
    """
    return f"""
name: swept
data: {{name: digits, batch_size: 16, subset: 40, augment: [{{name: noise, std: 0.1}}]}}
model: logistic
loss: cross_entropy
metrics: [accuracy]
optimizer: {{name: {optimizer}, lr: {lr}}}
schedule: {{name: plateau, patience: 0, factor: 0.5, threshold: 0.5}}
updates: [{{name: ema, num_updates: true}}]
train: {{steps: {steps}}}
eval: {{every: {every} steps, weights: raw}}
checkpoint: {{every: {every} steps, keep: 2, best: true}}
log: {{every: 1 step}}
hooks: {'["./parts.py:Drawing"]' if draws else "[]"}
"""


class Sweep:
    """One configuration, its undisturbed run, and cases that disturb it.

    Args:
        server: forks the lives.
        folder: for all that is written.
        text: the configuration.
        bug: is planted in every life but the undisturbed one.
    """

    def __init__(self, server: ForkServer, folder: Path, text: str | None = None, bug: str | None = None):
        self.server, self.folder, self.bug = server, folder, bug
        self._count = 0
        folder.mkdir(parents=True, exist_ok=True)
        self.target = folder / "swept.yaml"
        self.target.write_text(text if text is not None else config())
        shutil.copy(PARTS, folder / "parts.py")

    def new_root(self) -> Path:
        """Return an empty folder for runs."""
        self._count += 1
        root = self.folder / f"root-{self._count}"
        root.mkdir()
        return root

    def live(self, root: Path, **options: Any) -> Outcome:
        """Train in a child, with the sweep's bug."""
        options = {"bug": self.bug, **options}
        return self.server.run(lives.train_life, folder=self.folder, target=self.target, root=root, **options)

    @cached_property
    def truth(self) -> dict[str, Any]:
        """What the undisturbed run left."""
        root = self.new_root()
        self._alive(self.live(root, bug=None))
        return state_of(root)

    @cached_property
    def recording(self) -> dict[str, Any]:
        """The names of the calls of a run with the bug; two threads make them, whose turns are not always the same."""
        return self._alive(self.live(self.new_root())).result

    def case(
        self,
        at: int,
        fault: str,
        start: Path | None = None,
        recording: dict[str, Any] | None = None,
        quarantined: int = 0,
        good: int | None = None,
    ) -> list[str]:
        """Kill a life at a call, go on in a second one, and return what is wrong.

        Args:
            at: the number of the call.
            fault: see `FaultySystem`.
            start: a folder of runs to begin with.
            recording: what a life that begins there does.
            quarantined: how many damaged checkpoints there are.
            good: the step of the newest good one there.
        """
        root = self.new_root()
        if start is not None:
            shutil.copytree(start, root, dirs_exist_ok=True)
        recording = recording or self.recording
        first = self.live(root, fault={"at": at, "fault": fault})
        if not first.killed:
            return [f"{fault} call {at}: it ended with {first.code} before that: {first.output}"]
        saved = max(lives.saved_in(root), default=good)
        found = self._after_a_kill(root, saved) + self.finish(root, quarantined)
        shutil.rmtree(root)
        return [f"{fault} call {at} ({recording['names'][at - 1]}): {problem}" for problem in found]

    def finish(self, root: Path, quarantined: int = 0) -> list[str]:
        """Go on with a run to its end, and return how it differs from the undisturbed one."""
        last = self.live(root)
        if last.code != 0:
            return [f"it cannot go on, exit {last.code}: {last.output}"]
        return differences(self.truth, root, quarantined=quarantined)

    def _after_a_kill(self, root: Path, saved: int | None) -> list[str]:
        run, found = RunDir(root / "run"), []
        options = {"root": root, "bug": self.bug}
        state = self._alive(self.server.run(lives.status_life, folder=self.folder, **options)).result
        if state not in (None, "interrupted", "done"):
            found.append(f"a killed run is listed as {state}")
        steps = [file.step for file in list_checkpoints(run.checkpoints_path)]
        if saved is not None and max(steps, default=-1) < saved:
            found.append(f"the checkpoint of step {saved} is gone, there are {steps}")
        rows = _without_times(read_rows(run.metrics_path))
        if rows != self.truth["rows"][: len(rows)] and self.bug is None:
            found.append("the rows after the kill are not the first ones of the undisturbed run")
        return found

    @staticmethod
    def _alive(outcome: Outcome) -> Outcome:
        assert outcome.code == 0, outcome.output
        return outcome


def points(names: Sequence[str], stride: int = 1) -> list[tuple[int, str]]:
    """Return (number of a call, how to be killed there) for every call, or every so many of these cases."""
    found = []
    for at, name in enumerate(names, start=1):
        found += [(at, "before"), (at, "after"), *([(at, "torn")] if name == "write" else [])]
    return found[::stride]


def the_seed(test: str) -> int:
    """Return the seed of a random test, and print how to repeat it."""
    seed = int(os.environ.get("OPTRUN_TEST_SEED", random.randrange(1 << 30)))
    print(f"replay: OPTRUN_TEST_SEED={seed} pytest {test}")  # noqa: T201
    return seed


def report(what: str, count: int, found: Sequence[str]) -> None:
    """Print a figure for docs/robustness.md, and fail with all that was found."""
    print(f"{what}: {count} cases, {len(found)} failures")  # noqa: T201
    assert not found, "\n".join(found[:20])


def state_of(root: Path, name: str = "run") -> dict[str, Any]:
    """Return everything that a run left but for times: weights, optimizer, hooks, rows, result."""
    run = RunDir(root / name)
    files = list_checkpoints(run.checkpoints_path)
    tensors, facts = load(files[-1])
    summary = run.read_json("summary.json") or {}
    return {
        "tensors": {
            name: hashlib.sha256(str(tensor.dtype).encode() + tensor.contiguous().numpy().tobytes()).hexdigest()
            for name, tensor in tensors.items()
            if not name.startswith("rng/")
        },
        "rng": {name: tensor.tolist() for name, tensor in tensors.items() if name.startswith("rng/")},
        "facts": {section: state for section, state in facts["state"].items() if section != "rng"},
        "rows": _without_times(read_rows(run.metrics_path)),
        "steps": [file.step for file in files],
        "summary": _without_times(summary),
        "state": run.status()["state"],
    }


def differences(truth: dict[str, Any], root: Path, name: str = "run", quarantined: int = 0) -> list[str]:
    """Return how a run differs from the undisturbed one, and what it left lying about."""
    found = []
    try:
        state = state_of(root, name)
    except (OptrunError, LookupError) as error:
        return [f"it cannot be read: {error!r}"]
    for key in ("facts", "rng", "rows", "summary", "state"):
        if state[key] != truth[key] and truth[key] is not None:  # None: not to be compared
            found.append(f"{key} differ: {_first_difference(state[key], truth[key])[:600]}")
    names = [name for name, digest in truth["tensors"].items() if state["tensors"].get(name) != digest]
    if names or len(truth["tensors"]) != len(state["tensors"]):
        found.append(f"tensors differ: {names}")
    if lost := set(truth["steps"]) - set(state["steps"]):
        found.append(f"checkpoints are gone: {sorted(lost)}")
    times = [row["time"] for row in read_rows(root / name / "metrics.jsonl")]
    if times != sorted(times):
        found.append(f"time goes back: {times}")
    strays = [path.name for path in root.rglob("*") if ".tmp-" in path.name]
    damaged = [path.name for path in root.rglob("*.bad")]
    if strays or len(damaged) != quarantined:
        found.append(f"left lying about: {strays + damaged}")
    return found


def rows_of(run_dir: Path) -> list[dict[str, Any]]:
    """Return the metric rows without their times, which no two runs share."""
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "time"} for line in lines]


def weights_of(run_dir: Path) -> dict[str, bytes]:
    """Return the tensors of the last checkpoint as bytes, those of the random states of unused generators included."""
    tensors, _ = load(list_checkpoints(run_dir / "checkpoints")[-1])
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def _first_difference(value: Any, true: Any) -> str:
    """Say where two nested values begin to differ."""
    if isinstance(value, dict) and isinstance(true, dict):
        for key in (*true, *value):
            if key not in value or key not in true:
                return f"{key} is in one of them only"
            if value[key] != true[key]:
                return f"{key}: {_first_difference(value[key], true[key])}"
    if isinstance(value, list) and isinstance(true, list):
        for index, (one, other) in enumerate(zip(value, true, strict=False)):
            if one != other:
                return f"{index}: {_first_difference(one, other)}"
        return f"{len(value)} instead of {len(true)}"
    return f"{value!r} instead of {true!r}"


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items() if key not in _TIMES}
    return [_without_times(item) for item in value] if isinstance(value, list) else value

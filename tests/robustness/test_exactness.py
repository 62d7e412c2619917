"""The exactness matrix: optimizers × what has a state or draws numbers × where a run is stopped and resumed.

Each part runs in a process of its own. Equal means the same SHA-256 of weights, optimizer state, averages and counters,
and the same metric rows but for `time`. A cell is repeated by the line that its failure prints.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch

from optrun.experiments import Hook, build, load_config
from optrun.experiments.components.data import Batches
from optrun.experiments.components.hooks.hook import RunArgs
from optrun.experiments.components.optimizers import registry
from optrun.experiments.components.updates.ema import Ema
from optrun.experiments.run_directory.checkpoints import flatten_state
from optrun.experiments.run_directory.rows import RowLog
from optrun.experiments.training.session.saved_state import SavedState
from optrun.experiments.training.step.optimizer_state import OptimizerState

from .processes import forked

MODEL = '''
import torch
from torch import nn

from optrun.experiments import Hook

class Net(nn.Module):
    def __init__(self, input_shape, num_outputs, norm: bool = False, dropout: float = 0.0):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(input_shape[0], 8), nn.BatchNorm1d(8) if norm else nn.Identity(), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(8, 6), nn.BatchNorm1d(6) if norm else nn.Identity(), nn.ReLU(), nn.Linear(6, num_outputs),
        )

    def forward(self, inputs):
        return self.body(inputs)

class Freed(Net):
    def __init__(self, input_shape, num_outputs, norm: bool = False, dropout: float = 0.0):
        super().__init__(input_shape, num_outputs, norm, dropout)
        self.body[0].requires_grad_(False)

class Free(Hook):
    """Train the first layer from step 3 on, at a third of the rate, and the second no more from step 8 on."""

    def after_run(self, ctx, values):
        body, optimizer = ctx.train_op.model.body, ctx.train_op.optimizer
        if ctx.step == 3:
            layer = body[0].requires_grad_(True)
            named = [(f"body.0.{name}", parameter) for name, parameter in layer.named_parameters()]
            optimizer.add_param_group({"params": named, "lr": optimizer.defaults["lr"] / 3})
        if ctx.step == 8:
            body[4].requires_grad_(False)

class Loss(nn.Module):
    def __init__(self):
        super().__init__()
        self.log_t, self.shift = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(1, 2))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, outputs, targets):
        if self.training:
            self.scale.mul_(0.9).add_(0.1 * outputs.detach().float().std())
        scores = (outputs + self.shift[:, :1]) * self.log_t.exp() / self.scale.detach().clone()
        return nn.functional.cross_entropy(scores, targets) + (self.shift - 1).square().sum()
'''
LAST, PER_EPOCH, POISONED = 10, 4, 5  # a step, steps, a batch
POINTS = (0, 1, PER_EPOCH + 2, 2 * PER_EPOCH, LAST - 1, LAST)  # the third in the middle, the fourth at the end of one

#: What may go wrong with a resume, as changes of the plain configuration.
FEATURES: dict[str, dict[str, Any]] = {
    "plain": {},
    "torch batch norm": {"model.norm": True},
    "grouped batch norm": {"model.norm": True, "updates": ["batch_norm"]},
    "tf batch norm": {"model.norm": True, "updates": ["tf_batch_norm"]},
    "dropout": {"model.dropout": 0.3},
    "ema": {"updates": [{"name": "ema", "num_updates": True}], "eval.weights": "ema"},
    "accumulation": {"train.accumulate": 3},
    "bf16": {"train.precision": "bf16"},
    "augmentation": {"data.augment": [{"name": "noise", "std": 0.2}]},
    "skipped batch": {"model.norm": True, "stop.on_nan": "skip"},
    "loss with parameters": {"loss": "{folder}/net.py:Loss"},
    "freed and frozen layers": {"model.name": "{folder}/net.py:Freed", "hooks": ["{folder}/net.py:Free"]},
}
EVERYTHING = {
    key: value
    for changes in FEATURES.values()
    for key, value in changes.items()
    if key not in ("updates", "eval.weights")
} | {"updates": ["tf_batch_norm", "ema"]}
#: Where a run is looked at changes neither weights nor optimizer state.
INTERVALS: dict[str, dict[str, Any]] = {
    "log": {"log.every": "3 steps", "log.to": ["jsonl", "csv"]},
    "save": {"checkpoint.every": "1 steps", "checkpoint.keep": 2, "checkpoint.best": False},
    "evaluation": {"eval.every": "3 steps"},
}
OPTIMIZERS = [
    {"name": name, **({"flavor": flavor} if flavor else {})}
    for name in registry.names()
    if not name.startswith("pytorch_optimizer")  # another package's; its own tests try each
    for flavor in (registry.get(name).variants or [""])
]
IDS = ["-".join(each.values()) for each in OPTIMIZERS]

State = dict[str, Any]


class Poison(Hook):
    """Feed one batch of NaN."""

    def before_run(self, ctx):
        if ctx.batch != POISONED:
            return None
        inputs, targets = ctx.train_op.data.batch(ctx.batch)
        return RunArgs(feed={"batch": (inputs * float("nan"), targets)})


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory where there is one: each save waits for the disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as place:
        (Path(place) / "net.py").write_text(MODEL)
        yield Path(place)


def features_of(optimizer: Mapping[str, Any], features: Mapping[str, Any]) -> dict[str, Any]:
    """Return features without what an optimizer refuses: L-BFGS takes no second group."""
    return {key: value for key, value in features.items() if key != "hooks" or optimizer["name"] != "lbfgs"}


def configured(folder: Path, optimizer: Mapping[str, Any], *changes: Mapping[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {
        "name": "exact",
        "data": {"name": "gaussian_classes", "num_examples": 100, "batch_size": 16},  # the fourth batch has 12
        "model": {"name": f"{folder}/net.py:Net"},
        "loss": "cross_entropy",
        "metrics": ["accuracy"],
        "optimizer": {**optimizer, "lr": 0.01},
        "schedule": {"name": "piecewise", "boundaries": [3, 7], "factors": [1, 0.5, 0.1]},
        "train": {"steps": LAST},
        "log": {"every": "2 steps"},
    }
    for key, value in (item for each in changes for item in features_of(optimizer, each).items()):
        section, _, name = key.partition(".")
        value = json.loads(json.dumps(value).replace("{folder}", str(folder)))
        if name:
            config[section] = {**config.get(section, {}), name: value}
        else:
            config[section] = value
    return config


def life(config: Mapping[str, Any], folder: Path, stop_at: int | None) -> State:
    """Train from what is in `folder` to the end, or stop after a step, and return hashes and rows."""
    experiment = build(load_config(config))
    train_op = experiment.train_op
    hooks = [Poison()] if config.get("stop", {}).get("on_nan") == "skip" else []
    with experiment.session(folder, hooks) as session:
        while not session.should_stop() and train_op.global_step != stop_at:
            session.run(train_op)
        if stop_at == 0:
            session.save_checkpoint()
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    rows = [{key: value for key, value in json.loads(line).items() if key != "time"} for line in lines]
    sections = {section: sha256(part) for section, part in train_op.state_dict().items()}
    return {"step": train_op.global_step, "skipped": train_op.skipped, "rows": rows, **sections}


def sha256(state: Any) -> str:
    tensors, skeleton = flatten_state("state", state)
    found = hashlib.sha256(json.dumps(skeleton, sort_keys=True).encode())
    for name in sorted(tensors):
        found.update(name.encode() + tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def cell(config: Mapping[str, Any], folder: Path, point: int, straight: State) -> list[str]:
    """Return what differs when a run is stopped after `point` and resumed."""
    parts = folder / "parts"
    stopped = forked(life, config, parts, point)
    assert stopped["step"] == point
    resumed = forked(life, config, parts, None)
    shutil.rmtree(parts)
    return [section for section in straight if resumed[section] != straight[section]]


def differing(folder: Path, optimizer: Mapping[str, Any], features: Mapping[str, Any], points: Any) -> dict[int, Any]:
    """Return what differs, by the step of the stop; only those where something does."""
    config = configured(folder, optimizer, features)
    straight = forked(life, config, folder / "straight", None)
    shutil.rmtree(folder / "straight")
    assert straight["step"] == LAST
    assert straight["skipped"] == ("stop.on_nan" in features)
    assert len(straight["rows"]) == LAST // 2 + LAST // PER_EPOCH
    found = {point: cell(config, folder, point, straight) for point in points}
    return {point: sections for point, sections in found.items() if sections}


# ---- for every day: each feature with one optimizer, each point with two, a few with everything on -------------------

sample, slow = pytest.mark.sample, pytest.mark.slow

#: Each feature's optimizer and point; tests/components/optimizers/test_in_training.py resumes each optimizer.
DAILY = [
    (OPTIMIZERS[number * len(OPTIMIZERS) // len(FEATURES)], feature, POINTS[number % len(POINTS)])
    for number, feature in enumerate(FEATURES)
]
#: With everything on, each seventh optimizer for every day, so that each point is met, and as many as a sample.
WITH_EVERYTHING = [
    pytest.param(optimizer, point, marks={0: (), 3: sample}.get(number % (len(POINTS) + 1), slow))
    for number, (optimizer, point) in enumerate(zip(OPTIMIZERS, cycle(POINTS), strict=False))
]


def test_every_day_has_each_feature_and_point():
    assert len({str(optimizer) for optimizer, _, _ in DAILY}) == len(FEATURES)
    assert {feature for _, feature, _ in DAILY} == set(FEATURES)
    assert {point for _, _, point in DAILY} == set(POINTS)


@pytest.mark.parametrize(("optimizer", "feature", "point"), DAILY, ids=list(FEATURES))
def test_an_optimizer_with_each_feature_resumes_exactly(folder, optimizer, feature, point):
    assert not differing(folder, optimizer, FEATURES[feature], [point]), optimizer


@pytest.mark.parametrize(("optimizer", "point"), WITH_EVERYTHING, ids=IDS)
def test_each_optimizer_resumes_exactly_with_everything_on(folder, optimizer, point):
    assert not differing(folder, optimizer, EVERYTHING, [point])


@sample
@pytest.mark.parametrize("feature", FEATURES)
def test_each_feature_resumes_exactly(folder, feature):
    place = list(FEATURES).index(feature)
    optimizer = ({"name": "adam", "flavor": "tf1"}, {"name": "mom", "flavor": "torch"})[place % 2]
    assert not differing(folder, optimizer, FEATURES[feature], [POINTS[(place + 3) % len(POINTS)]])


@pytest.mark.parametrize(
    ("optimizer", "interval"),
    [
        pytest.param(optimizer, interval, marks=slow if number % 4 else sample)
        for number, (optimizer, interval) in enumerate(zip(OPTIMIZERS, cycle(INTERVALS), strict=False))
    ],
    ids=IDS,
)
def test_looking_more_or_less_often_changes_no_weight(folder, optimizer, interval):
    assert not watched(folder, optimizer, [interval])


def watched(folder: Path, optimizer: Mapping[str, Any], intervals: Collection[str]) -> dict[str, list[str]]:
    """Return what differs under other intervals, by their names; only those where something does."""
    states = {
        name: forked(life, configured(folder, optimizer, EVERYTHING, changes), folder / name, None)
        for name, changes in ({"plain": {}} | {name: INTERVALS[name] for name in intervals}).items()
    }
    weights = ("model", "optimizer", "updates", "counters")
    found = {name: [each for each in weights if states[name][each] != states["plain"][each]] for name in intervals}
    assert all(states[name]["rows"] != states["plain"]["rows"] for name in intervals if name != "save")
    for name in states:
        shutil.rmtree(folder / name)
    return {name: sections for name, sections in found.items() if sections}


@pytest.mark.parametrize("points", [POINTS[2:3], pytest.param(POINTS, marks=sample)])
def test_sparse_gradients_resume_exactly(folder, points):
    bag = {"model": "bag_of_words", "data": {"name": "digits", "scaling": "unit", "subset": 56, "batch_size": 16}}
    assert not differing(folder, {"name": "sparse_adam"}, bag, points)


# ---- the matrix is tested itself: each of these is a bug that it has to see ------------------------------------------


def no_momentum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OptimizerState, "load_state_dict", lambda self, saved: None)


def no_average(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ema, "load_state_dict", lambda self, state: None)


def data_off_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    restore = SavedState.restore

    def shifted(self: SavedState, *args: Any, **options: Any) -> None:
        restore(self, *args, **options)
        batch = Batches.batch
        monkeypatch.setattr(Batches, "batch", lambda self, position: batch(self, position + 1))

    monkeypatch.setattr(SavedState, "restore", shifted)


def rows_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    rewind = RowLog.rewind
    monkeypatch.setattr(RowLog, "rewind", lambda self, offset, sha256: rewind(self, *_EMPTY))


_EMPTY = (0, hashlib.sha256().hexdigest())


@pytest.mark.parametrize(
    ("plant", "sections"),
    [
        (no_momentum, {"optimizer", "model"}),
        (no_average, {"updates"}),
        (data_off_by_one, {"model", "rows"}),
        (rows_forgotten, {"rows"}),
    ],
)
def test_a_planted_bug_is_seen(
    folder, monkeypatch, plant: Callable[[pytest.MonkeyPatch], None], sections: set[str]
) -> None:
    plant(monkeypatch)
    found = differing(folder, {"name": "adam"}, {"updates": ["ema"]}, [PER_EPOCH])
    assert sections <= set(found[PER_EPOCH])


# ---- the whole matrix ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=IDS)
def test_the_whole_matrix(folder, optimizer):
    wrong: dict[Any, Any] = dict(watched(folder, optimizer, INTERVALS))
    for feature, changes in FEATURES.items():
        for point, sections in differing(folder, optimizer, changes, POINTS).items():
            wrong[feature, point] = sections
    assert not wrong

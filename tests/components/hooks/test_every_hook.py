"""What holds for every registered hook, as a configuration asks for it: all ends, exact resumes."""

from __future__ import annotations

import functools
import os
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from optrun.experiments import Hook, build, load_config
from optrun.experiments.components.hooks import registry
from optrun.experiments.components.hooks.hook import RunArgs
from optrun.experiments.errors import DivergedError, Interrupted

from ...helpers import in_turn
from ...training.test_resume import digest, rows
from .recorded import Mlflow, Wandb

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's, of NumPy

PAGE = (Path(__file__).parents[3] / "docs" / "hooks.md").read_text(encoding="utf-8")
HOOKS = registry.names()
LAST_STEP = 12

MINE = '''
def values(step):
    """Feed another momentum every step."""
    return {"momentum": 0.5 + 0.4 * (step % 2)}


def measured(session):
    """Return the sum of all weights."""
    return sum(parameter.sum() for parameter in session.train_op.model.parameters())
'''
# Other values than those of the page, where these would not let a run of 12 steps go to its end, or trigger nothing.
SHORT = {"every": "3 steps"}
STEERING = ("feed", "hyperparameter", "learning_rate_setter", "unfreeze")  # whose purpose is to change the training
INSTEAD = {
    "early_stopping": {"patience": 100},
    "nan": {"policy": "raise"},
    "stop_after": {"secs": 1000},
    "stop_at_step": {"last_step": LAST_STEP},
    "step_waiter": {"wait_until_step": 0},
}


def shown(name: str) -> dict:
    """Return the sections of a configuration that docs/hooks.md shows for a hook."""
    found = re.search(rf"^## {name}\n.*?^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/hooks.md has no section `## {name}` with a YAML line"
    return yaml.safe_load(found[1])


@pytest.fixture(autouse=True)
def _surroundings(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.setitem(sys.modules, "mlflow", Mlflow())
    monkeypatch.setitem(sys.modules, "wandb", Wandb())
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)


def experiment(name: str | None):
    config = {
        "name": "every",
        "data": {"name": "digits", "batch_size": 32, "subset": 32 * 5},
        "model": "logistic",
        "loss": "cross_entropy",
        "metrics": ["accuracy"],
        "optimizer": {"name": "mom", "lr": 0.01},
        "train": {"steps": LAST_STEP},
        "eval": {"every": "5 steps"},
        "log": {"every": "2 steps"},
    }
    if name is not None:
        config |= shown(name)
        short = {key: value for key, value in SHORT.items() if key in registry.get(name).signature.names()}
        for position, hook in enumerate(config.get("hooks", ())):
            named = hook if isinstance(hook, dict) else {"name": hook}
            assert named["name"] == name
            config["hooks"][position] = named | short | INSTEAD.get(name, {})
    return build(load_config(config))


class At(Hook):
    """Do something after a step."""

    def __init__(self, step, what):
        self._step, self._what = step, what

    def after_run(self, ctx, values):
        if ctx.step == self._step:
            self._what(ctx)


class Poison(Hook):
    """Feed a batch of NaN."""

    def before_run(self, ctx):
        if ctx.batch != 4:
            return None
        inputs, targets = ctx.train_op.data.batch(ctx.batch)
        return RunArgs(feed={"batch": (inputs * float("nan"), targets)})


def run(name, folder, *more):
    made = experiment(name)
    session = made.session(folder, more)
    try:
        with session:
            while not session.should_stop():
                session.run(made.train_op)
    finally:
        assert session.outcome is not None
    return made.train_op, session


def test_the_page_has_every_hook_and_no_other():
    assert sorted(re.findall(r"^## (\w+)$", PAGE, re.MULTILINE)) == HOOKS


@dataclass(frozen=True)
class Straight:
    """What an uninterrupted run leaves."""

    step: int
    outcome: str
    digest: str
    rows: list


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Return a function that trains with a hook, or with None, without an end in between, once for all tests."""

    @functools.cache
    def train_once(name):
        folder = tmp_path_factory.mktemp("straight")
        train_op, session = run(name, folder)
        return Straight(train_op.global_step, session.outcome, digest(train_op), rows(folder))

    return train_once


@pytest.mark.parametrize("name", HOOKS)
def test_stopped_and_resumed_is_bit_identical(name, straight, tmp_path):
    assert (straight(name).step, straight(name).outcome) == (LAST_STEP, "done")
    stopped, session = run(name, tmp_path / "parts", At(7, lambda ctx: ctx.request_stop()))
    assert (stopped.global_step, session.outcome) == (7, "stopped")
    resumed, _ = run(name, tmp_path / "parts")
    assert digest(resumed) == straight(name).digest
    assert rows(tmp_path / "parts") == straight(name).rows


@pytest.mark.parametrize("name", [name for name in HOOKS if name not in STEERING])
def test_watching_changes_no_weights(name, straight):
    assert straight(name).digest == straight(None).digest


def interrupt(ctx):
    os.kill(os.getpid(), signal.SIGINT)


def fail(ctx):
    raise ZeroDivisionError("on purpose")


ENDS = {
    "interrupted": (At(4, interrupt), Interrupted),
    "failed": (At(4, fail), ZeroDivisionError),
    "diverged": (Poison(), DivergedError),
}


@pytest.mark.parametrize(("name", "end"), in_turn(HOOKS, [*ENDS], others=pytest.mark.slow))
def test_every_end_is_survived(name, end, tmp_path):
    """The error is the one that was caused, and no hook adds one of its own."""
    hook, error = ENDS[end]
    with pytest.raises(error) as caught:
        run(name, tmp_path / "run", hook)
    assert not any("while ending" in note for note in getattr(caught.value, "__notes__", ()))
    if error is Interrupted:
        resumed, _ = run(name, tmp_path / "run")
        assert resumed.global_step == LAST_STEP

"""The names of `optrun.experiments`, and the recipe that they are made for."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import optrun.experiments as api

ROOT = Path(__file__).parents[2]


def documented() -> list[str]:
    """Return the names in the tables of docs/python.md: the first column, between backticks."""
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    table = text.split("## Names")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)", table, re.MULTILINE)


def test_all_is_what_is_documented():
    assert sorted(documented()) == api.__all__
    assert len(set(documented())) == len(documented())


def test_all_is_what_there_is():
    assert api.__all__ == sorted(api._HOMES)
    assert dir(api) == api.__all__


def test_type_checkers_see_the_same_names():
    """The block under TYPE_CHECKING and the table of homes say the same."""
    source = (ROOT / "experiments" / "__init__.py").read_text(encoding="utf-8")
    seen = re.findall(r"^    from \.([\w.]+) import (\w+) as \2$", source, re.MULTILINE)
    assert {name: home for home, name in seen} == api._HOMES


@pytest.mark.parametrize("name", api.__all__)
def test_each_name_is_there(name):
    home = importlib.import_module(f"optrun.experiments.{api._HOMES[name]}")
    assert getattr(api, name) is getattr(home, name)


@pytest.mark.parametrize("name", api.__all__)
def test_each_name_says_what_it_is(name):
    found = getattr(api, name)
    if name.startswith("register_"):
        found = type(found.__self__).register
    assert found.__doc__
    assert not found.__doc__.startswith(f"{name}(")  # what a dataclass writes by itself


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"optrun\.experiments.*has no attribute 'trian'"):
        api.trian  # noqa: B018
    with pytest.raises(ImportError):
        exec("from optrun.experiments import trian")
    assert not hasattr(api, "_nothing")


def test_a_star_import_gives_exactly_these_names():
    names: dict[str, object] = {}
    exec("from optrun.experiments import *", names)
    assert sorted(set(names) - {"__builtins__"}) == api.__all__


def test_the_recipe_runs(tmp_path):
    """Gradients, optimizer and batch-norm updates in one op; a session with hooks; a rate set by the step."""
    from optrun.experiments import (
        Batches,
        Every,
        LearningRateSetterHook,
        LoggingHook,
        MonitoredTrainingSession,
        StopAtStepHook,
        SummaryHook,
        build_train_op,
        make_optimizer,
        make_schedule,
    )

    torch.manual_seed(0)
    inputs = torch.randn(256, 8)
    targets = (inputs.sum(dim=1) > 0).long()
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = make_optimizer(model, "mom", lr=0.1)
    schedule = make_schedule("piecewise", boundaries=[10, 20], factors=[1, 0.1, 0.01], num_steps=30)
    train_op = build_train_op(
        model,
        nn.functional.cross_entropy,
        optimizer,
        data=Batches(inputs, targets, batch_size=32),
        updates=["tf_batch_norm", "ema"],
    )
    with MonitoredTrainingSession(
        checkpoint_dir=tmp_path,
        hooks=[LoggingHook(Every(steps=5)), LearningRateSetterHook(schedule), StopAtStepHook(last_step=30)],
        chief_only_hooks=[SummaryHook(every=Every(steps=10))],
        save_checkpoint_secs=600,
    ) as session:
        while not session.should_stop():
            session.run(train_op)

    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [5, 10, 15, 20, 25, 30]
    # A row tells the rate that its step was taken with: boundaries are at 10 and 20 completed steps.
    assert [row["lr"] for row in rows] == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert [path.name.split("-")[1] for path in tmp_path.glob("step-*.safetensors")] == ["00000030"]
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1

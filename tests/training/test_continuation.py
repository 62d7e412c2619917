"""A run that goes on with another length or batch size says truly what is not as in an uninterrupted one."""

from __future__ import annotations

import itertools
import logging

import pytest

from optrun.cli.texts.run_text import header
from optrun.cli.texts.saved_run import saved_run_lines
from optrun.experiments import Run, build, resume, train
from optrun.experiments.config import ConfigError
from optrun.experiments.studies.plan import plan

SMALL = {
    "name": "small",
    "data": {"name": "iris", "batch_size": 30},  # 90 to train on, 3 steps an epoch
    "model": "logistic",
    "loss": "cross_entropy",
    "optimizer": {"name": "sgd", "lr": 0.1},
    "schedule": {"name": "piecewise", "boundaries": ["50%"], "factors": [1, 0.1]},
    "train": {"epochs": 4},
    "log": {"every": "1 step"},
}


def told(caplog, changes: dict, **config: object) -> tuple[Run, list[str]]:
    train({**SMALL, **config}, name="first")
    caplog.clear()
    with caplog.at_level(logging.WARNING, "optrun"):
        run = resume("first", changes, allow_change=True)
    return run, [record.getMessage() for record in caplog.records]


def test_a_longer_run_names_its_end_and_a_rate_that_jumps(caplog) -> None:
    schedule = {"name": "piecewise", "boundaries": ["75%"], "factors": [1, 0.1]}
    run, said = told(caplog, {"train.epochs": 8}, schedule=schedule)
    rates = {row["step"]: row["lr"] for row in run.rows if "lr" in row}
    assert (rates[12], rates[13]) == (pytest.approx(0.01), pytest.approx(0.1))
    assert said[0] == "it goes on from step 12 to 24, where it had 12 before"
    assert "at the rate 0.1, and the configuration before had 0.01 there" in said[1]


def test_a_schedule_in_steps_goes_on_without_a_word_about_rates(caplog) -> None:
    schedule = {"name": "piecewise", "boundaries": [6], "factors": [1, 0.1]}
    _, said = told(caplog, {"train.epochs": 8}, schedule=schedule)
    assert said == ["it goes on from step 12 to 24, where it had 12 before"]


@pytest.mark.parametrize("changes", [{"train.epochs": 2}, {"train.epochs": None, "train.steps": 11}])
def test_steps_are_not_taken_back(caplog, changes) -> None:
    train(SMALL, name="first")
    before = Run("runs/first")
    config, summary = before.config, before.summary
    with pytest.raises(ConfigError, match="has taken 12 steps, more than the") as caught:
        resume("first", changes, allow_change=True)
    assert caught.value.problems[0].key in changes
    after = Run("runs/first")
    assert (after.config, after.summary, after.state) == (config, summary, "done")


def test_another_batch_size_says_where_in_the_data_the_run_goes_on(caplog) -> None:
    run, said = told(caplog, {"data.batch_size": 10})
    assert said[0] == "it goes on from step 12 to 36, where it had 12 before"
    assert said[1].startswith("batches are counted on, so that it goes on at batch 12: that is epoch 1.333 of the data")
    assert "and was 4 in those of the old one" in said[1]
    first = next(row for row in run.rows if row["step"] == 13)
    assert (first["batch"], first["epoch"]) == (13, pytest.approx(13 / 9))
    assert first["examples"] == 12 * 30 + 10


# ---- who decides about batches ---------------------------------------------------------------------------------------

LOADER = """
import torch
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

def loader(batch: int = 20, size: int = 200, drop: bool = False, drawn: int = 0):
    inputs = torch.randn(size, 5, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(inputs, (inputs.sum(1) > 0).long())
    sampler = WeightedRandomSampler(torch.ones(size), drawn) if drawn else None
    return DataLoader(data, batch_size=batch, shuffle=sampler is None, drop_last=drop, sampler=sampler)
"""
OWN = {"name": "./mine.py:loader", "batch": 20}
IRIS = SMALL["data"]
# The data of a run, what a resumed one changes, and its batch size.
CHANGES = [
    (IRIS, {"data.batch_size": 10}, 10),
    (IRIS, {"data.batch_size": "full"}, 90),
    (IRIS, {"data.drop_last": True, "data.batch_size": 40}, 40),
    (IRIS, {"data.subset": 45}, 30),
    (IRIS, {"data.val": 0.5}, 30),
    (IRIS, {"train.epochs": 6}, 30),
    (OWN, {"train.epochs": 6}, 20),
    (OWN, {"data.batch": 15}, 15),
    (OWN, {"data.batch": 15, "data.batch_size": 15}, 15),
    (OWN, {"data.batch": 64}, 64),
    (OWN, {"data.size": 300}, 20),
    (OWN, {"data.drop": True, "data.batch": 50}, 50),
    (OWN, {"data.drawn": 400}, 20),
    (OWN, {"data.subset": 50}, 20),
    (OWN, {"data.val": 0.5}, 20),
    ({**OWN, "drawn": 100}, {"data.drawn": 400}, 20),
    ({**OWN, "batch_size": 20}, {"data.batch_size": 64, "data.batch": 64}, 64),
]


@pytest.mark.parametrize(("data", "changes", "size"), CHANGES)
def test_where_a_run_goes_on_and_ended_before_is_told_as_it_was(tmp_path, caplog, data, changes, size) -> None:
    (tmp_path / "mine.py").write_text(LOADER)
    before = train({**SMALL, "data": data, "train": {"epochs": 2}}, name="first").summary
    longer = {"train.epochs": 8, **changes}
    caplog.clear()
    with caplog.at_level(logging.WARNING, "optrun"):
        after = resume("first", longer, allow_change=True)
    had, has = before["num_steps"], after.summary["num_steps"]
    said = [record.getMessage() for record in caplog.records]
    assert f"it goes on from step {had} to {has}, where it had {had} before" in said
    assert after.summary["batch_size"] == after.env["batches"]["size"] == size
    assert after.env["batches"]["steps_per_epoch"] * (changes.get("train.epochs", 8)) == has
    took = sorted({row["examples"] for row in after.rows if "examples" in row and row["step"] > had})
    assert all(0 < b - a <= size for a, b in itertools.pairwise(took))
    moved = [line for line in said if line.startswith("batches are counted on")]
    assert len(moved) == (size != before["batch_size"])


def test_a_run_of_before_there_was_a_record_of_batches_is_measured_by_its_configuration(caplog) -> None:
    train(SMALL, name="first")
    run = Run("runs/first")
    env = run.env
    del env["batches"]
    run.dir.write_json("env.json", env)
    with caplog.at_level(logging.WARNING, "optrun"):
        resume("first", {"data.batch_size": 10}, allow_change=True)
    assert caplog.records[0].getMessage() == "it goes on from step 12 to 36, where it had 12 before"


def test_header_plan_and_show_have_the_batch_size_of_a_dataloader(tmp_path) -> None:
    (tmp_path / "mine.py").write_text(LOADER)
    config = {**SMALL, "data": OWN}
    parts = {part.name: part.what for part in plan(config, measure=False).parts}
    assert parts["batch"].startswith("20 of 120 examples")
    assert "batch 20" in " ".join(header(build(config), None))
    assert "batches   of 20 examples, 6 steps an epoch" in saved_run_lines(train(config, name="first"))

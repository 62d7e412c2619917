"""A run that goes on with another length or batch size says truly what is not as in an uninterrupted one."""

from __future__ import annotations

import logging

import pytest

from optrun.experiments import Run, resume, train
from optrun.experiments.config import ConfigError

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

"""The CSV file, read back by Python's own reader and held against the metrics log."""

from __future__ import annotations

import csv
import math

import pytest

from optrun.experiments import Every, Hook, LoggingHook, load_config, train
from optrun.experiments.components.hooks.csv import CsvHook
from optrun.experiments.errors import StorageError, TransientError, UsageError

from ...helpers import run_steps, small_train_op


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


class Rows(Hook):
    """Write rows of other columns, odd values among them."""

    def after_run(self, ctx, values):
        odd = {2: {"b": math.inf}, 3: {"a": True, "c": 'say "x, y"'}, 4: {"b": [1, 2.5]}}
        ctx.session.write_row(**odd.get(ctx.step, {"a": ctx.step / 3}))


def test_columns_that_come_later_are_empty_before(tmp_path):
    session = run_steps(small_train_op(), 5, Rows(), CsvHook(), checkpoint_dir=tmp_path)
    found = read(tmp_path / "metrics.csv")
    assert list(found[0]) == ["step", "batch", "examples", "epoch", "time", "a", "b", "c"]
    assert [row["a"] for row in found] == [repr(1 / 3), "", "true", "", repr(5 / 3)]
    assert [row["b"] for row in found] == ["", "", "", "[1, 2.5]", ""]
    assert [row["c"] for row in found] == ["", "", 'say "x, y"', "", ""]
    for row, logged in zip(found, session.rows.rows(), strict=True):
        assert {name: float(row[name]) for name in ("step", "batch", "examples", "epoch", "time")} == {
            name: logged[name] for name in ("step", "batch", "examples", "epoch", "time")
        }


def test_a_resumed_run_has_the_file_of_its_rows(tmp_path):
    def hooks():
        return Rows(), LoggingHook(Every(steps=2), lines=False), CsvHook()

    def without_time(path):
        return [{**row, "time": ""} for row in read(path)]

    run_steps(small_train_op(), 7, *hooks(), checkpoint_dir=tmp_path / "straight")
    run_steps(small_train_op(), 2, *hooks(), checkpoint_dir=tmp_path / "parts")
    (tmp_path / "parts" / "metrics.csv").write_text("torn and wro")
    run_steps(small_train_op(), 7, *hooks(), checkpoint_dir=tmp_path / "parts")
    assert without_time(tmp_path / "parts" / "metrics.csv") == without_time(tmp_path / "straight" / "metrics.csv")


def test_appended_and_rewritten_files_are_the_same_bytes(tmp_path):
    run_steps(small_train_op(), 5, Rows(), CsvHook(), checkpoint_dir=tmp_path)
    appended = (tmp_path / "metrics.csv").read_bytes()
    run_steps(small_train_op(), 5, CsvHook(), checkpoint_dir=tmp_path)  # already there: nothing to run
    assert (tmp_path / "metrics.csv").read_bytes() == appended


def test_a_recovery_takes_rows_back(tmp_path):
    class Fault(Hook):
        done = False

        def after_run(self, ctx, values):
            if ctx.step == 5 and not self.done:
                self.done = True
                raise TransientError("once")

    options = {"checkpoint_dir": tmp_path, "save_checkpoint_steps": 2, "retry_wait_secs": 0.0}
    run_steps(small_train_op(), 8, LoggingHook(Every(steps=1), lines=False), Fault(), CsvHook(), **options)
    assert [row["step"] for row in read(tmp_path / "metrics.csv")] == [str(step) for step in range(1, 9)]


def test_a_fresh_start_empties_an_old_file(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("step,old\n1,2\n")
    run_steps(small_train_op(), 1, CsvHook(str(path)))
    assert path.read_bytes() == b""


def test_a_path_of_ones_own_and_none_at_all(tmp_path):
    run_steps(small_train_op(), 2, Rows(), CsvHook(str(tmp_path / "there" / "rows.csv")))
    assert len(read(tmp_path / "there" / "rows.csv")) == 2
    with pytest.raises(UsageError, match="CsvHook needs a path"):
        run_steps(small_train_op(), 1, CsvHook())


def test_what_cannot_be_written_is_said(tmp_path):
    (tmp_path / "rows.csv").mkdir()
    with pytest.raises(StorageError, match=r"rows\.csv"):
        run_steps(small_train_op(), 1, CsvHook(str(tmp_path / "rows.csv")))


def test_log_to_sets_it_up():
    config = {
        "name": "table",
        "data": {"name": "digits", "subset": 128},
        "model": "logistic",
        "loss": "cross_entropy",
        "optimizer": "sgd",
        "train": {"steps": 4},
        "log": {"every": "2 steps", "to": ["jsonl", "csv"]},
    }
    run = train(config)
    assert [row["step"] for row in read(run.path / "metrics.csv")] == [str(row["step"]) for row in run.rows]
    assert load_config(run.path / "config.yaml").log.to == ("jsonl", "csv")

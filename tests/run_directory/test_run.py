import json
import math
import re
import time

import numpy as np
import pytest

from optrun.experiments.errors import NothingMatchedError
from optrun.experiments.run_directory.checkpoint_files import checkpoint_name
from optrun.experiments.run_directory.lookup import find_runs
from optrun.experiments.run_directory.run import Run
from optrun.experiments.run_directory.run_dir import RunDir

ROWS = [
    {"step": 10, "epoch": 0.5, "time": 1.5, "loss": 2.0, "lr": 0.1},
    {"step": 20, "epoch": 1.0, "time": 2.5, "loss": 1.0, "lr": 0.1, "val/accuracy": 0.5},
    {"step": 30, "epoch": 1.5, "time": 3.5, "loss": None, "lr": 0.01, "note": "text", "flag": True},
    {"step": 40, "val/accuracy": 0.75},
]


@pytest.fixture
def run(tmp_path):
    run_dir = RunDir.create(tmp_path, "mom")
    run_dir.set_status("done", step=40)
    (run_dir.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS) + '{"step": 50, "lo')
    run_dir.write_json(
        "summary.json", {"config": {"seed": 3}, "best": {"step": 20, "metric": "val/accuracy", "value": 0.5}}
    )
    run_dir.write_json("env.json", {"torch": "2.9"})
    run_dir.checkpoints_path.mkdir()
    for step in (20, 40):
        (run_dir.checkpoints_path / checkpoint_name(step, "a" * 64)).touch()
    return Run(run_dir.path)


def test_a_run_reads_what_is_there(run):
    assert run.name == "mom-0001"
    assert run.state == "done"
    assert run.status["step"] == 40
    assert run.summary["best"]["value"] == 0.5
    assert run.config == {"seed": 3}
    assert run.env == {"torch": "2.9"}
    assert run.rows == ROWS


def test_metrics_are_arrays_over_the_rows_that_have_them(run):
    assert run.metrics.names() == ["loss", "lr", "val/accuracy"]
    assert list(run.metrics) == run.metrics.names()
    assert "loss" in run.metrics
    assert "note" not in run.metrics
    loss = run.metrics["loss"]
    np.testing.assert_array_equal(loss.steps, [10, 20, 30])
    np.testing.assert_array_equal(loss.values, [2.0, 1.0, np.nan])
    np.testing.assert_array_equal(loss.epochs, [0.5, 1.0, 1.5])
    np.testing.assert_array_equal(loss.secs, [1.5, 2.5, 3.5])
    assert (loss.steps.dtype, loss.values.dtype) == (np.int64, np.float64)
    accuracy = run.metrics["val/accuracy"]
    np.testing.assert_array_equal(accuracy.steps, [20, 40])
    np.testing.assert_array_equal(accuracy.epochs, [1.0, np.nan])
    assert accuracy.last == 0.75
    assert len(accuracy) == 2
    assert "val/accuracy" in repr(accuracy)


def test_an_unknown_metric_is_a_key_error_with_the_nearest_name(run):
    with pytest.raises(KeyError) as caught:
        run.metrics["val/acuracy"]
    assert str(caught.value).startswith("no metric named 'val/acuracy'. Did you mean 'val/accuracy'?")
    assert isinstance(caught.value, NothingMatchedError)
    assert run.metrics.get("nope") is None


def test_rows_that_come_later_are_seen(run):
    first = run.metrics
    assert run.metrics is first  # and are not parsed again while the file is the same
    with open(run.dir.metrics_path, "a") as file:
        file.write('ss": 0.5}\n')
    assert run.rows[-1] == {"step": 50, "loss": 0.5}
    assert run.metrics["loss"].last == 0.5


def test_checkpoints_by_word_and_by_step(run):
    assert [file.step for file in run.checkpoints] == [20, 40]
    assert run.checkpoint().step == 40
    assert run.checkpoint("last").step == 40
    assert run.checkpoint("best").step == 20
    assert run.checkpoint(20).step == 20
    assert run.checkpoint("20").step == 20
    with pytest.raises(NothingMatchedError, match=r"no checkpoint '30'; there are: 20, 40"):
        run.checkpoint(30)


def test_a_best_checkpoint_that_is_gone_is_said_so(run):
    run.checkpoints[0].path.unlink()
    with pytest.raises(NothingMatchedError, match=r"'best' \(step 20\); there are: 40"):
        run.checkpoint("best")


@pytest.mark.parametrize("left", [None, {"steps": 10, "best": {"step": 10, "metric": "val/accuracy", "value": 0.9}}])
def test_the_best_checkpoint_of_a_killed_run_is_known_by_its_rows(tmp_path, left):
    run_dir = RunDir.create(tmp_path, "mom")
    run_dir.set_status("running")
    values = {10: 0.6, 20: 0.7, 30: None, 40: 0.5, 50: 0.8}  # the last is no part of a checkpoint
    lines = [json.dumps({"step": step, "val/accuracy": value}) + "\n" for step, value in values.items()]
    run_dir.metrics_path.write_text("".join(lines))
    run_dir.config_path.write_text("eval: {metric: val/accuracy, mode: null}\n")
    run_dir.checkpoints_path.mkdir()
    for step in (10, 20, 40):
        (run_dir.checkpoints_path / checkpoint_name(step, "a" * 64)).touch()
    if left is not None:  # of the process before the last
        run_dir.write_json("summary.json", left)
    assert Run(run_dir.path).checkpoint("best").step == 20


def test_a_run_that_has_just_started_is_empty(tmp_path):
    run_dir = RunDir.create(tmp_path, "new")
    with run_dir.lock():
        run_dir.set_status("running")
        run = Run(run_dir)
        assert (run.state, run.rows, run.summary, run.config, run.env) == ("running", [], {}, {}, {})
        assert run.metrics.names() == []
        assert run.checkpoints == []
        assert repr(run) == "<Run new-0001: running>"
        for which in ("last", "best", 3):
            with pytest.raises(NothingMatchedError, match="there are: none"):
                run.checkpoint(which)


def test_without_a_summary_the_configuration_is_read_from_its_file(tmp_path):
    run_dir = RunDir.create(tmp_path, "a")
    run_dir.set_status("running")
    run_dir.write_config("seed: 4\noptimizer: {name: mom}\n")
    assert Run(run_dir).config == {"seed": 4, "optimizer": {"name": "mom"}}


def test_an_empty_curve_has_no_last_value():
    from optrun.experiments.run_directory.run import Curve

    empty = np.array([])
    assert math.isnan(Curve("loss", empty, empty, empty, empty).last)


def test_representations_read_well_and_escape_what_a_file_says(run):
    assert repr(run) == "<Run mom-0001: done, step 40>"
    run.dir.set_status("failed", step=3, message="<script>alert(1)</script>")
    text = run._repr_html_()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert ">mom-0001</caption>" in text
    assert re.search(r">best value</td><td[^>]*>0\.5</td>", text)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(NothingMatchedError, match=r"no run directory: it has no status\.json"):
        Run(tmp_path)


@pytest.mark.slow
def test_a_thousand_runs_list_in_under_a_second(tmp_path):
    summary = {"config": {"optimizer": {"name": "mom", "lr": 0.1}, "seed": 1}, "best": {"step": 3, "value": 0.5}}
    for number in range(1000):
        path = tmp_path / f"mom-{number:04d}"
        path.mkdir()
        state = "running" if number % 10 == 0 else "done"  # each tenth was killed
        (path / ".lock").touch()
        (path / "status.json").write_text(json.dumps({"state": state, "step": number}))
        (path / "summary.json").write_text(json.dumps(summary))
    begin = time.process_time()
    table = [(run.name, run.state, run.summary["best"]["value"]) for run in map(Run, find_runs(tmp_path))]
    assert time.process_time() - begin < 1
    assert len(table) == 1000
    assert sum(state == "interrupted" for _, state, _ in table) == 100

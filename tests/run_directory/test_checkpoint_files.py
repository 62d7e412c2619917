"""Following a run's checkpoints while another process, or nobody, writes them."""

from __future__ import annotations

import threading
import time

import pytest

from optrun.experiments import checkpoints_iterator, evaluate, evaluate_each, train
from optrun.experiments.run_directory.checkpoint_files import checkpoint_name
from optrun.experiments.run_directory.run_dir import RunDir

SMALL = {
    "name": "small",
    "data": {"name": "digits", "subset": 128, "batch_size": 32},
    "model": {"name": "mlp", "hidden": [8]},
    "loss": "cross_entropy",
    "optimizer": {"name": "mom", "lr": 0.1},
    "train": {"steps": 6},
    "checkpoint": {"every": "2 steps", "keep": 5, "best": False},
}


def touch(folder, step):
    (folder / checkpoint_name(step, f"{step:064x}")).write_bytes(b"")


def test_the_newest_comes_first_and_then_each_newer_one(tmp_path):
    touch(tmp_path, 1)
    touch(tmp_path, 2)
    seen = []
    for file in checkpoints_iterator(tmp_path, timeout_secs=0.05):
        seen.append(file.step)
        if file.step == 2:
            touch(tmp_path, 3)
            touch(tmp_path, 4)
    assert seen == [2, 4], "the newest at each look"


def test_a_time_out_asks_before_it_ends(tmp_path):
    answers = iter([False, False, True])
    asked = []

    def is_over():
        asked.append(True)
        return next(answers)

    assert list(checkpoints_iterator(tmp_path / "not there", timeout_secs=0.01, timeout_fn=is_over)) == []
    assert len(asked) == 3


def test_what_comes_just_before_the_end_is_not_lost(tmp_path):
    touch(tmp_path, 1)

    def is_over():
        if not list(tmp_path.glob("step-00000002*")):
            touch(tmp_path, 2)  # after the last look, before the run said that it is over
        return True

    found = checkpoints_iterator(tmp_path, timeout_secs=0.01, timeout_fn=is_over)
    assert [file.step for file in found] == [1, 2]


def test_the_least_time_between_two(tmp_path):
    touch(tmp_path, 1)
    iterator = checkpoints_iterator(tmp_path, min_interval_secs=0.2, timeout_secs=0.01)
    next(iterator)
    touch(tmp_path, 2)
    before = time.monotonic()
    assert next(iterator).step == 2
    assert time.monotonic() - before >= 0.19


def test_a_finished_run_is_measured_once():
    train(SMALL)
    (measured,) = evaluate_each("small-0001", split="val")
    assert measured == evaluate("small-0001", split="val")
    assert measured["step"] == 6


def test_a_run_is_followed_to_its_end():
    """The run is played by this test: it holds the lock, and lets one checkpoint after another appear."""
    train(SMALL)
    run_dir = RunDir("runs/small-0001")
    files = sorted(run_dir.checkpoints_path.glob("step-*"))
    kept = [(file, file.read_bytes()) for file in files]
    for file in files[1:]:
        file.unlink()
    with run_dir.lock():
        run_dir.set_status("running")
        seen = []

        def follow():
            for measured in evaluate_each("small-0001", split="val"):
                seen.append(measured["step"])

        follower = threading.Thread(target=follow)
        follower.start()
        for number, (file, content) in enumerate(kept[1:], start=1):
            while len(seen) < number and follower.is_alive():
                time.sleep(0.01)
            file.write_bytes(content)
        run_dir.set_status("done")
    follower.join(timeout=30)
    assert not follower.is_alive()
    assert seen == [2, 4, 6]


def test_an_unknown_split_is_refused_before_anything_is_awaited():
    train(SMALL)
    with pytest.raises(Exception, match="no split 'tset'"):
        next(evaluate_each("small-0001", split="tset"))

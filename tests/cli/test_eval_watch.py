"""`optrun eval --watch`: beside a training that goes on, after one that is over, and what it refuses."""

from __future__ import annotations

import json

import pytest


def test_a_finished_run_is_measured_once(optrun):
    assert optrun("train", "tiny.yaml").code == 0
    once = optrun("eval", "@1", "--split", "val", "--json").json
    watched = optrun("eval", "@1", "--watch", "--json")
    assert watched.code == 0
    assert [json.loads(line) for line in watched.out.splitlines()] == [once]
    assert optrun("eval", "@1", "--watch").out.startswith("tiny-0001 at step 12: val/loss ")


def test_a_training_in_another_process_is_followed_to_its_end(optrun, shell, folder):
    training = shell("train", "tiny.yaml", "train.epochs=60", "checkpoint.every=50 steps", "checkpoint.keep=9")
    while not (folder / "runs" / "tiny-0001" / "status.json").exists():
        assert training.poll() is None, training.communicate()
    watched = optrun("eval", "@1", "--watch", "--json")
    assert training.wait(timeout=60) == 0
    steps = [json.loads(line)["step"] for line in watched.out.splitlines()]
    assert watched.code == 0
    assert steps == sorted(set(steps))
    assert steps[-1] == 360, "the last checkpoint is measured"


@pytest.mark.parametrize(
    ("args", "phrase"),
    [
        (["--timeout", "5 steps", "--watch"], "expected a time such as 30s or 10m, got '5 steps'"),
        (["--timeout", "soon", "--watch"], "--timeout: expected an interval"),
        (["--timeout", "5s"], "belong to --watch"),
        (["--watch", "--checkpoint", "best"], "leave --checkpoint out"),
        (["--watch", "--split", "tset"], "no split 'tset'"),
    ],
)
def test_what_cannot_be_is_refused(optrun, args, phrase):
    optrun("train", "tiny.yaml")
    refused = optrun("eval", "@1", *args)
    assert refused.code == 2
    assert phrase in refused.err


def test_a_time_out_ends_the_wait_for_a_run_that_is_over(optrun):
    optrun("train", "tiny.yaml")
    assert len(optrun("eval", "@1", "--watch", "--timeout", "0.2s").out.splitlines()) == 1

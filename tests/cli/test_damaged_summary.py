"""A result that is not what the record says, or lacks a key: named as damaged by whatever reads it, never a bug."""

from __future__ import annotations

import json

import pytest

_OTHERS = ["finished", "", "running", "failed", "interrupted", "diverged", "stopped", "DONE", "done\n"]


@pytest.fixture
def summary(optrun, folder):
    assert optrun("train", "tiny.yaml", "train={epochs: null, steps: 4}", "--name", "a", "--quiet").code == 0
    return folder / "runs/a/summary.json"


@pytest.mark.parametrize("outcome", _OTHERS)
def test_an_outcome_that_the_status_does_not_have_is_damage(optrun, summary, outcome):
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "outcome": outcome}))
    for command in (["resume", "a"], ["train", "tiny.yaml", "train={epochs: null, steps: 4}", "--name", "a"]):
        refused = optrun(*command)
        assert refused.code == 4, refused
        assert "summary.json is damaged: outcome: expected" in refused.err


def test_a_state_that_no_run_has_is_damage(optrun, summary):
    status = summary.with_name("status.json")
    status.write_text(json.dumps({**json.loads(status.read_text()), "state": "finished"}))
    refused = optrun("resume", "a")
    assert (refused.code, "state: expected one of running, done" in refused.err) == (4, True), refused


def test_a_result_that_lacks_a_key_is_read_or_named(optrun, summary):
    whole = json.loads(summary.read_text())
    wrong = []
    for key in whole:
        summary.write_text(json.dumps({name: value for name, value in whole.items() if name != key}))
        for command in ("resume a", "show a", "runs", "report a", "diff a a", "resume a --json"):
            done = optrun(*command.split())
            if done.code != 0 and not (done.code == 4 and f"summary.json is damaged: {key}: " in done.err):
                wrong.append((key, command, int(done.code), done.err))
    assert not wrong

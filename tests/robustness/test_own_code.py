"""What a user's own code raises is told at its key with its line, and never called a bug of optrun.

Each kind of component fails in each place that is called, with exceptions of each kind.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from optrun.cli.app import run

from .own_code import ERRORS, EVENTS
from .sweep import report

BASE = {
    "data": "{name: ./own_code.py:data, batch_size: 16}",
    "model": "./own_code.py:Net",
    "loss": "cross_entropy",
    "metrics": "[accuracy]",
    "optimizer": "{name: sgd, lr: 0.1}",
    "train": "{steps: 4, threads: 1}",
    "eval": "{every: 2 steps, metric: val/loss}",
    "log": "{every: 1 steps}",
    "checkpoint": "{every: 2 steps}",
}

#: By key: the section with a component that fails, and the places in which it does; `@n` lets n calls pass.
PLACES = {
    "data": ("data: {{name: ./own_code.py:data, batch_size: 16, {args}}}", ("make",)),
    "data.augment.0": (
        "data: {{name: ./own_code.py:data, batch_size: 16, augment: [{{name: ./own_code.py:Augmentation, {args}}}]}}",
        ("init", "call", "call@3"),
    ),
    "model": (
        "model: {{name: ./own_code.py:Net, {args}}}",
        ("init", "forward", "train", "train@3", "eval@1", "state_dict", "named_parameters"),
    ),
    "init": ("init: {{name: ./own_code.py:weights, {args}}}", ("call",)),
    "loss": ("loss: {{name: ./own_code.py:Loss, {args}}}", ("init", "call", "call@4")),
    "metrics.0": (
        "metrics: [{{name: ./own_code.py:Metric, {args}}}]",
        ("init", "call", "call@1", "finish", "finish@2"),
    ),
    "optimizer": (
        "optimizer: {{name: ./own_code.py:Sgd, lr: 0.1, {args}}}",
        ("init", "step", "step@2", "state_dict"),
    ),
    "schedule": ("schedule: {{name: ./own_code.py:Schedule, {args}}}", ("init", "call", "call@3")),
    "updates.0": (
        "updates: [{{name: ./own_code.py:OwnUpdate, {args}}}]",
        ("init", "apply", "apply@2", "discard", "state_dict"),
    ),
    "hooks.0": ("hooks: [{{name: ./own_code.py:OwnHook, {args}}}]", ("init", *EVENTS, "after_run@2")),
}
CASES = [(key, where) for key, (_, places) in PLACES.items() for where in places]


def configured(folder: Path, section: str) -> Path:
    """Write a configuration with one section replaced."""
    name = section.partition(":")[0]
    lines = [f"{key}: {value}" for key, value in BASE.items() if key != name]
    shutil.copy(Path(__file__).with_name("own_code.py"), folder / "own_code.py")
    path = folder / "own.yaml"
    path.write_text("\n".join([*lines, section]) + "\n")
    return path


def ending(capsys, *args: str) -> tuple[int, dict, str]:
    """Run a command; return exit code, JSON, and what it said."""
    capsys.readouterr()
    code = run([*args, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


def wrongly_told(capsys, folder: Path, key: str, where: str, how: str) -> str | None:
    """Train with one fault; return what is wrong with the way in which it was told."""
    section = PLACES[key][0].format(args=f"where: {where}, how: {how}")
    code, answer, err = ending(capsys, "train", str(configured(folder, section)), "--quiet")
    problems = answer.get("problems") or [{}]
    found = code, problems[0].get("key"), "own_code.py:" in err, "Traceback" in err
    expected = 2, key, True, False
    return None if found == expected else f"{key} {where} {how}: {found}\n{err}"


@pytest.mark.parametrize(("key", "where"), CASES)
def test_a_fault_is_told_at_its_key(key, where, capsys, tmp_path):
    how = list(ERRORS)[CASES.index((key, where)) % len(ERRORS)]
    assert wrongly_told(capsys, tmp_path, key, where, how) is None


@pytest.mark.slow
def test_faults_of_each_kind_in_each_place(capsys, tmp_path):
    cases = [(key, where, how) for key, where in CASES for how in ERRORS]
    wrong = [found for case in cases if (found := wrongly_told(capsys, tmp_path, *case))]
    report("faults of a user's own code", len(cases), wrong)

"""An entry that goes wrong, at every stage: the others get table, verdict and files, and it is named as what it is.

The truth is the comparison of the other two alone: their values are its values, bit for bit, and their adjusted p is
Holm's, by its definition, over the three pairs that were planned.
"""

from __future__ import annotations

import itertools
import json
import os
import random

import pytest
from scipy import stats

from optrun.cli.app import run
from optrun.experiments.comparison.compare import compare

sample, slow = pytest.mark.sample, pytest.mark.slow

TINY = """
data: {name: iris, batch_size: 32}
model: logistic
loss: cross_entropy
metrics: [accuracy]
train: {epochs: 2}
"""
STEPS = 6  # of 90 examples in batches of 32, twice
BAD = """
import importlib, os, sys, torch
from optrun.experiments.components.hooks.hook import Hook, Phase

class Bad(torch.optim.SGD):
    def __init__(self, params, *, lr: float = 0.1, how: str = "raise", at: int = 0, parent: int = 0):
        super().__init__(params, lr=lr)
        self.how, self.at, self.parent, self.taken = how, at, parent, 0
        if how == "import":
            importlib.import_module("json.there_is_none")
        if how == "build":
            raise ValueError("not for such a model")
    def step(self, closure=None):
        here, self.taken = self.taken == self.at, self.taken + 1
        if here and self.how == "raise":
            raise RuntimeError("not supported here")
        if here and self.how == "quit":
            sys.exit(0)
        if here and self.how == "end":
            os._exit(0)
        if here and self.how == "kill" and os.getpid() != self.parent:
            os.kill(os.getpid(), 9)
        value = super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                if here and self.how == "diverge":
                    parameter.data.fill_(float("nan"))
                if here and self.how == "bend":  # the next forward pass, which evaluates, cannot be made
                    parameter.data = parameter.data[:1]
        return value

class Forget(Hook):
    phase = Phase.PERSIST
    def end(self, session, outcome):
        session.final.pop("test/accuracy", None)
        session.final.pop("val/accuracy", None)
"""
#: How it goes wrong, at which step, and what its runs then are.
STAGES = {
    "import": ("import", 0, "failed"),
    "build": ("build", 0, "failed"),
    "first step": ("raise", 0, "failed"),
    "fourth step": ("raise", 3, "failed"),
    "evaluation at the end": ("bend", STEPS - 1, "failed"),
    "exit": ("quit", 0, "failed"),
    "end of its process": ("end", 3, "failed"),
    "killed worker": ("kill", 3, "failed"),
    "diverges at once": ("diverge", 0, "diverged"),
    "diverges later": ("diverge", 3, "diverged"),
    "metric missing": ("forget", 0, "unmeasured"),
}
OTHERS = ("one", "two")
FEW = [("import", 0, "cold"), ("killed worker", 1, "cached"), ("exit", 2, "cold"), ("metric missing", 1, "cold")]
FEW += [("evaluation at the end", 0, "cached"), ("diverges later", 2, "cached")]
ALL = list(itertools.product(STAGES, range(3), ("cold", "cached")))


def marked(few, cases):
    """Return a few cases for every day, others drawn from all of them as a sample, and all of them."""
    rest = random.Random(4).sample([case for case in cases if case not in few], 12)
    return [*few, *(pytest.param(*each, marks=sample) for each in rest), *(pytest.param(*c, marks=slow) for c in cases)]


def write(folder, stage):
    how, at, state = STAGES[stage]
    (folder / "bad.py").write_text(BAD)
    for name, lr in zip(OTHERS, (0.1, 0.5), strict=True):
        (folder / f"{name}.yaml").write_text(f"{TINY}optimizer: {{name: sgd, lr: {lr}}}\n")
    bad = f'optimizer: {{name: "./bad.py:Bad", lr: 0.2, how: {how}, at: {at}, parent: {os.getpid()}}}\n'
    hooks = 'hooks: ["./bad.py:Forget"]\n' if how == "forget" else ""
    (folder / "bad.yaml").write_text(TINY + bad + hooks)
    return state


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """Return a folder in which the runs of the other entries are there, and their values."""
    folder = tmp_path_factory.mktemp("cached")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write(folder, "build")
        found = compare([f"{name}.yaml" for name in OTHERS], seeds=2, tune=None, jobs=1)
        return folder, found.values()


def compared(folder, place, capsys, *options):
    targets = [f"{name}.yaml" for name in OTHERS]
    targets.insert(place, "bad.yaml")
    capsys.readouterr()
    code = run(["compare", *targets, "--seeds", "2", "-j", "1", "--export", "out.md", "--export", "out.json", *options])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    document = json.loads((folder / "out.json").read_text())
    assert (folder / "runs" / document["name"] / "report.html").is_file()
    written = json.loads((folder / "runs" / document["name"] / "comparison.json").read_text())
    document["label"] = next(entry for entry in written["entries"] if entry["name"] == "bad")["label"]
    text = " ".join((out + (folder / "out.md").read_text()).split())
    return code, text, err, document


def values_of(document, name):
    return {
        row["seed"]: row["test/accuracy"]
        for row in document["runs"]
        if row["entry"] == name and row["role"] == "evaluate"
    }


def assert_named(document, text, state, role="evaluation run"):
    """Hold that the entry is said to be what it is, and nothing else."""
    said = " ".join([document["headline"], *document["notes"]])
    if state == "diverged":
        row = next(row for row in document["entries"] if row["entry"] == "bad")
        assert (row["n"], row["diverged"], row["failed"], row["unmeasured"]) == (2, 2, 0, 0)
        assert "2 (2 div.)" in text
        assert document["lost_entries"] == {}
    else:
        verb = {"failed": "failed", "unmeasured": "is unmeasured"}[state]
        assert f"{document['label']} has no result, each of its {2 if role != 'trial' else 6} {role}s {verb}" in said
        assert document["lost_entries"]["bad"] == {state: 2 if role != "trial" else 6}
        assert document["failed_entries"] == (["bad"] if state == "failed" else [])
    for other in {"failed", "diverged", "unmeasured", "unfinished"} - {state}:
        assert other not in said.replace("undecided: diverged", ""), said


@pytest.mark.parametrize(("stage", "place", "others"), marked(FEW, ALL))
def test_the_others_have_their_result(stage, place, others, before, tmp_path, monkeypatch, capsys):
    folder = tmp_path if others == "cold" else before[0]
    monkeypatch.chdir(folder)
    state = write(folder, stage)
    code, text, err, document = compared(folder, place, capsys, "--no-tune")
    assert code == (0 if state == "diverged" else 6), err
    assert_named(document, text, state)
    for name in OTHERS:
        assert values_of(document, name) == before[1][name]
    cached = {row["cached"] for row in document["runs"] if row["entry"] in OTHERS}
    assert cached == {others == "cached"}
    (pair,) = [pair for pair in document["analysis"]["pairs"] if {pair["a"], pair["b"]} == set(OTHERS)]
    p = stats.ttest_rel(*(list(before[1][name].values()) for name in OTHERS)).pvalue
    if state != "diverged" and p == p:
        assert pair["adjusted_p"] == pytest.approx(min(1.0, 3 * p))


@pytest.mark.parametrize(
    "stage", [pytest.param(s, marks=() if s in ("build", "metric missing") else slow) for s in STAGES]
)
def test_a_baseline_without_a_result_leaves_the_files(stage, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    state = write(tmp_path, stage)
    code, text, err, document = compared(tmp_path, 0, capsys, "--no-tune", "--baseline", "bad")
    assert code == (0 if state == "diverged" else 6), err
    assert_named(document, text, state)
    if state != "diverged":
        assert f"no verdict, since the baseline {document['label']} has no result" in document["headline"]
        assert document["analysis"]["pairs"] == []
    assert {row["entry"] for row in document["entries"]} >= set(OTHERS)


@pytest.mark.parametrize(
    "stage", [pytest.param(s, marks=() if s in ("build", "diverges later") else slow) for s in STAGES]
)
def test_nothing_is_chosen_where_every_trial_came_to_nothing(stage, before, monkeypatch, capsys):
    folder = before[0]  # with what others trained for the last stage
    monkeypatch.chdir(folder)
    state = write(folder, stage)
    code, text, err, document = compared(folder, 1, capsys, "--tune", "3")
    assert code == (0 if state == "diverged" else 6), err
    tried = {name: [row for row in document["sensitivity"] if row["entry"] == name] for name in ("bad", *OTHERS)}
    assert {row[state] for row in tried["bad"]} == {2}
    assert not any(row["chosen"] for row in tried["bad"])
    evaluated = values_of(document, "bad")
    if state == "diverged":
        assert min(row["value"] for row in tried["bad"]) < 0.05, "the good rates are below"
        assert len(evaluated) == 2
        assert any(note.startswith("Not tuned: Bad: every trial diverged; it ran") for note in document["notes"])
    else:
        assert (len(tried["bad"]), evaluated) == (3, {}), "no rate is too high where runs fail"
        assert_named(document, text, state, "trial")
    assert all(len(values_of(document, name)) == 2 for name in OTHERS)

"""Runs on data in memory whose examples are several tensors, held against a loop in plain torch on the same rows."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from optrun.experiments import (
    MonitoredTrainingSession,
    StopAtStepHook,
    build,
    build_train_op,
    compare,
    make_data,
    plan,
    resume,
    train,
)
from optrun.experiments.components.data import Batches, split
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import UsageError
from optrun.experiments.run_directory.checkpoint_files import list_checkpoints
from optrun.experiments.run_directory.run_dir import RunDir
from optrun.experiments.training.session.saved_state import load_state

OWN = """
import torch
from optrun.experiments import Dataset

def rows():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 20, (90, 6), generator=generator)
    mask = (torch.rand(90, 6, generator=generator) > 0.2).float()
    return ids, mask, (ids * mask).sum(1).long() % 3

def numbered():
    return Dataset(torch.arange(90.0)[:, None], rows()[2], "classes", 3)

def named():
    ids, mask, labels = rows()
    return Dataset({"ids": ids, "mask": mask}, labels, "classes", 3, weights={"half": labels + 0.5})

def in_order():
    ids, mask, labels = rows()
    return Dataset((ids, mask), labels, "classes", 3)

def plain():
    ids, mask, labels = rows()
    return {"ids": ids, "mask": mask}, labels

def flat():
    ids, mask, labels = rows()
    return {"ids": ids, "mask": mask, "label": labels}

def one_answer():
    ids, mask, labels = rows()
    return Dataset({"ids": ids, "mask": mask}, labels * 0, "classes", 3)

def unequal():
    ids, mask, labels = rows()
    return Dataset({"ids": ids, "mask": mask[:80]}, labels, "classes", 3)

def unequal_plain():
    ids, mask, labels = rows()
    return {"ids": ids, "mask": mask[:80]}, labels

def arrays():
    ids, mask, labels = rows()
    return {"ids": ids.numpy(), "mask": mask}, labels

def nothing():
    return Dataset({}, rows()[2], "classes", 3)

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = torch.nn.Embedding(20, 8), torch.nn.Linear(8, 3)

    def forward(self, ids, mask):
        return self.head((self.table(ids) * mask[..., None]).mean(1))
"""
MADE = {
    "seed": 4,
    "model": "./mine.py:Net",
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "mom", "lr": 0.1},
    "train": {"epochs": 3},
    "log": {"every": "2 steps"},
    "checkpoint": {"every": "3 steps"},
}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(OWN, encoding="utf-8")
    return tmp_path


def config(name: str, **args) -> dict:
    return MADE | {"data": {"name": f"./mine.py:{name}", "batch_size": 16, **args}}


def rows_of(folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "time"} for row in rows]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_state(list_checkpoints(RunDir(folder).checkpoints_path)[-1]).sections["model"]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_is_the_loop_in_plain_torch_on_the_rows_that_one_tensor_would_have(own: Path, accumulate: int) -> None:
    made = config("named") | {"train": {"epochs": 3, "accumulate": accumulate}}
    run = train(made)
    space: dict = {}
    exec(OWN, space)
    ids, mask, labels = space["rows"]()
    parts = split(make_data("./mine.py:numbered", base=own))
    train_rows, val_rows = (part.examples(0, 90).inputs[:, 0].long() for part in (parts.train, parts.val))  # type: ignore[union-attr]
    drawn = Batches(train_rows[:, None], labels[train_rows], batch_size=16, seed=4)
    model = build(made).train_op.model  # as it begins
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(3 * math.ceil(len(train_rows) / 16)):
        rows = drawn.batch(step).inputs[:, 0]
        optimizer.zero_grad()
        for stretch in rows.tensor_split(accumulate):
            loss = cross_entropy(model(ids[stretch], mask[stretch]), labels[stretch])
            (loss * (len(stretch) / len(rows))).backward()
        optimizer.step()
    torch.testing.assert_close(weights_of(run.path), dict(model.state_dict()), rtol=1e-6, atol=1e-7)
    with torch.no_grad():
        outputs = model(ids[val_rows], mask[val_rows])
    final = run.summary["final"]
    assert final["val/loss"] == pytest.approx(cross_entropy(outputs, labels[val_rows]).item(), rel=1e-5)
    assert final["val/accuracy"] == (outputs.argmax(1) == labels[val_rows]).double().mean().item()


def test_other_forms_of_the_same_data_give_the_same_bits(own: Path) -> None:
    expected = train(config("named"))
    for name in ("in_order", "plain", "flat"):
        run = train(config(name))
        assert rows_of(run.path) == rows_of(expected.path)
        for one, other in zip(weights_of(run.path).values(), weights_of(expected.path).values(), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["named", "plain"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(own: Path, name: str) -> None:
    expected = train(config(name))
    for stop_at in (1, 6):
        folder = own / f"stopped-{stop_at}"
        for hooks in ([StopAtStepHook(last_step=stop_at)], []):
            experiment = build(config(name))
            with experiment.session(folder, hooks) as session:
                while not session.should_stop():
                    session.run(experiment.train_op)
        assert rows_of(folder) == rows_of(expected.path)
        for one, other in zip(weights_of(folder).values(), weights_of(expected.path).values(), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["named", "plain"])
def test_a_leaf_that_has_changed_is_noticed_before_a_run_goes_on(own: Path, name: str) -> None:
    text = OWN.replace("torch.rand(90, 6, generator=generator)", "torch.load('mask.pt')")
    mask = torch.rand(90, 6, generator=torch.Generator().manual_seed(1))
    torch.save(mask, own / "mask.pt")
    (own / "mine.py").write_text(text, encoding="utf-8")
    train(config(name), name="run")
    mask[71, 2] = float(mask[71, 2] < 0.2)
    torch.save(mask, own / "mask.pt")
    with pytest.raises(UsageError, match=r"the examples that .*mine.py:.* makes are others"):
        resume("run", {"train.epochs": 4}, allow_code=True)


def test_plan_and_weights_know_them(own: Path) -> None:
    found = plan(config("named"))
    assert "16 of 54 examples" in str(found)
    weighed = build(config("named") | {"loss": {"name": "cross_entropy", "weights": "half"}})
    batch = weighed.train_op.data.batch(0)
    assert torch.equal(batch.targets.weights, batch.targets.targets + 0.5)
    drawn = build(config("named", sampling={"weights": "half"})).train_op.data
    notes = build(config("one_answer")).notes
    assert any("all 90 rows have the same target, class 0" in note for note in notes)
    assert drawn.drawn == "by the weights 'half', with replacement"


def test_entries_of_a_comparison_are_paired_over_them(own: Path, tmp_path: Path) -> None:
    entries = {"mom": config("named"), "sgd": config("named") | {"optimizer": {"name": "sgd", "lr": 0.1}}}
    found = compare(entries, tune=None, seeds=2, metric="val/loss", margin=0.5, root=tmp_path / "runs")
    assert "mom and sgd are equivalent" in found.sentence


@pytest.mark.parametrize(
    ("data", "key", "words"),
    [
        ({"name": "./mine.py:unequal"}, "data", r"inputs/mask has 80 rows, and inputs/ids has 90: .*mine.py:36"),
        ({"name": "./mine.py:unequal_plain"}, "data", "tensors/0/mask has 80 rows, and tensors/0/ids has 90"),
        ({"name": "./mine.py:arrays"}, "data", "tensors/0/ids must be a tensor .*torch.as_tensor"),
        ({"name": "./mine.py:nothing"}, "data", "inputs must be a tensor with one row per example, got a dict with"),
        ({"name": "./mine.py:named", "workers": 2}, "data.workers", "is in memory"),
        ({"name": "./mine.py:named", "augment": ["noise"]}, "data.augment", "noise is of inputs that are one tensor"),
        (
            {"name": "./mine.py:plain", "augment": ["flip"]},
            "data.augment",
            "flip is of inputs .* a dict with 'ids', 'm",
        ),
        ((torch.zeros(3, 2), torch.zeros(3)), "data", r"'data': lambda: \(inputs, targets\)"),
    ],
)
def test_what_cannot_be_is_refused_at_its_key(own: Path, data, key: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        build(MADE | {"data": data})
    assert caught.value.exit_code == 2
    assert caught.value.problems[0].key.startswith(key)


def test_python_may_hand_over_the_tensors_themselves_in_a_function() -> None:
    left, right, labels = torch.rand(30, 2), torch.rand(30, 2), torch.arange(30) % 2
    made = {
        "data": lambda: ({"input": left + right}, labels),
        "loss": "cross_entropy",
        "optimizer": {"name": "sgd", "lr": 0.1},
    }
    experiment = build(
        made | {"model": "torch.nn:Identity", "train": {"steps": 2}} | {"model": lambda: torch.nn.Linear(2, 2)}
    )
    batch = experiment.train_op.data.batch(1)
    rows = [(left + right).tolist().index(row) for row in batch.inputs["input"].tolist()]
    assert batch.targets.tolist() == labels[rows].tolist()


def test_a_session_trains_on_batches_of_them() -> None:
    left, labels = torch.rand(30, 4, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3
    model, twin = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    twin.load_state_dict(model.state_dict())
    batches = Batches({"input": left}, labels, batch_size=8, seed=1)
    op = build_train_op(model, cross_entropy, torch.optim.SGD(model.parameters(), lr=0.1), data=batches, accumulate=2)
    with MonitoredTrainingSession(hooks=[StopAtStepHook(last_step=6)]) as session:
        while not session.should_stop():
            session.run(op)
    optimizer, plain = torch.optim.SGD(twin.parameters(), lr=0.1), Batches(left, labels, batch_size=8, seed=1)
    for step in range(6):
        optimizer.zero_grad()
        inputs, targets = plain.batch(step)
        cross_entropy(twin(inputs), targets).backward()
        optimizer.step()
    torch.testing.assert_close(model.weight, twin.weight, rtol=1e-5, atol=1e-6)

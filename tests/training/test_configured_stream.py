"""Streams in a configuration: what is asked for, what is said before the run, and exact resume by their place."""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from optrun.experiments import build, compare, plan, resume, train
from optrun.experiments.comparison.fingerprints import PairingError
from optrun.experiments.config import ConfigError
from optrun.experiments.run_directory.checkpoint_files import list_checkpoints
from optrun.experiments.run_directory.checkpoints import load
from optrun.experiments.training.session.session import MonitoredTrainingSession

HERE = Path(__file__)
SIZE, BATCH = 70, 8  # nine batches a reading, the last of six examples


def example(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    noise = 0.01 * torch.randn(2)
    return torch.tensor([number / SIZE, (number * 7 % 13) / 13]) + noise, torch.tensor(int(number % 3 == 0))


class Counted(IterableDataset):
    """Rows in an order of their own each epoch, from a buffer that is drawn from."""

    num_classes, task = 2, "classes"

    def __init__(self, size: int = SIZE):
        self.size, self.key = size, (0, 0)

    def set_seed(self, seed: int) -> None:
        self.key = (seed, 0)

    def set_epoch(self, epoch: int) -> None:
        self.key = (self.key[0], epoch)

    def __iter__(self):
        numbers = list(range(self.size))
        random.Random(1000 * self.key[0] + self.key[1]).shuffle(numbers)
        info = get_worker_info()
        mine = numbers[info.id :: info.num_workers] if info else numbers
        yield from map(example, mine)


class Placed(Counted):
    """The same, and it knows its place."""

    place = 0

    def __iter__(self):
        numbers = list(range(self.size))
        random.Random(1000 * self.key[0] + self.key[1]).shuffle(numbers)
        info = get_worker_info()
        mine = numbers[info.id :: info.num_workers] if info else numbers
        while self.place < len(mine):
            self.place += 1
            yield example(mine[self.place - 1])
        self.place = 0

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place = state["place"]


class Sized(Placed):
    def __len__(self) -> int:
        return self.size


class Unsharded(Counted):
    def __iter__(self):
        for number in range(self.size):
            yield torch.tensor([number / self.size, 1.0]), torch.tensor(number % 2)


class Unlike(Counted):
    """One that nobody can repeat."""

    drawn = random.Random()

    def __iter__(self):
        for _ in range(self.size):
            yield torch.tensor([self.drawn.random(), 1.0]), torch.tensor(1)


class Whole(Counted):
    """Batches of it, for a DataLoader without a batch size."""

    def __iter__(self):
        rows = list(super().__iter__())
        for start in range(0, len(rows), 5):
            inputs, targets = zip(*rows[start : start + 5], strict=True)
            yield torch.stack(inputs), torch.stack(targets)


KINDS: dict[str, Any] = {kind.__name__: kind for kind in (Counted, Placed, Sized, Unsharded, Unlike)}


def parts(kind: str = "Placed") -> dict[str, Any]:
    return {"train": KINDS[kind](), "val": Counted(30), "test": Sized(20)}


def loaders() -> dict[str, Any]:
    return {"train": DataLoader(Whole(), batch_size=None), "val": DataLoader(Whole(23), batch_size=None)}


def config(data: str = "parts", steps: int = 24, **more: Any) -> dict[str, Any]:
    return {
        "data": {"name": f"{HERE}:{data}", "batch_size": BATCH, "eval_batches": 3, "eval_batch_size": 8, **more},
        "model": "logistic",
        "loss": "cross_entropy",
        "metrics": ["accuracy"],
        "optimizer": {"name": "mom", "lr": 0.1},
        "train": {"steps": steps},
        "eval": {"every": "8 steps"},
        "log": {"every": "1 steps"},
    }


def state(run: Any) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    tensors, _ = load(list_checkpoints(run.dir.checkpoints_path)[-1])
    rows = [{name: value for name, value in row.items() if name != "time"} for row in run.rows]
    return tensors, rows


def refused(given: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ConfigError) as error:
        build(given)
    return {problem.key: problem.message + (problem.hint or "") for problem in error.value.problems}


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """Return a function that trains without an end in between, once for all tests."""

    @functools.cache
    def made(kind: str, workers: int) -> Any:
        return train(config(kind=kind, workers=workers), name="whole", root=tmp_path_factory.mktemp("whole"))

    return made


@pytest.mark.parametrize(
    ("kind", "workers", "stop"),
    [
        *(("Counted", 0, stop) for stop in (1, 9, 13)),
        *(("Placed", 0, stop) for stop in (1, 9)),
        *((kind, 2, 13) for kind in ("Counted", "Placed")),
    ],
)
def test_a_resumed_run_ends_with_the_same_bits(whole_run, tmp_path, caplog, kind, workers, stop):
    whole = whole_run(kind, workers)
    train(config(kind=kind, workers=workers, steps=stop), name="parts", root=tmp_path)
    caplog.clear()
    resumed = resume("parts", {"train.steps": 24}, allow_change=True, root=tmp_path)
    first, second = state(whole), state(resumed)
    assert first[0].keys() == second[0].keys()
    assert all(torch.equal(tensor, second[0][name]) for name, tensor in first[0].items())
    ends = stop if stop % 8 else stop - 1  # at the first end of the shorter run its last row is an evaluation's
    assert [row for row in first[1] if row["step"] > ends] == [row for row in second[1] if row["step"] > ends]
    assert whole.summary["stream"]["hashes"] == resumed.summary["stream"]["hashes"]
    assert list(whole.summary["stream"]["hashes"]) == ["1", "2", "4", "8", "16", "24"]
    assert whole.summary["stream"]["resumes_by"] == ("count" if kind == "Counted" else "state")
    assert ("are read again" in caplog.text) == (kind == "Counted" and stop != 9)


def test_each_reading_has_an_order_by_seed_and_epoch(tmp_path):
    def read(seed: int) -> list[torch.Tensor]:
        data: Any = build({**config(), "seed": seed}).train_op.data
        return [data.batch(position).inputs for position in range(18)]

    first, second = read(1), read(2)
    assert [len(batch) for batch in first[:9]] == [8] * 8 + [6]

    def numbers(batches: list[torch.Tensor]) -> list[int]:
        return sorted((torch.cat(batches)[:, 0] * SIZE).round().int().tolist())

    assert not torch.allclose(first[0], first[9], atol=0.1)
    assert not torch.allclose(first[0], second[0], atol=0.1)
    assert abs(sum(numbers(first[:9])) - sum(range(SIZE))) < SIZE  # all rows, whatever the noise


def test_parts_are_held_and_the_same_for_every_seed():
    made = [build({**config(), "seed": seed}) for seed in (1, 2)]
    assert made[0].splits.sizes() == {"train": None, "val": 24, "test": 20}
    batches = [list(each.splits.val.batches(8)) for each in made]
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(*batches, strict=True))
    assert "train" not in made[0].evaluators


def test_a_length_that_is_said_gives_epochs(tmp_path):
    given = config(kind="Sized")
    given["train"], given["eval"] = {"epochs": 2}, {"every": "1 epoch"}
    run = train(given, name="sized", root=tmp_path)
    assert (run.summary["steps"], run.summary["epochs"]) == (18, 2.0)
    assert run.summary["stream"]["num_examples"] == SIZE
    planned = plan(given, measure=False)
    assert (planned.num_steps, planned.steps_per_epoch, planned.stream["resumes_by"]) == (18, 9, "state")


def test_what_a_stream_has_not_is_refused_at_its_key():
    assert "no share can be set aside" in refused(config("Counted", eval_batches=None))["data.val"]
    assert "end of" in refused(config(eval_batches=None))["data.eval_batches"]
    assert "its own order" in refused(config(sampling="shuffled"))["data.sampling"]
    assert "never whole" in refused(config(batch_size="full"))["data.batch_size"]
    assert "no subset" in refused(config(subset=10))["data.subset"]
    length = refused({**config(), "train": {"epochs": 2}, "eval": {}})
    assert "train.steps" in length["train.epochs"]
    assert "10%" in length["eval.every"]
    assert (
        "no part of data 'iris' is one"
        in refused({**config(), "data": {"name": "iris", "eval_batches": 2}})["data.eval_batches"]
    )


def test_what_cannot_be_exact_is_said_before_the_run():
    notes = {kind: plan(config(kind=kind), measure=False).notes for kind in KINDS}
    assert not notes["Placed"]
    assert "counts the batches" in notes["Counted"][0]
    assert any("other examples each time" in note for note in notes["Unlike"])
    unsharded = plan(config(kind="Unsharded", workers=2), measure=False)
    assert any("all 2 workers begin with the same batch" in note for note in unsharded.notes)
    assert not any("workers" in note for note in plan(config(kind="Placed", workers=2), measure=False).notes)


def test_a_stream_of_batches_is_trained_and_measured(tmp_path):
    given = config("loaders", steps=6, test=0.0)
    del given["data"]["batch_size"]
    run = train(given, name="whole", root=tmp_path)
    assert run.summary["examples"] == 30
    assert run.summary["splits"] == {"val": 23}
    assert 0 <= run.summary["final"]["val/accuracy"] <= 1


def test_accumulation_averages_and_the_gate_work_over_it(tmp_path):
    given = {**config(kind="Placed"), "updates": ["ema"], "stop": {"on_nan": "skip"}}
    given["train"] = {"steps": 12, "accumulate": 2}
    whole = train(given, name="whole", root=tmp_path)
    train({**given, "train": {"steps": 5, "accumulate": 2}}, name="parts", root=tmp_path)
    resumed = resume("parts", {"train.steps": 12}, allow_change=True, root=tmp_path)
    assert all(torch.equal(tensor, state(resumed)[0][name]) for name, tensor in state(whole)[0].items())


def test_a_comparison_says_what_was_read(tmp_path):
    entries = {name: {**config(steps=4), "optimizer": {"name": name, "lr": 0.1}} for name in ("sgd", "mom")}
    found = compare(entries, tune=None, seeds=1, root=tmp_path)
    same = found.data["pairing"]["same"]
    assert "first 4 batches of the stream, in their order" in same
    assert not any("epochs" in each for each in same)


def test_a_comparison_on_a_stream_that_nobody_can_repeat_is_refused(tmp_path):
    entries = {
        name: {**config(steps=4, kind="Unlike"), "optimizer": {"name": name, "lr": 0.1}} for name in ("sgd", "mom")
    }
    with pytest.raises(PairingError, match="first batches of the stream"):
        compare(entries, tune=None, seeds=1, root=tmp_path)


def test_the_workers_of_a_stream_end_with_the_session(tmp_path):
    experiment = build(config(workers=1, steps=3))
    data: Any = experiment.train_op.data
    session: MonitoredTrainingSession = experiment.session(tmp_path)
    with session:
        session.run(experiment.train_op)
        (worker,) = data._reading._reading._stream._workers
        assert worker.is_alive()
        session.request_stop()
    worker.join(20)
    assert not worker.is_alive()

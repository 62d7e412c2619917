"""Streams in a session: resumed exactly by their own state, or by reading again what was read."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from optrun.experiments import MonitoredTrainingSession, StopAtStepHook, build_train_op
from optrun.experiments.components.data.stream import StreamBatches
from optrun.experiments.errors import CheckpointError, DataError
from optrun.experiments.training.step.batch_source import as_source

SIZE, BATCH = 22, 4  # six batches a reading, the last of two examples


class Rows(IterableDataset):
    """A stream through a buffer that is drawn from, with noise; it counts what it was read."""

    def __init__(self) -> None:
        self.numbers_read: list[int] = []

    def __iter__(self):
        buffer: list[int] = []
        for number in range(SIZE):
            buffer.append(number)
            self.numbers_read.append(number)
            if len(buffer) == 5:
                yield self.row(buffer.pop(random.randrange(5)))
        yield from map(self.row, buffer)

    def row(self, number: int):
        return torch.tensor([number / SIZE, 1.0]) + 0.1 * torch.randn(2), torch.tensor([float(number % 3)])


class Placed(IterableDataset):
    """A stream that knows its place."""

    def __init__(self) -> None:
        self.place = 0
        self.numbers_read: list[int] = []

    def __iter__(self):
        while self.place < SIZE:
            number, self.place = self.place, self.place + 1
            self.numbers_read.append(number)
            yield torch.tensor([number / SIZE, 1.0]) + 0.1 * torch.randn(2), torch.tensor([float(number % 3)])
        self.place = 0

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place = state["place"]


def trained(loader: Any, steps: int, folder: Path | None = None) -> list[torch.Tensor]:
    """Train to a step, from the checkpoint in the folder if there is one, and return the weights."""
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    op = build_train_op(model, torch.nn.functional.mse_loss, optimizer, data=loader, seed=3)
    with MonitoredTrainingSession(op, checkpoint_dir=folder, hooks=[StopAtStepHook(last_step=steps)]) as session:
        while not session.should_stop():
            session.run(op)
    return [parameter.detach().clone() for parameter in model.parameters()]


def batches_of(source: Any, size: int = BATCH, workers: int = 0) -> StreamBatches:
    """Return the batches of a stream, as a session reads those of a DataLoader."""
    made: Any = as_source(DataLoader(source, batch_size=size, num_workers=workers))
    assert isinstance(made, StreamBatches)
    return made


def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("kind", "workers", "stop"), [*((kind, 0, stop) for kind in (Rows, Placed) for stop in (1, 5, 6, 8)), (Rows, 1, 8)]
)
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, caplog: Any, kind: Any, workers: int, stop: int) -> None:
    whole = trained(DataLoader(kind(), batch_size=BATCH, num_workers=workers), 14)
    trained(DataLoader(kind(), batch_size=BATCH, num_workers=workers), stop, tmp_path)
    source = kind()
    caplog.clear()
    with caplog.at_level(logging.WARNING, "optrun"):
        resumed = trained(DataLoader(source, batch_size=BATCH, num_workers=workers), 14, tmp_path)
    assert equal(resumed, whole)
    assert not equal(resumed, trained(DataLoader(kind(), batch_size=BATCH), 14 - stop))
    if kind is Rows:
        assert "Rows has no state that tells its place" in caplog.text
        read_again = stop % 6  # at the end of a reading there is nothing to come back to
        text = f"the batches before its place in this reading, {read_again}, are read again"
        assert (text in caplog.text) == bool(read_again)
    else:
        assert "read again" not in caplog.text
        assert source.numbers_read[0] == (stop % 6 * BATCH if stop % 6 else 0)  # it goes on where it was


class Exact(Placed):
    """What a worker of torchdata's draws goes by when the worker was started: this stream draws nothing."""

    def __iter__(self):
        for inputs, targets in super().__iter__():
            yield (inputs * 0 + targets), targets


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # which torchdata calls
@pytest.mark.parametrize(("kind", "workers"), [(Placed, 0), pytest.param(Exact, 2, marks=pytest.mark.slow)])
def test_torchdatas_loader_is_resumed_by_its_own_state(tmp_path: Path, caplog: Any, kind: Any, workers: int) -> None:
    make = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader
    whole = trained(make(kind(), batch_size=BATCH, num_workers=workers), 14)
    trained(make(kind(), batch_size=BATCH, num_workers=workers), 8, tmp_path)
    assert equal(trained(make(kind(), batch_size=BATCH, num_workers=workers), 14, tmp_path), whole)
    assert "read again" not in caplog.text


@pytest.mark.parametrize("kind", [Rows, Placed])
def test_batches_can_be_asked_for_again(kind: Any) -> None:
    stream = batches_of(kind())
    expected = [stream.batch(position)[0] for position in range(15)]
    assert [len(batch) for batch in expected] == [4, 4, 4, 4, 4, 2, 4, 4, 4, 4, 4, 2, 4, 4, 4]
    for position in (14, 3, 4, 9, 0):
        assert torch.equal(stream.batch(position)[0], expected[position])
    later = batches_of(kind())
    stream.batch(8)
    later.load_state_dict(stream.state_dict())
    assert torch.equal(later.batch(9)[0], expected[9])


def test_other_draws_are_left_alone() -> None:
    stream = batches_of(Rows())
    torch.manual_seed(5)
    random.seed(5)
    expected = torch.rand(1), random.random()
    torch.manual_seed(5)
    random.seed(5)
    stream.batch(3)
    assert (torch.rand(1), random.random()) == expected


def test_what_goes_wrong_is_told() -> None:
    class Nothing(IterableDataset):
        def __iter__(self):
            return iter(())

    with pytest.raises(DataError, match="Nothing has no batch"):
        batches_of(Nothing()).batch(0)
    placed, before = batches_of(Placed()), batches_of(Placed())
    before.batch(2)
    placed.load_state_dict(before.state_dict())
    with pytest.raises(DataError, match="Placed cannot be asked for batch 2 again"):
        placed.batch(2)
    with pytest.raises(CheckpointError, match="the place of Placed in the checkpoint is none"):
        placed.load_state_dict({"position": 3})
    with pytest.raises(CheckpointError, match=r"data.workers 0, .* cannot go on with 2"):
        batches_of(Placed(), workers=2).load_state_dict(before.state_dict())
    counted = batches_of(Rows())
    counted.batch(2)
    with pytest.raises(CheckpointError, match=r"data.batch_size 4, .* cannot go on with 5"):
        batches_of(Rows(), size=5).load_state_dict(counted.state_dict())


def test_each_reading_is_told_its_number() -> None:
    epochs: list[int] = []

    class Told(Rows):
        def set_epoch(self, epoch: int) -> None:
            epochs.append(epoch)

    batches_of(Told()).batch(13)
    assert epochs == [0, 1, 2]

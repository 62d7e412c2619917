"""What is said of parts that data has not, and of a batch that is larger than the data."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from optrun.experiments import EvaluationHook
from optrun.experiments.components.data import Batches, StreamData, make_data
from optrun.experiments.errors import UsageError
from optrun.experiments.studies.plan.run_plan import _number_in_batch
from optrun.experiments.training.configured_stream import no_split


def test_a_split_that_is_not_there_is_told_with_those_that_are() -> None:
    said = no_split("run", "test", ["train", "val"], make_data("iris"))
    assert said == "run has no split 'test': train, val (--split val)"
    stream = StreamData(iter(()))
    said = no_split("run", "train", ["val"], stream)
    assert "a stream, of which nobody has all examples" in said
    assert said.endswith(": val (--split val)")
    assert "a stream, which is not split" in no_split("run", "test", ["val"], stream)
    assert no_split("run", "test", [], stream).endswith("there is none")


def test_the_hook_says_why_the_training_part_of_a_stream_is_not_measured() -> None:
    data = SimpleNamespace(state_dict=dict)
    session = SimpleNamespace(evaluators={"val": None}, train_op=SimpleNamespace(data=data))
    with pytest.raises(UsageError, match=r"training part of a stream is not measured.*comes with it \(val\)"):
        EvaluationHook(splits=["train"], final=[]).begin(session)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no split named 'test'"):
        EvaluationHook(splits=["test"], final=[]).begin(session)  # type: ignore[arg-type]


def test_a_batch_is_not_said_to_be_larger_than_the_data() -> None:
    batches = Batches(torch.zeros(20, 2), torch.zeros(20), batch_size=64)
    assert _number_in_batch(batches) == "20 of 20 examples"
    stream = SimpleNamespace(num_examples=20, size_of=lambda position: 64)
    assert _number_in_batch(stream) == "20 of 20 examples"  # type: ignore[arg-type]

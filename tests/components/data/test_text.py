"""Text as bytes: blocks that do not overlap, parts that are stretches."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from optrun.experiments.components.data import make_data, split
from optrun.experiments.errors import DataError

CONTENT = bytes(range(256)) * 4 + b"tail"


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "mine.txt").write_bytes(CONTENT)
    return str(tmp_path / "mine.txt")


def test_targets_are_the_bytes_that_follow(path: str) -> None:
    dataset = make_data("text", path=path, length=15)
    assert (dataset.task, dataset.num_outputs, dataset.input_shape) == ("tokens", 256, (15,))
    assert dataset.inputs.shape == dataset.targets.shape == (64, 15)
    for number in range(64):
        block = list(CONTENT[16 * number : 16 * number + 16])
        assert dataset.inputs[number].tolist() == block[:-1]
        assert dataset.targets[number].tolist() == block[1:]
    assert hashlib.sha256(CONTENT).hexdigest() in dataset.description


def test_parts_are_stretches_that_share_no_byte(path: str) -> None:
    splits = split(make_data("text", path=path, length=15), val=0.25, test=0.125)
    assert splits.val is not None
    assert splits.test is not None
    assert splits.train.positions.tolist() == list(range(40))
    assert splits.val.positions.tolist() == list(range(40, 56))
    assert splits.test.positions.tolist() == list(range(56, 64))
    subset = split(make_data("text", path=path, length=15), val=0.25, test=0.125, subset=5, split_seed=3)
    assert subset.train.positions.tolist() == list(range(5))
    assert subset.test is not None
    assert subset.test.positions.equal(splits.test.positions), "no seed has a say"


def test_the_pages_of_python_are_there_without_a_file() -> None:
    from pydoc_data.topics import topics

    dataset = make_data("text", length=63)
    assert len(dataset) > 3000, "at least 200 kB"
    whole = torch.cat([dataset.inputs, dataset.targets[:, -1:]], dim=1).flatten()
    text = bytes(whole.tolist()).decode(errors="ignore")
    assert text.startswith(topics[min(topics)])
    assert dataset.facts["sha256"] in dataset.description


def test_what_cannot_be_read_is_refused(path: str) -> None:
    with pytest.raises(DataError, match=r"no file nowhere\.txt"):
        make_data("text", path="nowhere.txt")
    with pytest.raises(DataError, match="1028 bytes, too few for 3 blocks of 401 bytes"):
        make_data("text", path=path, length=400)

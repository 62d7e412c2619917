"""Batches that a thread makes ahead are those that are made when they are asked for."""

from __future__ import annotations

import multiprocessing
import os
import threading
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optrun.experiments.components.data import Batches, Stored, make_augmentation
from optrun.experiments.components.data.ahead import Ahead
from optrun.experiments.components.data.stored import Pixels
from optrun.experiments.components.weighted import Weighted


def make(num: int = 30, **args: Any) -> Batches:
    """Return batches of images, cut, mirrored and mixed at random."""
    images = torch.randint(256, (num, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    augment = [make_augmentation(name) for name in ("crop", "flip", "mixup")]
    options = {"batch_size": 8, "augment": augment, "num_classes": 3, **args}
    return Batches(Stored(images, steps=[Pixels()]), torch.arange(num) % 3, **options)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("optrun batches")]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 12) | st.none(), max_size=30), st.integers(1, 4))
def test_they_are_the_same_in_any_order(jumps: list[int | None], num_epochs: int) -> None:
    """None: the batch after the last one."""
    ahead, plain = make(num_epochs=num_epochs), make(num_epochs=num_epochs)
    ahead.make_ahead()
    position = 0
    try:
        for jump in jumps:
            position = position + 1 if jump is None else jump
            if position >= 4 * num_epochs:
                with pytest.raises(IndexError, match="no batch"):
                    ahead.batch(position)
                continue
            ours, theirs = ahead.batch(position), plain.batch(position)
            assert ours.inputs.equal(theirs.inputs), position
            assert ours.targets.equal(theirs.targets), position
    finally:
        ahead.close()
    assert not threads()


def test_what_is_drawn_apart_meanwhile_is_not_missed() -> None:
    ahead, plain = make(), make()
    ahead.make_ahead()
    for position in range(9):
        ahead.gathered(3 * position)
        ahead.alike(()).batch(position)
        assert ahead.batch(position).inputs.equal(plain.batch(position).inputs)
    ahead.close()


def test_weights_come_with_them() -> None:
    ahead = make(weights=torch.arange(30.0), augment=[])
    ahead.make_ahead()
    targets = ahead.batch(1).targets
    assert isinstance(targets, Weighted)
    assert targets.weights.tolist() == ahead.indices(1).tolist()
    ahead.close()


def test_torchs_generator_is_left_alone() -> None:
    ahead = make()
    ahead.make_ahead()
    before = torch.get_rng_state()
    for position in range(6):
        ahead.batch(position)
    ahead.close()
    assert torch.get_rng_state().equal(before)


def test_what_fails_is_told_where_it_is_asked_for() -> None:
    made = []

    def make_one(position: int) -> torch.Tensor:
        made.append((position, threading.current_thread().name))
        if position == 2:
            raise ValueError("a damaged row")
        return torch.full((2,), position)

    ahead = Ahead(make_one, 5)
    assert [ahead.batch(position).tolist() for position in (0, 1)] == [[0, 0], [1, 1]]
    for _ in range(2):
        with pytest.raises(ValueError, match="a damaged row"):
            ahead.batch(2)
    assert ahead.batch(3).tolist() == [3, 3]
    assert ahead.batch(4).tolist() == [4, 4]
    ahead.close()
    assert {name for _, name in made} == {"optrun batches_0"}
    assert max(position for position, _ in made) == 4, "none behind the end"


def test_large_batches_are_few() -> None:
    """At most 32 MiB wait to be asked for, and one."""
    made = []

    def make_one(position: int) -> torch.Tensor:
        made.append(position)
        return torch.empty(3 << 20, dtype=torch.float32)

    ahead = Ahead(make_one, None)
    for position in range(3):
        ahead.batch(position)
    ahead.close()
    assert max(made) <= 2 + 32 // 12 + 1


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
def test_a_forked_process_makes_its_own() -> None:
    ahead, plain = make(), make()
    ahead.make_ahead()
    ahead.batch(0)
    child = os.fork()
    if child == 0:
        is_same = all(ahead.batch(position).inputs.equal(plain.batch(position).inputs) for position in (1, 2, 7))
        os._exit(0 if is_same else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert ahead.batch(1).inputs.equal(plain.batch(1).inputs)
    ahead.close()

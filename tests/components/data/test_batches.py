"""Batches: each is a function of the seed and its position, whatever was drawn before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optrun.experiments.components.data import Batches, make_augmentation
from optrun.experiments.errors import UsageError
from optrun.experiments.system import rng


def make(num: int = 10, **args: Any) -> Batches:
    """Return batches whose inputs and targets both say which example they are."""
    return Batches(torch.arange(float(num))[:, None], torch.arange(num), **{"batch_size": 4, **args})


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.booleans(), st.integers(0, 5))
def test_an_epoch_holds_each_example_once(num: int, batch_size: int, drop_last: bool, epoch: int) -> None:
    if drop_last and batch_size > num:
        return
    batches = make(num, batch_size=batch_size, drop_last=drop_last)
    first = epoch * batches.steps_per_epoch
    drawn = [batches.batch(first + number) for number in range(batches.steps_per_epoch)]
    targets = torch.cat([batch.targets for batch in drawn])
    assert targets.equal(torch.cat([batch.inputs[:, 0] for batch in drawn]).long()), "inputs go with their targets"
    assert len(targets.unique()) == len(targets)
    sizes = [len(batch.targets) for batch in drawn]
    if drop_last:
        assert sizes == [batch_size] * (num // batch_size)
    else:
        assert sum(sizes) == num
        assert set(sizes[:-1]) <= {batch_size}


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=20))
def test_any_batch_can_be_had_in_any_order(positions: list[int]) -> None:
    one = make(augment=[make_augmentation("noise", std=1.0)])
    for position in positions:
        fresh = make(augment=[make_augmentation("noise", std=1.0)])
        ours, theirs = one.batch(position), fresh.batch(position)
        assert ours.inputs.equal(theirs.inputs)
        assert ours.targets.equal(theirs.targets)


def test_the_order_is_that_of_the_seed_and_epoch() -> None:
    batches = make(seed=7)
    for epoch in range(3):
        drawn = torch.cat([batches.batch(3 * epoch + number).targets for number in range(3)])
        assert drawn.equal(rng.permutation(7, epoch, 10))
        assert drawn.equal(batches.order(epoch))
    assert not batches.order(0).equal(batches.order(1))
    assert not batches.order(0).equal(make(seed=8).order(0))


def test_drawing_consumes_no_global_randomness() -> None:
    batches = make(augment=[make_augmentation("noise")])
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    batches.batch(0)
    batches.batch(17)
    assert torch.rand(1).equal(expected)


def test_numbers_of_steps_and_batches() -> None:
    assert (make().steps_per_epoch, make(drop_last=True).steps_per_epoch) == (3, 2)
    assert make().num_batches is None
    finite = make(num_epochs=2)
    assert finite.num_batches == 6
    assert finite.batch(5).targets.shape == (2,)
    with pytest.raises(IndexError, match="no batch 6: there are 6"):
        finite.batch(6)
    with pytest.raises(IndexError, match="no batch -1"):
        make().batch(-1)
    make().batch(10**12)  # endless means endless


def test_a_batch_is_a_copy() -> None:
    batches = make()
    batches.batch(0).inputs.fill_(-1)
    assert batches.inputs.min() == 0


def test_augmentations_apply_in_turn_and_depend_on_the_position() -> None:
    double: Callable[..., torch.Tensor] = lambda inputs, generator: inputs * 2  # noqa: E731
    add_one: Callable[..., torch.Tensor] = lambda inputs, generator: inputs + 1  # noqa: E731
    plain, augmented = make().batch(4), make(augment=[double, add_one]).batch(4)
    assert augmented.inputs.equal(plain.inputs * 2 + 1)
    assert augmented.targets.equal(plain.targets)

    def drawn(seed: int, position: int) -> torch.Tensor:
        batches = make(8, seed=seed, augment=[make_augmentation("noise", std=1.0)])
        return batches.batch(position).inputs - make(8, seed=seed).batch(position).inputs

    assert drawn(0, 1).equal(drawn(0, 1))
    assert not drawn(0, 1).equal(drawn(0, 3))
    assert not drawn(0, 1).equal(drawn(1, 1))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"batch_size": 11, "drop_last": True}, "batch_size must be 1 to 10, the number of examples, with drop_last"),
    ],
)
def test_sizes_that_make_no_batch_are_refused(args: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(**args)


def test_inputs_and_targets_have_to_match() -> None:
    with pytest.raises(UsageError, match="got 3 and 2"):
        Batches(torch.zeros(3, 1), torch.zeros(2), batch_size=1)
    with pytest.raises(UsageError, match="got 0 and 0"):
        Batches(torch.zeros(0, 1), torch.zeros(0), batch_size=1)

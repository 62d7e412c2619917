"""Blocks of steps and their times."""

from __future__ import annotations

import time

import pytest
import torch

from optrun.experiments.training.step_timing import Block, mean_secs, time_block, time_steps

CPU = torch.device("cpu")


def taker(num_steps: int):
    """Return something that takes steps of a millisecond until so many are taken."""
    left = num_steps

    def take(size: int) -> int:
        nonlocal left
        taken = min(size, left)
        left -= taken
        time.sleep(1e-3 * taken)
        return taken

    return take


def test_a_block_has_the_time_of_its_steps():
    block = time_block(taker(3), 3, CPU)
    assert block.num_steps == 3
    assert block.secs >= 3e-3


def test_blocks_are_of_equal_size_and_end_with_the_budget():
    blocks = time_steps(taker(10**6), CPU, 0.05)
    assert 1 <= len(blocks) <= 10
    assert len({block.num_steps for block in blocks}) == 1


@pytest.mark.parametrize(("num_steps", "found"), [(0, []), (1, []), (2, [1])])
def test_a_run_that_ends_at_once_has_few_blocks_or_none(num_steps, found):
    assert [block.num_steps for block in time_steps(taker(num_steps), CPU, 60.0)] == found


def test_the_mean_is_over_steps_not_over_blocks():
    assert mean_secs([Block(1, 3.0), Block(3, 1.0)]) == 1.0


def test_what_is_spent_aside_does_not_count():
    aside = 0.0

    def take(size: int) -> int:
        nonlocal aside
        time.sleep(0.05 * size)
        aside += 0.04 * size
        return size

    block = time_block(take, 2, CPU, lambda: aside)
    assert 0.02 <= block.secs < 0.1
    aside = 0.0
    blocks = time_steps(take, CPU, 0.05, lambda: aside)
    assert sum(block.num_steps for block in blocks) > 1
    assert all(block.secs / block.num_steps < 0.05 for block in blocks)

"""The time of a training step: measured over blocks of steps, on the device that takes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

_NUM_BLOCKS = 10


class Block(NamedTuple):
    """Some steps that were taken one after another, and the seconds of all of them."""

    num_steps: int
    secs: float


def time_block(
    take: Callable[[int], int], size: int, device: torch.device, aside: Callable[[], float] = lambda: 0.0
) -> Block:
    """Take a block of steps and its time; what the device was given before and within the block is waited for.

    Args:
        take: takes up to that many steps, and returns how many it took.
        size: how many steps.
        device: that takes them.
        aside: returns the seconds that were spent so far on what does not count, such as compiling.
    """
    wait_for(device)
    started, before = time.perf_counter(), aside()
    num_steps = take(size)
    wait_for(device)
    return Block(num_steps, time.perf_counter() - started - (aside() - before))


def time_steps(
    take: Callable[[int], int], device: torch.device, budget_secs: float, aside: Callable[[], float] = lambda: 0.0
) -> list[Block]:
    """Time up to ten blocks of equal size, which a first step that is not counted chooses.

    The very first step of a train op, which may have things to set up, is the caller's to take before.

    Args:
        take: as in `time_block`; it takes none when training has ended, and the blocks end then too.
        device: that takes them.
        budget_secs: about how long all of it may take.
        aside: as in `time_block`.
    """
    second = time_block(take, 1, device, aside)
    size = max(1, int(budget_secs / _NUM_BLOCKS / second.secs))
    blocks: list[Block] = []
    while len(blocks) < _NUM_BLOCKS and sum(block.secs for block in blocks) < budget_secs:
        block = time_block(take, size, device, aside)
        if block.num_steps < size:  # a part of a block is a poor measure, but better than none
            return blocks or [block] * (block.num_steps > 0)
        blocks.append(block)
    return blocks


def mean_secs(blocks: Sequence[Block]) -> float:
    """Return the seconds of a step over all of the blocks."""
    return sum(block.secs for block in blocks) / sum(block.num_steps for block in blocks)


def wait_for(device: torch.device) -> None:
    """Wait until a device has done what it was given; the CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()

"""Whether compiling pays, by a rule of shapes and planned steps: measured, the load of a machine would decide bits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..train_op import TrainOp

# As measured on CPUs with MLPs, convolutional networks and residual ones (docs/speed.md): a graph takes a while to
# compile, longer with more tensors to move; an uncompiled step spends most of what a compiled one saves between the
# operations of these tensors, whatever their size.
_GRAPH_SECS = 15.0
_GRAPH_SECS_PER_TENSOR = 0.7
_SAVED_SECS_PER_TENSOR = 75e-6
# Above it, what is saved is lost among products and convolutions, which stay as they are: a residual network of depth
# 20 on CIFAR-10 in batches of 128 has 264 million, and was 0.94 to 1.04 times as fast; a GPT with 48 million 1.08.
_MOST_WORK_PER_TENSOR = 100_000_000  # multiply-adds


def why_not_worth(op: TrainOp, num_steps: int | None) -> str | None:
    """Return why a run of so many steps is not compiled by `auto`, in words; None where compiling pays.

        num_steps * saved > num_shapes * (seconds per graph),    work <= 1e8 * tensors

    Args:
        op: the train op.
        num_steps: in the whole run; None where only a clock or its hooks end it.
    """
    if num_steps is None:
        return "`auto` goes by the number of steps, which this run does not know"
    num_tensors = sum(len(group["params"]) for group in op.optimizer.param_groups)
    work = op.options.work
    if work is not None and work > _MOST_WORK_PER_TENSOR * num_tensors:
        return (
            "`auto` leaves steps as they are that consist of matrix products and convolutions, like those of this model"
        )
    needed = _num_shapes(op.data) * (_GRAPH_SECS + _GRAPH_SECS_PER_TENSOR * num_tensors)
    least = math.ceil(needed / (_SAVED_SECS_PER_TENSOR * num_tensors))
    if num_steps >= least:
        return None
    return f"`auto` compiles runs of this model and data from {least:,} steps on, and this one has {num_steps:,}"


def _num_shapes(data: Any) -> int:
    """Return in how many shapes batches come, as far as the data says so."""
    size_of, steps_per_epoch = getattr(data, "size_of", None), getattr(data, "steps_per_epoch", None)
    if size_of is None or steps_per_epoch is None:
        return 1
    return len({size_of(0), size_of(steps_per_epoch - 1)})

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


def why_not_worth(op: TrainOp, num_steps: int | None) -> str | None:
    """Return why a run of so many steps is not compiled by `auto`, in words; None where compiling pays.

        num_steps * saved > num_shapes * (seconds per graph)

    Args:
        op: the train op.
        num_steps: in the whole run; None where only a clock or its hooks end it.
    """
    if num_steps is None:
        return "`auto` goes by the number of steps, which this run does not know"
    num_tensors = sum(len(group["params"]) for group in op.optimizer.param_groups)
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

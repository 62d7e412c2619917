"""What is fed for a step, as far as a graph of steps knows it: the learning rate, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .rule_table import RULES
from .updates import is_settled

if TYPE_CHECKING:
    from ..train_op import TrainOp


def may_take(op: TrainOp, feed: Mapping[str, Any]) -> bool:
    """Return True if a graph has a step with such a feed in it, of a train op that has graphs."""
    if feed:
        rate = feed.get("lr")
        if len(feed) > 1 or type(rate) is not float or not math.isfinite(rate):
            return False
        if rate == 0 and RULES[type(op.optimizer)].divides_by_rate:
            return False
    return all(is_settled(update) for update in op.updates)


def rates_of(op: TrainOp, feed: Mapping[str, Any]) -> list[float]:
    """Return the learning rate of each parameter group at a step with such a feed."""
    groups = op.optimizer.param_groups
    if "lr" in feed:
        return [feed["lr"] * group.get("lr_scale", 1.0) for group in groups]
    return [float(group["lr"]) for group in groups]

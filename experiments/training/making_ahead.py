"""Whether a thread makes the batches of a run ahead: where that saves time, and nobody could tell."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence

from ..components.data.batches import Batches
from ..components.data.tree import tensors
from ..components.hooks.hook import Hook
from .experiment import Experiment

_LEAST_NUMBERS = 1 << 16  # in the inputs of a batch: below it, handing one over costs about what making it does
_OURS = __name__.partition(".")[0]


def _is_worth_it(data: Batches) -> bool:
    """Return True if making a batch takes longer than to hand it from a thread to another, and there is a core for it.

    A batch is gathered from stored bytes, or augmented, and has at least 65,536 numbers. A worker of a comparison has
    no second core: the others have their runs.
    """
    if data.draws_nothing or data.device.type != "cpu":
        return False
    if (os.cpu_count() or 1) == 1 or multiprocessing.parent_process() is not None:
        return False
    per_example = sum(tensor.numel() for tensor in tensors(data.examples(0, 1).inputs))
    return data.size_of(0) * per_example >= _LEAST_NUMBERS


def make_ahead(experiment: Experiment, hooks: Sequence[Hook]) -> None:
    """Let a thread make batches ahead where that is worth it.

    Not where code of the user's own makes or augments examples, which may draw from torch's generator, and not where a
    hook of theirs might change the data under way.

    Args:
        experiment: that is about to be trained.
        hooks: of its session.
    """
    chosen, data = experiment.config.data, experiment.batches
    own = [*chosen.component.roots(), *(root for each in chosen.augment for root in each.component.roots())]
    own += [hook for hook in hooks if type(hook).__module__.partition(".")[0] != _OURS]
    if not own and type(data) is Batches and _is_worth_it(data):
        data.make_ahead()

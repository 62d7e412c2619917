"""A look at losses of the user's own: is one NaN for a batch of an evaluation, because nothing in the batch counts?"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..components.data.tree import batch_size, mapped, tensors
from ..components.losses.counting import Counting
from ..config import Config, ConfigError
from .evaluator import Evaluator, evaluation_mode

_FEW = 8  # examples whose outputs stand for those of all
_MANY = 512  # among which some count


def check_uncounted(config: Config, evaluators: Mapping[str, Evaluator]) -> None:
    """Refuse a loss that says no count and is NaN for some batch of an evaluation: so would be the whole.

    Each batch's targets in memory are asked for, with the outputs of a few examples repeated. Where that is NaN, the
    outputs of the batch itself decide, so that it is the targets and not a pair of them and some outputs. A loss that
    is not finite for training examples either is left to the run, which diverges.

    Args:
        config: of the run.
        evaluators: by split.

    Raises:
        ConfigError: at the loss, with the examples of the batch.
    """
    if not config.loss.component.roots():
        return
    for split, evaluator in evaluators.items():
        if split == "train" or Counting(evaluator.loss).is_known:
            continue
        found = None
        with contextlib.suppress(Exception):  # what fails here fails in the evaluation too, which says where
            found = _first_uncounted(evaluator)
            if found is not None and not _is_number(evaluators["train"]):
                return  # nan of whatever targets: the first step of training says so
        if found is not None:
            raise _refusal(config, evaluator, *found)


def _refusal(config: Config, evaluator: Evaluator, first: int, last: int) -> ConfigError:
    split = evaluator.split
    message = (
        f"{config.loss.label} is nan for examples {first} to {last} of {split}, a batch of its evaluation, with finite "
        f"outputs: nothing in it seems to count, and {split}/loss would be nan"
    )
    is_whole = last - first + 1 == len(evaluator.part)
    way_out = "say by how much its mean divides: `count(targets)` (docs/python.md)"
    return config.problem("loss", message, "of all its examples, none counts" if is_whole else way_out)


def _first_uncounted(evaluator: Evaluator) -> tuple[int, int] | None:
    """Return the first and the last example, from 1, of the first batch whose loss is NaN; None where there is none."""
    part, size = evaluator.part, evaluator.batch_size
    targets = getattr(part, "targets", None)
    if not isinstance(targets, Tensor):
        return None
    with _measuring(evaluator) as loss:
        few = part.examples(0, min(_FEW, len(part)))
        outputs = evaluator.call(evaluator.model, *few)
        for start in range(0, len(part), size):
            some = targets[start : start + size]
            if not bool(loss(_repeated(outputs, batch_size(*few), len(some)), some).isnan()):
                continue
            batch = part.examples(start, start + size)
            own = evaluator.call(evaluator.model, *batch)
            if _is_finite(own) and bool(loss(own, batch.targets).isnan()):
                return start + 1, start + len(some)
    return None


def _is_number(evaluator: Evaluator) -> bool:
    """Return True if the loss of many of these examples is finite."""
    with _measuring(evaluator) as loss:
        batch = evaluator.part.examples(0, max(evaluator.batch_size, _MANY))
        return bool(loss(evaluator.call(evaluator.model, *batch), batch.targets).isfinite())


@contextlib.contextmanager
def _measuring(evaluator: Evaluator) -> Iterator[Callable[..., Tensor]]:
    """Measure as the evaluator does in a `with` block, with a copy of its loss."""
    loss = copy.deepcopy(evaluator.loss)
    with evaluation_mode(evaluator.model, loss), evaluator.grad_mode(), evaluator.autocast():
        yield loss


def _repeated(outputs: Any, few: int, number: int) -> Any:
    """Return as many outputs as asked, made of few; what has no row per example stays."""
    indices = torch.arange(number) % few

    def repeated(tensor: Tensor) -> Tensor:
        return tensor[indices.to(tensor.device)] if tensor.dim() and len(tensor) == few else tensor

    return mapped(outputs, repeated)


def _is_finite(outputs: Any) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors(outputs))

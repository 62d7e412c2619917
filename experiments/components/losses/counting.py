"""How many a loss is the mean over, so that the losses of parts of a batch come to that of the whole."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from ...errors import UsageError
from ...registry.calls import described
from ..selected import Selected

_FUNCTIONS: tuple[Callable[..., Any], ...] = (functional.cross_entropy, functional.nll_loss)
_MODULES = (nn.CrossEntropyLoss, nn.NLLLoss)


class Counting:
    """Weighs the losses of the parts of a batch.

        loss of the whole = Σ count(part) * loss(part) / Σ count(part)

    A loss says its count by a method or attribute `count(targets)`: by how much its mean has divided. One that says
    nothing is the mean over the examples. Of torch's losses it is known: `CrossEntropyLoss` and `NLLLoss` divide by the
    weights of the targets that are not ignored, and any with `reduction="sum"` by nothing.

    Args:
        loss: (outputs, targets) -> scalar.
    """

    def __init__(self, loss: Callable[..., Any]):
        self._count = _count_of(loss)
        self.is_sum = _is_sum(loss)  # the whole is the sum of its parts

    @property
    def is_known(self) -> bool:
        """Return True if the loss says by how much it divides, or is known to, or divides by nothing."""
        return self._count is not None or self.is_sum

    def count(self, targets: Any, num_examples: int) -> float:
        """Return by how much the loss of these targets has divided.

        Args:
            targets: of a batch, or of a part of it.
            num_examples: in them.

        Raises:
            UsageError: the loss says what is no count.
        """
        if self._count is None:
            return num_examples
        value = self._count(targets)
        number = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
        if isinstance(number, bool) or not isinstance(number, Real) or not 0 <= number < math.inf:  # type: ignore[operator]
            raise UsageError(f"`count` of the loss gave {described(value)}: expected a finite number of at least 0")
        return number  # type: ignore[return-value]

    def weights(self, parts: Sequence[Any], num_examples: Sequence[int]) -> list[float]:
        """Return the weight of the loss of each part of a batch in that of the whole.

        Args:
            parts: the targets of each.
            num_examples: in each.
        """
        if self.is_sum:
            return [1.0] * len(parts)
        counts = [self.count(part, number) for part, number in zip(parts, num_examples, strict=True)]
        if sum(counts) == 0:  # nothing counts: the whole is as undefined as its parts
            counts = list(num_examples)
        total = sum(counts)
        return [count / total for count in counts]


def counted_targets(targets: Tensor, ignore_index: int = -100, weight: Tensor | None = None) -> Tensor | int:
    """Return by how much torch's cross-entropy divides: the weights of the class numbers that are not ignored.

    Args:
        targets: class numbers of any shape; or probabilities, of which each example counts once.
        ignore_index: the class number that does not count.
        weight: by class, shape (classes,); None for 1 each.
    """
    if targets.is_floating_point():
        return len(targets)
    kept = targets[targets != ignore_index]
    return kept.numel() if weight is None else weight.double()[kept].sum()


def _count_of(loss: Callable[..., Any]) -> Callable[[Any], Any] | None:
    if isinstance(loss, Selected) and not hasattr(loss, "count"):
        count = _count_of(loss.func)
        return None if count is None else lambda targets: count(loss.targets_of(targets))
    if isinstance(loss, functools.partial):
        count = _count_of(loss.func)
        return None if count is None else functools.partial(count, **_those_taken(count, loss.keywords))
    if callable(own := getattr(loss, "count", None)):
        return own
    if any(loss is function for function in _FUNCTIONS):
        return counted_targets
    if isinstance(loss, _MODULES) and type(loss).forward in [module.forward for module in _MODULES]:
        return functools.partial(_counted_by_module, loss)
    return None


def _counted_by_module(loss: nn.CrossEntropyLoss | nn.NLLLoss, targets: Tensor) -> Tensor | int:
    count = counted_targets(targets, loss.ignore_index, loss.weight)
    is_smoothed = getattr(loss, "label_smoothing", 0.0) > 0
    if is_smoothed and isinstance(count, Tensor) and not count and bool((targets != loss.ignore_index).any()):
        raise UsageError(
            "a part of the batch has only targets of weight 0, which label_smoothing counts all the same, so that "
            "its mean is undefined: give these classes a small weight, or ignore them"
        )
    return count


def _those_taken(count: Callable[..., Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a loss that its count takes too; all of them for the user's own."""
    known = ("ignore_index", "weight") if count is counted_targets else tuple(keywords)
    return {name: value for name, value in keywords.items() if name in known}


def _is_sum(loss: Callable[..., Any]) -> bool:
    if isinstance(loss, Selected):
        return _is_sum(loss.func)
    if isinstance(loss, functools.partial):
        return loss.func.__module__ == functional.__name__ and loss.keywords.get("reduction") == "sum"
    is_torchs = type(loss).__module__ == nn.modules.loss.__name__
    return is_torchs and getattr(loss, "reduction", None) == "sum"

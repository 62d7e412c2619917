"""Losses in which examples count by weights of their own."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import UsageError
from ...registry.calls import described
from ..selected import Selected, Selector
from ..shapes import IGNORED
from ..weighted import Weighted

Each = Callable[[Any, Any], Tensor]
Counts = Callable[[Any], Tensor]

_OF_CLASSES = (functional.cross_entropy, functional.nll_loss)
_OF_VALUES = (
    functional.mse_loss,
    functional.l1_loss,
    functional.smooth_l1_loss,
    functional.huber_loss,
    functional.binary_cross_entropy,
    functional.binary_cross_entropy_with_logits,
)
_MODULES_OF_CLASSES = (nn.CrossEntropyLoss, nn.NLLLoss)
_MODULES_OF_VALUES = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCELoss, nn.BCEWithLogitsLoss)


class WeightedLoss(Selected):
    """A loss in which each example counts by its weight.

        loss = Σ w l / Σ w n

    over the examples, or over all targets where an example has several: l is the loss of each, and n by how much the
    mean without weights divides for it: 1, or the weight of its class, or 0 where it is ignored. So an example of
    weight 2 counts as if it were there twice, and one of weight 0 as if it were not there.

    Args:
        loss: that says the loss of each example, by an attribute or method `each(outputs, targets)`, and n by
            `counts(targets)`, if it is not 1; or one of torch's.
        of: which part of the outputs it looks at; None for all.
        target: which part of the targets, likewise.
        weights: where the weights are in a batch, or what the data calls them.

    Raises:
        UsageError: the loss does not say what the loss of each example is.

    Source: Horvitz and Thompson, "A generalization of sampling without replacement from a finite universe", 1952; as
    `sample_weight` in scikit-learn and Keras.
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        of: Selector | None,
        target: Selector | None,
        weights: str | int,
    ):
        super().__init__(loss, of, target)
        self.weights_from = weights
        self._each, self._counts = _by_example(loss)

    def __call__(self, outputs: Any, targets: Any) -> Tensor:
        """Return the loss of a batch whose targets are `Weighted`.

        Raises:
            UsageError: they are not, or there is another number of weights.
        """
        targets, weights = self._parts(targets)
        losses = self._each(self.outputs_of(outputs), targets)
        shares = _spread(weights, losses).to(torch.promote_types(losses.dtype, torch.float32))
        return (shares * losses).sum() / (shares * self._counts(targets)).sum()

    def count(self, targets: Any) -> Tensor:
        """Return by how much the loss of these targets divides, a scalar in double precision."""
        targets, weights = self._parts(targets)
        counts = self._counts(targets)
        return (_spread(weights, counts).double() * counts).sum()

    def _parts(self, targets: Any) -> tuple[Any, Tensor]:
        if not isinstance(targets, Weighted):
            raise UsageError(f"a batch came without the weights '{self.weights_from}' that the loss goes by")
        return self.targets_of(targets.targets), targets.weights


def _spread(weights: Tensor, values: Tensor) -> Tensor:
    """Return weights in a shape that can be multiplied with values of each example, or of each of its targets."""
    if weights.shape == values.shape:
        return weights
    if weights.dim() != 1 or len(weights) != len(values):
        raise UsageError(
            f"weights of shape {tuple(weights.shape)} do not fit losses of shape {tuple(values.shape)}: give one per "
            "example, or one per target"
        )
    return weights.reshape(-1, *(1,) * (values.dim() - 1))


def _by_example(loss: Callable[..., Any]) -> tuple[Each, Counts]:
    """Return what gives the loss of each example or target, and what says by how much the mean divides for it."""
    function, keywords = _unbound(loss)
    if hasattr(function, "each"):
        counts = getattr(function, "counts", _ones_of_examples)
        of_counts = keywords if counts is not _ones_of_examples else {}
        return functools.partial(function.each, **keywords), functools.partial(counts, **of_counts)
    if keywords.get("reduction", getattr(loss, "reduction", "mean")) == "mean":
        if function in _OF_CLASSES:
            known = {name: keywords[name] for name in ("ignore_index", "weight") if name in keywords}
            return functools.partial(function, **keywords, reduction="none"), functools.partial(class_counts, **known)
        if function in _OF_VALUES:
            return functools.partial(function, **keywords, reduction="none"), torch.ones_like
        if type(loss) in (*_MODULES_OF_CLASSES, *_MODULES_OF_VALUES):
            return _by_module(loss)
    raise UsageError(
        f"{described(loss)} does not say the loss of each example, which weights need: let it have a method or "
        "attribute `each(outputs, targets)` (docs/python.md, Components of your own)"
    )


def _unbound(loss: Any) -> tuple[Any, dict[str, Any]]:
    """Return a function without the keyword arguments that are bound to it, and these."""
    keywords: dict[str, Any] = {}
    while isinstance(loss, functools.partial) and not loss.args:
        loss, keywords = loss.func, {**loss.keywords, **keywords}
    return loss, keywords


def _by_module(loss: Any) -> tuple[Each, Counts]:
    single = copy.copy(loss)
    single.reduction = "none"
    if type(loss) in _MODULES_OF_VALUES:
        return single, torch.ones_like
    return single, lambda targets: class_counts(targets, loss.ignore_index, loss.weight)


def _ones_of_examples(targets: Any) -> Tensor:
    first = targets if isinstance(targets, Tensor) else next(iter(targets))
    return torch.ones(len(first), device=first.device)


def class_counts(targets: Tensor, ignore_index: int = IGNORED, weight: Tensor | None = None) -> Tensor:
    """Return by how much the mean of torch's cross-entropy divides for each target, shape (examples, …).

    Args:
        targets: class numbers of any shape; or probabilities, shape (examples, classes, …), which count 1 each.
        ignore_index: the class number that does not count.
        weight: by class, shape (classes,); None for 1 each.
    """
    if targets.is_floating_point():
        return torch.ones_like(targets[:, 0])
    kept = targets != ignore_index
    return kept.float() if weight is None else weight[targets.where(kept, 0)] * kept

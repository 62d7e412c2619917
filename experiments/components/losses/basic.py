"""The common losses."""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional

from ...errors import ArgumentsError
from ...registry.arguments import Fraction, NonNegative
from ..shapes import IGNORED, as_targets
from . import register_loss
from .class_weights import weights_of_classes
from .counting import counted_targets
from .weighting import class_counts

ClassWeights = Literal["balanced"] | tuple[NonNegative, ...] | dict[str, NonNegative]


@register_loss("cross_entropy", source="Bridle, 1990, doi:10.1007/978-3-642-76153-9_28", task="classes")
def cross_entropy(
    outputs: torch.Tensor,
    targets: torch.Tensor,
    *,
    label_smoothing: Fraction = 0.0,
    ignore_index: int = IGNORED,
    class_weights: ClassWeights | None = None,
) -> torch.Tensor:
    """Cross-entropy between the softmax of the outputs and the class labels.

        loss = mean over examples of  -Σ_c q_c log softmax(outputs)_c
        q_c = (1 - label_smoothing) * p_c + label_smoothing / num_classes
        p_c = [c = target]

    Targets may also be the probabilities p themselves, as mixing examples makes them. With class weights w the mean
    is Σ w_target loss / Σ w_target, over the targets that are not ignored.

    Args:
        outputs: unnormalised scores (logits), shape (examples, classes), or (examples, classes, …), such as those of
            each pixel; a softmax before it would be a mistake.
        targets: class numbers, int64, shape (examples,) or (examples, …); or probabilities, of the outputs' shape.
        label_smoothing: how much of the target is spread evenly over all classes.
        ignore_index: the class number that does not count, such as that of padding; by default the data's own, or -100.
        class_weights: one for each class, in their order or by name; or `balanced`: by the training targets, examples /
            (classes * members).

    Raises:
        UsageError: `balanced` where the training targets are not known, names where the classes are not, or another
            number of weights.

    Source: Bridle, 1990; label smoothing: Szegedy et al., "Rethinking the Inception architecture", 2016.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.losses import make_loss
        >>> make_loss("cross_entropy")(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))  # ln 2
        tensor(0.6931)
    """
    return _cross_entropy(outputs, targets, label_smoothing, ignore_index, class_weights, "mean")


def _cross_entropy(
    outputs: torch.Tensor,
    targets: torch.Tensor,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORED,
    class_weights: ClassWeights | None = None,
    reduction: str = "none",
) -> torch.Tensor:
    weight = None
    if class_weights is not None:
        weight = weights_of_classes(class_weights, outputs.dtype, outputs.device)
        if len(weight) != outputs.shape[1]:
            message = f"class_weights has {len(weight)} numbers for {outputs.shape[1]} classes"
            raise ArgumentsError(message, "class_weights")
    return functional.cross_entropy(
        outputs, targets, weight, ignore_index=ignore_index, label_smoothing=label_smoothing, reduction=reduction
    )


def _count(
    targets: torch.Tensor, ignore_index: int = IGNORED, class_weights: ClassWeights | None = None, **_: object
) -> torch.Tensor | int:
    if class_weights is None:
        return counted_targets(targets, ignore_index)
    return counted_targets(targets, ignore_index, weights_of_classes(class_weights, torch.float64, targets.device))


def _counts(
    targets: torch.Tensor, ignore_index: int = IGNORED, class_weights: ClassWeights | None = None, **_: object
) -> torch.Tensor:
    weight = None if class_weights is None else weights_of_classes(class_weights, torch.float32, targets.device)
    return class_counts(targets, ignore_index, weight)


cross_entropy.count, cross_entropy.each, cross_entropy.counts = _count, _cross_entropy, _counts  # type: ignore[attr-defined]


@register_loss("mse", source="least squares: Legendre, 1805", task="values")
def mse(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared error.

        loss = mean over examples and outputs of  (output - target)²

    Args:
        outputs: predictions, shape (examples, values), or (examples,).
        targets: the true values, of the same shape up to a last dimension of 1.

    Raises:
        UsageError: the shapes differ; they are never broadcast.

    Source: the method of least squares, Legendre, 1805.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.losses import make_loss
        >>> make_loss("mse")(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0]))  # (1² + 2²) / 2
        tensor(2.5000)
    """
    return functional.mse_loss(as_targets(outputs, targets), targets)


mse.each = lambda outputs, targets: functional.mse_loss(as_targets(outputs, targets), targets, reduction="none")  # type: ignore[attr-defined]
mse.counts = torch.ones_like  # type: ignore[attr-defined]

"""The loss of a model that computes what is minimised itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch

from ...errors import UsageError
from ...registry.calls import described
from . import register_loss
from .counting import counted_targets

MeanOver = Literal["examples", "targets", "next_targets"]


@register_loss("output", source="the empirical risk: Vapnik, 1991, NIPS 4:831-838", task="none", takes_any=True)
class Output:
    """What the model gives as its loss: the model itself is the function to be minimised.

        loss = mean over examples of  output

    The model is called with the targets where its forward has a parameter of their name, such as `labels`.

    Args:
        outputs: one number per example, shape (examples,), or their mean, a scalar; or a mapping or an object that has
            it as `loss`.
        targets: not looked at here.
        mean_over: what a scalar is the mean over, so that parts of a batch are weighted as in the whole: `examples`,
            each once; `targets`, class numbers that are not -100; or `next_targets`, those after the first of each
            sequence, as in a language model that shifts its labels.

    Raises:
        UsageError: there is no such number.

    Source: the empirical risk, Vapnik, "Principles of risk minimization for learning theory", 1991.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.losses import make_loss
        >>> make_loss("output")(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0]))  # (1 + 2) / 2
        tensor(1.5000)
    """

    is_of_model = True  # which is handed the targets

    def __init__(self, mean_over: MeanOver = "examples"):
        self.mean_over = mean_over
        if mean_over != "examples":
            self.count = self._count

    def __call__(self, outputs: Any, targets: Any) -> torch.Tensor:
        """Return the loss, a scalar."""
        value = outputs
        if not isinstance(outputs, torch.Tensor):
            value = outputs.get("loss") if isinstance(outputs, Mapping) else getattr(outputs, "loss", None)
        if not isinstance(value, torch.Tensor):
            raise UsageError(
                f"expected a tensor, or outputs that have a `loss`, got {described(outputs)}: if the loss is another "
                "part, name it by `of`; if the model computes it only when it is given the targets, its forward takes "
                "them as `labels`, `targets` or by the name in data.targets_from"
            )
        if value.dim() > 1:
            raise UsageError(f"expected one output per example, shape (examples,), got {tuple(value.shape)}")
        return value if value.dim() == 0 else value.mean()

    def _count(self, targets: Any) -> int | torch.Tensor:
        if not isinstance(targets, torch.Tensor) or targets.is_floating_point():
            raise UsageError(f"mean_over: {self.mean_over} counts class numbers; the targets are {described(targets)}")
        return counted_targets(targets[:, 1:] if self.mean_over == "next_targets" else targets)

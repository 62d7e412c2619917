"""Metrics of language models."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from . import register_metric
from .counted import share, shares

_NONE = -(1 << 31)  # no target is: torch refuses one of -100 then, instead of counting it as right


def _token_losses(outputs: torch.Tensor, targets: torch.Tensor, ignore_index: int | None = None) -> torch.Tensor:
    """Return the mean of -log softmax(outputs)_target over each sequence, shape (examples,).

    Where some targets are ignored it is the sum over the others, and how many these are, shape (examples, 2).
    """
    ignored = _NONE if ignore_index is None else ignore_index
    scores = outputs.float().flatten(0, 1)
    losses = functional.cross_entropy(scores, targets.flatten(), reduction="none", ignore_index=ignored)
    losses = losses.view(targets.shape).double()
    return losses.mean(dim=1) if ignore_index is None else shares(losses, targets, ignore_index)


@register_metric(
    "bits_per_byte",
    source="Shannon, 1951, doi:10.1002/j.1538-7305.1951.tb01366.x",
    mode="min",
    margin=0.01,
    task="tokens",
)
class BitsPerByte:
    """The number of bits that a byte of the text takes, coded by the model's predictions; tokens must be bytes.

        value = mean over positions of  -log2 softmax(outputs)_target

    8 is no knowledge at all.

    Args:
        outputs: scores, shape (examples, length, vocabulary).
        targets: the token that follows each, shape (examples, length).
        ignore_index: what stands where nothing is to be predicted; by default the data's own.

    Source: Shannon, "Prediction and entropy of printed English", 1951.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.metrics import make_metric
        >>> values = make_metric("bits_per_byte")(torch.zeros(1, 3, 256), torch.tensor([[0, 1, 2]]))
        >>> round(values.item(), 4)  # log2 256
        8.0
    """

    def __init__(self, ignore_index: int | None = None):
        self.ignore_index = ignore_index

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean bits of each sequence, shape (examples,); with some ignored, as `shares` says."""
        rows = _token_losses(outputs, targets, self.ignore_index)
        return rows / math.log(2) if self.ignore_index is None else rows / rows.new_tensor([math.log(2), 1.0])

    def finish(self, means: torch.Tensor) -> torch.Tensor:
        return share(means)


@register_metric(
    "perplexity", source="Jelinek et al., 1977, doi:10.1121/1.2016299", mode="min", margin=0.05, task="tokens"
)
class Perplexity:
    """The number of equally likely tokens that would be as hard to predict: e to the mean loss per token.

        value = exp(mean over all positions of  -log softmax(outputs)_target)

    Args:
        outputs: scores, shape (examples, length, vocabulary).
        targets: the token that follows each, shape (examples, length).
        ignore_index: what stands where nothing is to be predicted; by default the data's own.

    Source: Jelinek, Mercer, Bahl and Baker, "Perplexity – a measure of the difficulty of speech recognition tasks",
    1977.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.metrics import make_metric, metric_value
        >>> metric = make_metric("perplexity")
        >>> rows = metric(torch.zeros(1, 3, 4), torch.tensor([[0, 1, 2]]))
        >>> round(metric_value(metric, rows.mean(dim=0)), 4)  # as hard as a choice of 4
        4.0
    """

    def __init__(self, ignore_index: int | None = None):
        self.ignore_index = ignore_index

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of each sequence, shape (examples,); with some ignored, as `shares` says."""
        return _token_losses(outputs, targets, self.ignore_index)

    def finish(self, means: torch.Tensor) -> torch.Tensor:
        return share(means).exp()


@register_metric("token_accuracy", source="the share of right answers", mode="max", margin=0.005, task="tokens")
class TokenAccuracy:
    """The share of positions at which the token with the highest score is the one that follows.

    Scores that are not numbers are wrong answers.

    Args:
        outputs: scores, shape (examples, length, vocabulary).
        targets: the token that follows each, shape (examples, length).
        ignore_index: what stands where nothing is to be predicted; by default the data's own.

    Source: the share of right answers.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.metrics import make_metric
        >>> make_metric("token_accuracy")(torch.tensor([[[2.0, 1.0], [0.0, 3.0]]]), torch.tensor([[0, 0]]))
        tensor([0.5000])
    """

    def __init__(self, ignore_index: int | None = None):
        self.ignore_index = ignore_index

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the share of each sequence, shape (examples,); with some ignored, as `shares` says."""
        best, predicted = outputs.max(dim=2)
        right = ((predicted == targets) & ~best.isnan()).float()
        if self.ignore_index is None:
            return torch.where(targets < 0, torch.nan, right).mean(dim=1)  # no token at all is neither right nor wrong
        return shares(right, targets, self.ignore_index)

    def finish(self, means: torch.Tensor) -> torch.Tensor:
        return share(means)

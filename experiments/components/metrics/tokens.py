"""Metrics of language models."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from . import register_metric


def _token_losses(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean of -log softmax(outputs)_target over each sequence, shape (examples,)."""
    losses = functional.cross_entropy(outputs.float().flatten(0, 1), targets.flatten(), reduction="none")
    return losses.view(targets.shape).double().mean(dim=1)


@register_metric(
    "bits_per_byte",
    source="Shannon, 1951, doi:10.1002/j.1538-7305.1951.tb01366.x",
    mode="min",
    margin=0.01,
    task="tokens",
)
def bits_per_byte(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The number of bits that a byte of the text takes, coded by the model's predictions; tokens must be bytes.

        value = mean over positions of  -log2 softmax(outputs)_target

    8 is no knowledge at all.

    Args:
        outputs: scores, shape (examples, length, vocabulary).
        targets: the token that follows each, shape (examples, length).

    Source: Shannon, "Prediction and entropy of printed English", 1951.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.metrics import make_metric
        >>> values = make_metric("bits_per_byte")(torch.zeros(1, 3, 256), torch.tensor([[0, 1, 2]]))
        >>> round(values.item(), 4)  # log2 256
        8.0
    """
    return _token_losses(outputs, targets) / math.log(2)


@register_metric(
    "perplexity", source="Jelinek et al., 1977, doi:10.1121/1.2016299", mode="min", margin=0.05, task="tokens"
)
class Perplexity:
    """The number of equally likely tokens that would be as hard to predict: e to the mean loss per token.

        value = exp(mean over all positions of  -log softmax(outputs)_target)

    Args:
        outputs: scores, shape (examples, length, vocabulary).
        targets: the token that follows each, shape (examples, length).

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

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of each sequence, shape (examples,)."""
        return _token_losses(outputs, targets)

    def finish(self, means: torch.Tensor) -> torch.Tensor:
        return means.exp()


@register_metric("token_accuracy", source="the share of right answers", mode="max", margin=0.005, task="tokens")
def token_accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The share of positions at which the token with the highest score is the one that follows.

    Scores that are not numbers are wrong answers.

    Args:
        outputs: scores, shape (examples, length, vocabulary).
        targets: the token that follows each, shape (examples, length).

    Source: the share of right answers.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.metrics import make_metric
        >>> make_metric("token_accuracy")(torch.tensor([[[2.0, 1.0], [0.0, 3.0]]]), torch.tensor([[0, 0]]))
        tensor([0.5000])
    """
    best, predicted = outputs.max(dim=2)
    return ((predicted == targets) & ~best.isnan()).float().mean(dim=1)

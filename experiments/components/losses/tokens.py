"""The loss of language models."""

from __future__ import annotations

import torch
from torch.nn import functional

from ..shapes import IGNORED
from . import register_loss
from .counting import counted_targets
from .weighting import class_counts


@register_loss("next_token", source="Shannon, 1948, doi:10.1002/j.1538-7305.1948.tb01338.x", task="tokens")
def next_token(outputs: torch.Tensor, targets: torch.Tensor, *, ignore_index: int = IGNORED) -> torch.Tensor:
    """Cross-entropy between the softmax of the outputs and the tokens that follow, in nats per token.

        loss = mean over examples and positions of  -log softmax(outputs)_target

    Computed in float32 where the outputs have fewer bits.

    Args:
        outputs: unnormalised scores (logits), shape (examples, length, vocabulary).
        targets: the token that follows each, int64, shape (examples, length).
        ignore_index: what stands where nothing is to be predicted, such as padding; by default the data's own, or -100.

    Source: the entropy of a source that is predicted, Shannon, "A mathematical theory of communication", 1948.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.losses import make_loss
        >>> make_loss("next_token")(torch.zeros(1, 2, 4), torch.tensor([[3, 0]]))  # ln 4
        tensor(1.3863)
    """
    scores = outputs.float() if outputs.dtype.itemsize < 4 else outputs
    return functional.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=ignore_index)


def _each(outputs: torch.Tensor, targets: torch.Tensor, ignore_index: int = IGNORED) -> torch.Tensor:
    scores = outputs.float() if outputs.dtype.itemsize < 4 else outputs
    flat = functional.cross_entropy(
        scores.flatten(0, 1), targets.flatten(), ignore_index=ignore_index, reduction="none"
    )
    return flat.reshape(targets.shape)


next_token.count, next_token.each, next_token.counts = counted_targets, _each, class_counts  # type: ignore[attr-defined]

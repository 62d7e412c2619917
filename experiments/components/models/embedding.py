"""A model whose gradients are sparse: a bag of words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...registry.arguments import Count
from . import register_model
from .checks import Problems


def check_bounds(args: Mapping[str, Any]) -> Problems:
    """Refuse a smallest value that is not below the largest."""
    low, high = args.get("bounds", (0, 1))
    return [] if low < high else [("bounds", "the first must be below the second")]


@register_model("bag_of_words", source="Joulin et al., 2017, arXiv:1607.01759", check=check_bounds)
class BagOfWords(nn.Module):
    """Embeddings of words, averaged, and one linear layer; a word is a place in the example with the value found there.

        outputs = W * (mean over places p of E[p, value at p]) + b

    Only the words of the batch have a gradient, which `sparse` hands to the optimizer as such: for sparse_adam, sgd
    and others that take it. Values are rounded to one of `levels`, evenly spaced; digits are 17 levels from 0 to 1
    with `data: {name: digits, scaling: unit}`.

    Args:
        input_shape: the shape of one example; filled in from the data.
        num_outputs: classes, or values per example; filled in from the data.
        levels: values that are told apart at each place.
        bounds: the smallest and the largest of these; what lies beyond counts as the nearer one.
        width: numbers per word.
        sparse: whether the gradient of the embedding is sparse.

    Source: Joulin et al., "Bag of tricks for efficient text classification", 2017.
    """

    first: Tensor  # word of each place

    def __init__(
        self,
        input_shape: tuple[Count, ...],
        num_outputs: Count,
        levels: Count = 17,
        bounds: tuple[float, float] = (0.0, 1.0),
        width: Count = 64,
        sparse: bool = True,
    ):
        super().__init__()
        num_places = math.prod(input_shape)
        self.levels, (self.low, self.high) = levels, bounds
        self.words = nn.EmbeddingBag(num_places * levels, width, mode="mean", sparse=sparse)
        self.head = nn.Linear(width, num_outputs)
        self.register_buffer("first", torch.arange(num_places) * levels, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Score examples; inputs (batch, ...), outputs (batch, num_outputs)."""
        scaled = (inputs.flatten(1) - self.low) / (self.high - self.low) * (self.levels - 1)
        numbers = scaled.round().clamp(0, self.levels - 1).long() + self.first
        return self.head(self.words(numbers))

"""Models of sequences of tokens: inputs int64 (examples, length), outputs (examples, length, vocabulary).

The outputs at each position are scores for the token that follows it, and depend on nothing after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ...registry.arguments import Count, Fraction
from . import register_model
from .checks import Problems
from .transformer import TransformerBlock, check_heads, initialise


def check_tokens(args: Mapping[str, Any]) -> Problems:
    """Refuse examples that are no sequences."""
    input_shape = args.get("input_shape")
    if input_shape is not None and len(input_shape) != 1:
        return [("input_shape", "expected sequences of tokens: [length]")]
    return []


def check_gpt(args: Mapping[str, Any]) -> Problems:
    """Refuse heads that do not divide the width, and examples that are no sequences."""
    return check_heads(args) + check_tokens(args)


@register_model(
    "gpt",
    source="Radford et al., 2019, Language models are unsupervised multitask learners",
    task="tokens",
    check=check_gpt,
)
class Gpt(nn.Module):
    """A decoder-only transformer as GPT-2: learned positions, pre-norm blocks, causal attention.

        parameters = V w + L w + depth (12 w² + 13 w) + 2 w

    for a vocabulary of V, sequences of L tokens and width w, and V w more if not tied. GPT-2 small is width 768, depth
    12 and heads 12, with a vocabulary of 50,257 and 1024 tokens: 124,439,808 parameters. Weights start normal with
    deviation 0.02, those that add to the residual stream with 0.02 / √(2 depth).

    Args:
        input_shape: the number of tokens of a sequence; filled in from the data.
        num_outputs: the size of the vocabulary; filled in from the data.
        width: numbers per token.
        depth: number of blocks.
        heads: of the attention; divides the width.
        dropout: the chance that an attention weight, or a number that is added, is dropped in a training step.
        tied: the scores use the weights of the embedding (Press and Wolf, 2017); false gives them their own.

    Source: Radford, Wu, Child, Luan, Amodei and Sutskever, "Language models are unsupervised multitask learners", 2019.
    """

    def __init__(
        self,
        input_shape: tuple[Count, ...],
        num_outputs: Count,
        width: Count = 128,
        depth: Count = 4,
        heads: Count = 4,
        dropout: Fraction = 0.0,
        tied: bool = True,
    ):
        super().__init__()
        (length,) = input_shape
        self.embedding = nn.Embedding(num_outputs, width)
        self.positions = nn.Embedding(length, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads, True, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_outputs, bias=False)
        if tied:
            self.head.weight = self.embedding.weight
        initialise(self, depth)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        length, longest = tokens.shape[1], self.positions.num_embeddings
        if length > longest:
            raise ValueError(f"the model has {longest} positions, got a sequence of {length} tokens")
        x = self.embedding(tokens) + self.positions.weight[:length]
        return self.head(self.norm(self.blocks(self.dropout(x))))


@register_model(
    "lstm",
    source="Hochreiter and Schmidhuber, 1997, doi:10.1162/neco.1997.9.8.1735",
    task="tokens",
    check=check_tokens,
)
class Lstm(nn.Module):
    """Long short-term memory over tokens, as torch has it: an embedding, LSTM layers, a linear layer.

        parameters = V w + depth (8 w² + 8 w) + V w + V

    for a vocabulary of V and width w. Each sequence starts from a state of zeros. Weights start as torch does it.

    Args:
        input_shape: the number of tokens of a sequence; filled in from the data; any other length works as well.
        num_outputs: the size of the vocabulary; filled in from the data.
        width: numbers per token, and units of each layer.
        depth: number of LSTM layers.
        dropout: the chance that a layer's output is dropped in a training step.

    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997; with the forget gate of Gers, Schmidhuber and
    Cummins, 2000.
    """

    def __init__(
        self,
        input_shape: tuple[Count, ...],
        num_outputs: Count,
        width: Count = 128,
        depth: Count = 1,
        dropout: Fraction = 0.0,
    ):
        super().__init__()
        self.embedding = nn.Embedding(num_outputs, width)
        self.lstm = nn.LSTM(width, width, depth, batch_first=True, dropout=dropout if depth > 1 else 0.0)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_outputs)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states, _ = self.lstm(self.embedding(tokens))
        return self.head(self.dropout(states))

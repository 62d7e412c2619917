"""The parts that the transformers share: attention, the block, and how their weights start."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .checks import Problems


class SelfAttention(nn.Module):
    """Attention of each position to all, or to itself and those before it.

        output = W_o concat over heads of  softmax(q k' / √(width / heads)) v,   [q, k, v] = W x + b

    Args:
        width: numbers per position.
        heads: how many; divides the width.
        causal: no position sees a later one.
        dropout: the chance that an attention weight is dropped in a training step.
    """

    def __init__(self, width: int, heads: int, causal: bool, dropout: float):
        super().__init__()
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.heads, self.causal, self.dropout = heads, causal, dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        examples, length, width = x.shape
        packed = self.query_key_value(x).view(examples, length, 3, self.heads, width // self.heads)
        query, key, value = packed.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, dropout_p=self.dropout if self.training else 0.0, is_causal=self.causal
        )
        return self.out(mixed.transpose(1, 2).reshape(examples, length, width))


class TransformerBlock(nn.Module):
    """Attention and a two-layer perceptron, each after a layer norm and added to its input.

        x = x + attention(norm(x)),   x = x + W_2 gelu(W_1 norm(x) + b_1) + b_2

    Args:
        width: numbers per position; the perceptron's hidden layer has four times as many.
        heads: of the attention.
        causal: no position sees a later one.
        dropout: the chance that an attention weight, or a number that is added, is dropped in a training step.
    """

    def __init__(self, width: int, heads: int, causal: bool, dropout: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, causal, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.down(functional.gelu(self.up(self.norm2(x)))))


def initialise(model: nn.Module, depth: int) -> None:
    """Start weights normal with deviation 0.02, those that add to the residual stream with 0.02 / √(2 depth).

    Biases start at zero, layer norms at one and zero. As in GPT-2.
    """
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            is_added = name.endswith(("attention.out.weight", "down.weight"))
            nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * depth) if is_added else 0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


def check_heads(args: Mapping[str, Any]) -> Problems:
    """Refuse heads that do not divide the width."""
    width, heads = args.get("width", 1), args.get("heads", 1)
    return [("heads", f"expected a divisor of the width {width}")] if "width" in args and width % heads else []

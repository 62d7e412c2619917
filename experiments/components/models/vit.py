"""The vision transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ...registry.arguments import Count, Fraction
from . import register_model
from .transformer import TransformerBlock, check_heads, initialise


class VisionTransformer(nn.Module):
    """Patches as tokens, with a class token in front, through transformer blocks; the class token gives the outputs."""

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_outputs: int,
        *,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        dropout: float,
    ):
        super().__init__()
        num_channels, height, num_columns = input_shape
        self.patches = nn.Conv2d(num_channels, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + (height // patch) * (num_columns // patch), width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads, False, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_outputs)
        initialise(self, depth)
        # On small data positions of 0.02 beside patches of 0.6 are found too late: 85 instead of 94 % on digits.
        nn.init.kaiming_uniform_(self.patches.weight, a=5**0.5)
        nn.init.normal_(self.positions, std=0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), tokens], dim=1)
        tokens = self.blocks(self.dropout(tokens + self.positions))
        return self.head(self.norm(tokens[:, 0]))


def check_vit(args: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say what is wrong with the arguments of `vit`: (argument, message) pairs."""
    problems = check_heads(args, width=64, heads=4)
    input_shape, patch = args.get("input_shape"), args.get("patch", 2)
    if input_shape is not None and len(input_shape) != 3:
        problems.append(("input_shape", "expected images: [channels, height, width]"))
    elif input_shape is not None and (input_shape[1] % patch or input_shape[2] % patch):
        problems.append(("patch", f"expected a divisor of height {input_shape[1]} and width {input_shape[2]}"))
    return problems


@register_model("vit", source="Dosovitskiy et al., 2021, arXiv:2010.11929", check=check_vit)
def vit(
    input_shape: tuple[Count, ...],
    num_outputs: Count,
    patch: Count = 2,
    width: Count = 64,
    depth: Count = 4,
    heads: Count = 4,
    dropout: Fraction = 0.0,
) -> nn.Module:
    """A vision transformer: square patches as tokens, learned positions, a class token, pre-norm blocks.

    With n patches of p numbers, width w and c outputs it has p w + w + (n + 2) w + depth (12 w² + 13 w) + 2 w + w c + c
    parameters. Weights start normal with deviation 0.02, as in GPT-2; the patch layer as torch's convolution does it;
    positions with deviation 0.5, about as large as what comes out of the patch layer for standardised images.

    Args:
        input_shape: channels, height and width of one image; filled in from the data.
        num_outputs: classes, or values per example; filled in from the data.
        patch: height and width of a patch in pixels; divides those of the image.
        width: numbers per token.
        depth: number of blocks.
        heads: of the attention; divides the width.
        dropout: the chance that an attention weight, or a number that is added, is dropped in a training step.

    Source: Dosovitskiy et al., "An image is worth 16x16 words", 2021.
    """
    return VisionTransformer(
        input_shape, num_outputs, patch=patch, width=width, depth=depth, heads=heads, dropout=dropout
    )

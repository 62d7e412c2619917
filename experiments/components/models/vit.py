"""The vision transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ...registry.arguments import Count, Fraction
from . import register_model
from .checks import Problems, check_images
from .transformer import TransformerBlock, check_heads, initialise


def check_vit(args: Mapping[str, Any]) -> Problems:
    """Refuse heads that do not divide the width, examples that are no images, and patches that do not divide these."""
    shape, patch = args.get("input_shape"), args.get("patch", 1)
    problems = check_heads(args) + (unfit := check_images(args))
    if shape is not None and not unfit and (shape[1] % patch or shape[2] % patch):
        problems.append(("patch", f"expected a divisor of height {shape[1]} and width {shape[2]}"))
    return problems


@register_model("vit", source="Dosovitskiy et al., 2021, arXiv:2010.11929", check=check_vit)
class VisionTransformer(nn.Module):
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

    def __init__(
        self,
        input_shape: tuple[Count, ...],
        num_outputs: Count,
        patch: Count = 2,
        width: Count = 64,
        depth: Count = 4,
        heads: Count = 4,
        dropout: Fraction = 0.0,
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

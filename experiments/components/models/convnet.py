"""The plain convolutional network."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from ...registry.arguments import Count
from . import register_model
from .checks import Problems, check_images


class ConvBlock(nn.Module):
    """A 3x3 convolution, batch norm where it is asked for, relu, and the maximum of each 2x2 square.

        output = max_pool(relu(bn(conv(x))))

    Args:
        num_inputs: channels of the input.
        num_outputs: channels of the output.
        normalised: whether there is a batch norm; the convolution then has no bias, which the norm would take away.
    """

    def __init__(self, num_inputs: int, num_outputs: int, normalised: bool):
        super().__init__()
        self.conv = nn.Conv2d(num_inputs, num_outputs, 3, padding=1, bias=not normalised)
        self.norm = nn.BatchNorm2d(num_outputs) if normalised else nn.Identity()
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.max_pool2d(functional.relu(self.norm(self.conv(x))), 2)


def check_convnet(args: Mapping[str, Any]) -> Problems:
    """Refuse examples that are no images, or too small for so many blocks."""
    input_shape, channels = args.get("input_shape"), args.get("channels", ())
    problems = check_images(args)
    if input_shape is not None and not problems and min(input_shape[1:]) >> len(channels) == 0:
        least = 2 ** len(channels)
        return [("input_shape", f"{len(channels)} blocks halve images of at least {least} by {least} pixels")]
    return problems


@register_model("convnet", source="LeCun et al., 1998, doi:10.1109/5.726791", check=check_convnet)
class ConvNet(nn.Module):
    """A plain convolutional network: blocks of convolution, batch norm, relu and pooling, then one linear layer.

    Each block halves height and width, an odd last row or column left out. Convolutions are 3x3 with a border of
    zeros, and start as in He et al., 2015: normal, with variance 2 / (9 * output channels).

    Args:
        input_shape: channels, height and width of one image; filled in from the data.
        num_outputs: classes, or values per example; filled in from the data.
        channels: output channels of the blocks, one number for each.
        norm: `batch` puts a batch norm after each convolution, which then has no bias; `none` leaves it out.

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998; batch
    norm: Ioffe and Szegedy, 2015.
    """

    def __init__(
        self,
        input_shape: tuple[Count, ...],
        num_outputs: Count,
        channels: tuple[Count, ...] = (32, 64),
        norm: Literal["batch", "none"] = "batch",
    ):
        super().__init__()
        normalised = norm == "batch"
        num_channels, height, width = input_shape
        sizes = (num_channels, *channels)
        self.blocks = nn.Sequential(*(ConvBlock(inputs, outputs, normalised) for inputs, outputs in pairwise(sizes)))
        pixels = (height >> len(channels)) * (width >> len(channels))
        self.head = nn.Linear(sizes[-1] * pixels, num_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(x).flatten(1))

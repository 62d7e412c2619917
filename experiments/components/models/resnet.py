"""The residual network for small images."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ...registry.arguments import Count
from . import register_model
from .checks import check_depth
from .stages import initialise_convolutions, stages


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to their input.

        output = relu(x' + bn(conv(relu(bn(conv(x))))))

    Where the block changes shape, x' is every `stride`-th pixel of x, with channels of zeros added on both sides: the
    parameter-free shortcut, option A of the paper.

    Args:
        num_inputs: channels of the input.
        num_outputs: channels of the output, at least as many.
        stride: of the first convolution.
    """

    def __init__(self, num_inputs: int, num_outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(num_inputs, num_outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(num_outputs)
        self.conv2 = nn.Conv2d(num_outputs, num_outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(num_outputs)
        self.stride = stride
        extra = num_outputs - num_inputs
        self.padding = (0, 0, 0, 0, extra // 2, extra - extra // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        residual = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        residual = self.norm2(self.conv2(residual))
        if any(self.padding):
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], self.padding)
        return functional.relu(residual + x, inplace=True)


@register_model(
    "resnet", source="He et al., 2016, arXiv:1512.03385, section 4.2", check=check_depth(2, "8, 14, 20, 26, 32")
)
class ResNet(nn.Module):
    """The residual network for small images, with parameter-free shortcuts.

    Depth 20 and width 16 are the paper's smallest network for CIFAR-10, of 269,722 parameters. Convolutions start as
    in He et al., 2015: normal, with variance 2 / (9 * output channels).

    Args:
        input_shape: channels, height and width of one image; filled in from the data.
        num_outputs: classes, or values per example; filled in from the data.
        depth: layers with weights, 6 n + 2: n blocks in each of three stages.
        width: channels of the first stage; the others have twice and four times as many.

    Source: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016, section 4.2.
    """

    def __init__(self, input_shape: tuple[Count, ...], num_outputs: Count, depth: Count = 8, width: Count = 8):
        super().__init__()
        self.conv = nn.Conv2d(input_shape[0], width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        shapes = stages((width, width, 2 * width, 4 * width), (depth - 2) // 6)
        self.blocks = nn.Sequential(*(ResidualBlock(*shape) for shape in shapes))
        self.head = nn.Linear(4 * width, num_outputs)
        initialise_convolutions(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.norm(self.conv(x)), inplace=True)
        return self.head(self.blocks(x).mean(dim=(2, 3)))

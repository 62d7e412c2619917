"""Residual networks with batch norm and activation before each convolution: TensorFlow's recipe, and wide ones."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from ...registry.arguments import Count, Fraction, NonNegative
from . import register_model
from .checks import check_depth
from .stages import initialise_convolutions, stages


class PreactivationBlock(nn.Module):
    """Two 3x3 convolutions, each after batch norm and activation, added to their input.

        h = activation(bn(x)),   output = conv(activation(bn(conv(h)))) + shortcut(x)

    Args:
        num_inputs: channels of the input.
        conv1: the first convolution, which may change the shape.
        shortcut: brings the input into the shape of the output.
        shared: the shortcut starts at h instead of x.
        slope: of the activation for negative numbers; 0 is relu.
        dropout: the chance that a number between the convolutions is dropped in a training step.
    """

    def __init__(
        self, num_inputs: int, conv1: nn.Conv2d, shortcut: nn.Module, *, shared: bool, slope: float, dropout: float
    ):
        super().__init__()
        num_outputs = conv1.out_channels
        self.norm1 = nn.BatchNorm2d(num_inputs)
        self.conv1 = conv1
        self.norm2 = nn.BatchNorm2d(num_outputs)
        self.conv2 = nn.Conv2d(num_outputs, num_outputs, 3, padding=1, bias=False)
        self.shortcut = shortcut
        self.shared, self.slope, self.dropout = shared, slope, dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        active = functional.leaky_relu(self.norm1(x), self.slope)
        residual = functional.leaky_relu(self.norm2(self.conv1(active)), self.slope)
        if self.dropout:
            residual = functional.dropout(residual, self.dropout, self.training)
        return self.conv2(residual) + self.shortcut(active if self.shared else x)


class SameConv(nn.Conv2d):
    """A 3x3 convolution with TensorFlow's `SAME` border: at stride 2, an even size gets zeros after its end only."""

    def __init__(self, num_inputs: int, num_outputs: int, stride: int):
        super().__init__(num_inputs, num_outputs, 3, stride, padding=1 if stride == 1 else 0, bias=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if self.stride[0] == 2:
            height, width = input.shape[2:]
            input = functional.pad(input, (width % 2, 1, height % 2, 1))
        return super().forward(input)


class PooledShortcut(nn.Module):
    """The mean of each square of `stride` pixels, with channels of zeros added on both sides."""

    def __init__(self, num_inputs: int, num_outputs: int, stride: int):
        super().__init__()
        extra = num_outputs - num_inputs
        self.stride, self.padding = stride, (0, 0, 0, 0, extra // 2, extra - extra // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.pad(functional.avg_pool2d(x, self.stride, ceil_mode=True), self.padding)


class PreactivationNet(nn.Module):
    """A first convolution, three stages of blocks, batch norm, activation, the mean over pixels, and a linear layer.

    Args:
        num_channels: of the images.
        num_outputs: of the linear layer.
        widths: channels of the first convolution and of each stage.
        blocks_per_stage: how many; the first block of each stage but the first halves height and width.
        block: (number of inputs, number of outputs, stride, whether it is the very first) -> block.
        slope: of the last activation for negative numbers.
    """

    def __init__(
        self,
        num_channels: int,
        num_outputs: int,
        widths: tuple[int, int, int, int],
        blocks_per_stage: int,
        block: Callable[[int, int, int, bool], PreactivationBlock],
        slope: float = 0.0,
    ):
        super().__init__()
        self.conv = nn.Conv2d(num_channels, widths[0], 3, padding=1, bias=False)
        shapes = enumerate(stages(widths, blocks_per_stage))
        self.blocks = nn.Sequential(*(block(*shape, position == 0) for position, shape in shapes))
        self.norm = nn.BatchNorm2d(widths[3])
        self.head = nn.Linear(widths[3], num_outputs)
        self.slope = slope
        initialise_convolutions(self)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.leaky_relu(self.norm(self.blocks(self.conv(x))), self.slope)
        return self.head(x.mean(dim=(2, 3)))


@register_model(
    "preact_resnet",
    source="He et al., 2016, arXiv:1603.05027; TensorFlow's model garden, research/resnet/resnet_model.py",
    check=check_depth(2, "8, 14, 20, 26, 32"),
)
def preact_resnet(
    input_shape: tuple[Count, ...],
    num_outputs: Count,
    depth: Count = 32,
    width: Count = 16,
    slope: NonNegative = 0.1,
) -> nn.Module:
    """The pre-activation residual network of TensorFlow's CIFAR recipe.

    Leaky relu, and shortcuts without parameters: where a block changes shape, the mean of each 2x2 square, with
    channels of zeros around; the first block's shortcut starts after its activation. Convolutions start normal with
    variance 2 / (9 * output channels), the last layer uniform within ±√(3 / inputs), its bias at zero. Depth 32 and
    width 16 have 464,154 parameters. TensorFlow's batch norm, with epsilon 0.001, is the update `tf_batch_norm`.

    Args:
        input_shape: channels, height and width of one image; filled in from the data.
        num_outputs: classes, or values per example; filled in from the data.
        depth: layers with weights, 6 n + 2: n blocks in each of three stages.
        width: channels of the first stage; the others have twice and four times as many.
        slope: of the leaky relu for negative numbers; 0 is relu.

    Source: He, Zhang, Ren and Sun, "Identity mappings in deep residual networks", 2016; figures and details as in
    research/resnet of TensorFlow's model garden.
    """

    def block(num_inputs: int, num_outputs: int, stride: int, is_first: bool) -> PreactivationBlock:
        changes = num_inputs != num_outputs
        shortcut = PooledShortcut(num_inputs, num_outputs, stride) if changes else nn.Identity()
        conv = SameConv(num_inputs, num_outputs, stride)
        return PreactivationBlock(num_inputs, conv, shortcut, shared=is_first, slope=slope, dropout=0.0)

    widths = (width, width, 2 * width, 4 * width)
    model = PreactivationNet(input_shape[0], num_outputs, widths, (depth - 2) // 6, block, slope)
    bound = math.sqrt(3 / (4 * width))
    nn.init.uniform_(model.head.weight, -bound, bound)
    return model


@register_model(
    "wide_resnet", source="Zagoruyko and Komodakis, 2016, arXiv:1605.07146", check=check_depth(4, "10, 16, 22, 28")
)
def wide_resnet(
    input_shape: tuple[Count, ...],
    num_outputs: Count,
    depth: Count = 16,
    widen: Count = 4,
    dropout: Fraction = 0.0,
) -> nn.Module:
    """The wide residual network WRN-depth-widen: fewer layers than a thin one of its size, and faster.

    Shortcuts are 1x1 convolutions where a block changes shape. Convolutions start normal with variance
    2 / (kernel area * output channels). WRN-28-10 has 36.5 million parameters.

    Args:
        input_shape: channels, height and width of one image; filled in from the data.
        num_outputs: classes, or values per example; filled in from the data.
        depth: 6 n + 4: n blocks in each of three stages.
        widen: how many times wider than 16, 32 and 64 channels the stages are.
        dropout: the chance that a number between a block's two convolutions is dropped in a training step.

    Source: Zagoruyko and Komodakis, "Wide residual networks", 2016.
    """

    def block(num_inputs: int, num_outputs: int, stride: int, is_first: bool) -> PreactivationBlock:
        changes = num_inputs != num_outputs
        shortcut = nn.Conv2d(num_inputs, num_outputs, 1, stride, bias=False) if changes else nn.Identity()
        conv = nn.Conv2d(num_inputs, num_outputs, 3, stride, padding=1, bias=False)
        return PreactivationBlock(num_inputs, conv, shortcut, shared=changes, slope=0.0, dropout=dropout)

    widths = (16, 16 * widen, 32 * widen, 64 * widen)
    return PreactivationNet(input_shape[0], num_outputs, widths, (depth - 4) // 6, block)

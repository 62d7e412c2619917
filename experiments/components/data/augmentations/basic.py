"""Noise and shifts."""

from __future__ import annotations

import torch

from ....registry.arguments import Count, NonNegative
from . import register_augmentation
from .images import image_shape, windows


@register_augmentation("noise", source="Bishop, 1995, doi:10.1162/neco.1995.7.1.108")
def noise(inputs: torch.Tensor, generator: torch.Generator, *, std: NonNegative = 0.1) -> torch.Tensor:
    """Add independent Gaussian noise to every number.

    Args:
        inputs: a batch, any shape.
        generator: where the noise comes from.
        std: its standard deviation, in units of the inputs.

    Source: Bishop, "Training with noise is equivalent to Tikhonov regularization", 1995.
    """
    drawn = torch.randn(inputs.shape, generator=generator, device=inputs.device, dtype=inputs.dtype)
    return inputs.addcmul(drawn, drawn.new_tensor(std))


@register_augmentation("shift", source="LeCun et al., 1998, doi:10.1109/5.726791")
def shift(inputs: torch.Tensor, generator: torch.Generator, *, pixels: Count = 1, fill: float = 0.0) -> torch.Tensor:
    """Move each image by a whole number of pixels, up to `pixels` in each direction.

    Args:
        inputs: images, shape (examples, channels, height, width).
        generator: where the shifts come from.
        pixels: the longest shift, across and down.
        fill: the value of the border that comes in; 0 is the mean of standardised images.

    Raises:
        UsageError: the inputs are no images.

    Source: the translations of LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
    recognition", 1998.
    """
    image_shape("shift", inputs)
    return windows(inputs, generator, pixels, fill)

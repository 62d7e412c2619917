"""Augmentations of images: crops, mirrored and cut-out ones, and the standardisation of each by itself."""

from __future__ import annotations

import torch
from torch.nn import functional

from ....errors import UsageError
from ....registry.arguments import Count, Fraction
from . import register_augmentation


@register_augmentation("crop", source="He et al., 2016, section 4.2, doi:10.1109/CVPR.2016.90")
def crop(inputs: torch.Tensor, generator: torch.Generator, *, padding: Count = 4, fill: float = 0.0) -> torch.Tensor:
    """Pad each image on all sides, and cut a random piece of its old size out of it.

    Args:
        inputs: images, shape (examples, channels, height, width).
        generator: where the places come from.
        padding: pixels on each side; 2 is TensorFlow's recipe for CIFAR-10 (32 to 36 and back), 4 that of the paper.
        fill: the value of the padding; black, 0, on images that are not standardised yet.

    Raises:
        UsageError: the inputs are no images.

    Source: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016, section 4.2.
    """
    image_shape("crop", inputs)
    return windows(inputs, generator, padding, fill)


def windows(inputs: torch.Tensor, generator: torch.Generator, padding: int, fill: float) -> torch.Tensor:
    """Return one random window of the old size for each padded image."""
    num, channels, height, width = inputs.shape
    padded = functional.pad(inputs, (padding,) * 4, value=fill)
    tops, lefts = torch.randint(2 * padding + 1, (2, num, 1, 1), generator=generator, device=inputs.device)
    line, size = width + 2 * padding, padded.shape[2] * padded.shape[3]
    planes = torch.arange(num * channels, device=inputs.device).reshape(num, channels, 1) * size
    starts = planes + (tops + torch.arange(height, device=inputs.device)) * line + lefts
    # Every stretch of `width` numbers as a row, none of them copied: so whole lines are gathered, not single numbers.
    stretches = padded.as_strided((padded.numel() - width + 1, width), (1, 1))
    return stretches.index_select(0, starts.reshape(-1)).reshape(inputs.shape)


@register_augmentation("flip", source="Krizhevsky et al., 2012, section 4.1, doi:10.1145/3065386")
def flip(inputs: torch.Tensor, generator: torch.Generator, *, probability: Fraction = 0.5) -> torch.Tensor:
    """Mirror each image, left to right, with some probability.

    Args:
        inputs: images, shape (examples, channels, height, width).
        generator: what decides.
        probability: that an image is mirrored.

    Raises:
        UsageError: the inputs are no images.

    Source: the reflections of Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional
    neural networks", 2012.
    """
    num = image_shape("flip", inputs)[0]
    mirrored = torch.rand(num, generator=generator, device=inputs.device) < probability
    if inputs.device.type != "cpu":  # there it costs a wait to learn which they are
        return torch.where(mirrored[:, None, None, None], inputs.flip(3), inputs)
    chosen = mirrored.nonzero()[:, 0]
    return inputs.index_copy(0, chosen, inputs.index_select(0, chosen).flip(3))


@register_augmentation("standardise", source="TensorFlow, tf.image.per_image_standardization", evaluation=True)
def standardise(inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Give each image mean 0 and standard deviation 1, in training and in evaluation alike.

        (x - mean(x)) / max(std(x), 1 / √n)

    Mean and standard deviation are over all n numbers of the one image, channels included; the bound keeps images of
    one colour from a division by 0.

    Args:
        inputs: a batch, shape (examples, …).
        generator: not asked.

    Source: TensorFlow's documentation of tf.image.per_image_standardization.
    """
    flat = inputs.flatten(1)
    centred = flat - flat.mean(1, keepdim=True)
    root = flat.shape[1] ** 0.5
    std = torch.linalg.vector_norm(centred, dim=1, keepdim=True) / root
    return centred.div_(std.clamp_(min=1 / root)).reshape(inputs.shape)


@register_augmentation("cutout", source="DeVries and Taylor, 2017, arXiv:1708.04552")
def cutout(inputs: torch.Tensor, generator: torch.Generator, *, size: Count = 16, fill: float = 0.0) -> torch.Tensor:
    """Blank a square at a random place of each image; what lies beyond the border is lost.

    Args:
        inputs: images, shape (examples, channels, height, width).
        generator: where the centres come from; every pixel is as likely.
        size: the side of the square, in pixels; 16 is the paper's for CIFAR-10.
        fill: what the square is filled with; 0 is the mean of standardised images.

    Raises:
        UsageError: the inputs are no images, or the square is as large as they are.

    Source: DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017.
    """
    num, _, height, width = image_shape("cutout", inputs)
    if size >= min(height, width):
        raise UsageError(f"cutout of {size} pixels would blank whole images of {height}x{width}: give a smaller size")

    def inside(length: int) -> torch.Tensor:
        centres = torch.randint(length, (num, 1), generator=generator, device=inputs.device)
        offsets = torch.arange(length, device=inputs.device) - (centres - size // 2)
        return (offsets >= 0) & (offsets < size)

    hole = inside(height)[:, None, :, None] & inside(width)[:, None, None, :]
    return inputs.masked_fill(hole, fill)


def image_shape(name: str, inputs: torch.Tensor) -> torch.Size:
    """Return the shape of a batch of images, and refuse anything else."""
    if inputs.dim() != 4:
        shape = tuple(inputs.shape)
        raise UsageError(f"{name} needs images, shape (examples, channels, height, width), got {shape}")
    return inputs.shape

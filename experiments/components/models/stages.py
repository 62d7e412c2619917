"""The parts that the convolutional networks share: how their stages are laid out, and how their weights start."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def stages(widths: tuple[int, int, int, int], blocks_per_stage: int) -> Iterator[tuple[int, int, int]]:
    """Yield channels in, channels out and stride of each block of three stages.

    The first block of the second and of the third stage halves height and width.

    Args:
        widths: channels before the first stage, and of each stage.
        blocks_per_stage: how many.
    """
    for stage in (1, 2, 3):
        for position in range(blocks_per_stage):
            yield (
                widths[stage] if position else widths[stage - 1],
                widths[stage],
                2 if stage > 1 and not position else 1,
            )


def initialise_convolutions(model: nn.Module) -> None:
    """Start the weights of all convolutions normal, with variance 2 / (kernel area * output channels).

    Source: He et al., "Delving deep into rectifiers", 2015.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

"""The auto-encoder."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

from torch import nn

from ...registry.arguments import Count
from . import register_model
from .checks import Problems
from .dense import ACTIVATIONS


def check_autoencoder(args: Mapping[str, Any]) -> Problems:
    """Refuse a missing code layer, and outputs that are not as many as inputs."""
    problems = []
    input_shape, num_outputs, hidden = args.get("input_shape"), args.get("num_outputs"), args.get("hidden")
    if hidden is not None and not hidden:
        problems.append(("hidden", "expected at least one layer: the code"))
    if None not in (input_shape, num_outputs) and math.prod(input_shape or ()) != num_outputs:
        size = math.prod(input_shape or ())
        problems.append(("num_outputs", f"expected {size}, the size of the input that is reproduced"))
    return problems


@register_model(
    "autoencoder",
    source="Hinton and Salakhutdinov, 2006, doi:10.1126/science.1127647",
    check=check_autoencoder,
)
def autoencoder(
    input_shape: tuple[Count, ...],
    num_outputs: Count,
    hidden: tuple[Count, ...] = (128, 32),
    activation: Literal["relu", "tanh", "gelu", "silu"] = "relu",
) -> nn.Module:
    """A multi-layer perceptron that reproduces its input through a narrow layer, the code.

        input -> hidden[0] -> … -> hidden[-1] -> … -> hidden[0] -> input

    The code, hidden[-1], is linear. The targets are the inputs, flattened: `targets: image` of the data set digits.
    Weights start as torch's Linear does it.

    Args:
        input_shape: the shape of one example; filled in from the data.
        num_outputs: the size of one example; filled in from the data.
        hidden: units of the encoder's layers; the last is the code, and the decoder mirrors them.
        activation: the function after each layer but the code and the outputs.

    Source: Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks", 2006.
    """
    encoder = _layers((math.prod(input_shape), *hidden), activation)
    decoder = _layers((*reversed(hidden), num_outputs), activation)
    return nn.Sequential(OrderedDict(flatten=nn.Flatten(), encoder=encoder, decoder=decoder))


def _layers(sizes: tuple[int, ...], activation: str) -> nn.Sequential:
    """Return linear layers with an activation between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [ACTIVATIONS[activation]()] if layers else []
        layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers)

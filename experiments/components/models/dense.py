"""Models without structure: logistic regression and the multi-layer perceptron."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

from ...registry.arguments import Count, Fraction
from . import register_model

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU}


@register_model("logistic", source="Cox, 1958, doi:10.1111/j.2517-6161.1958.tb00292.x")
def logistic(input_shape: tuple[Count, ...], num_outputs: Count) -> nn.Module:
    """One linear layer, starting at zero: logistic regression under cross_entropy, linear regression under mse.

        outputs = W x + b

    Both problems are convex, so that the optimum is known and the start does not matter.

    Args:
        input_shape: the shape of one example; filled in from the data.
        num_outputs: classes, or values per example; filled in from the data.

    Source: Cox, "The regression analysis of binary sequences", 1958.
    """
    layer = nn.Linear(math.prod(input_shape), num_outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(nn.Flatten(), layer)


@register_model("mlp", source="Rumelhart, Hinton and Williams, 1986, doi:10.1038/323533a0")
def mlp(
    input_shape: tuple[Count, ...],
    num_outputs: Count,
    hidden: tuple[Count, ...] = (128,),
    activation: Literal["relu", "tanh", "gelu", "silu"] = "relu",
    dropout: Fraction = 0.0,
) -> nn.Module:
    """A multi-layer perceptron: fully connected layers with an activation after each but the last.

    Weights start as torch's Linear does it: uniform within ±1/√(number of inputs).

    Args:
        input_shape: the shape of one example; filled in from the data.
        num_outputs: classes, or values per example; filled in from the data.
        hidden: units per hidden layer; an empty list leaves one linear layer.
        activation: the function after each hidden layer.
        dropout: the chance that a hidden unit is dropped in a training step.

    Source: Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors", 1986.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(input_shape)
    for units in hidden:
        layers += [nn.Linear(width, units), ACTIVATIONS[activation]()]
        layers += [nn.Dropout(dropout)] if dropout else []
        width = units
    return nn.Sequential(*layers, nn.Linear(width, num_outputs))

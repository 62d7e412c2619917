"""The words that select parameters by the kind of their layer: norm, conv, linear, embedding."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import nn

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_OTHERS = (nn.modules.conv._ConvNd, nn.Linear, nn.Bilinear, nn.Embedding, nn.EmbeddingBag)
_CALLED_NORM = re.compile(r".*norm([123]d)?", re.IGNORECASE)


def is_norm(layer: nn.Module) -> bool:
    """Return True if a layer normalises what it is given, so that its parameters are scales and shifts.

    These are torch's norms and what is derived from them; and classes whose name ends in Norm (or Norm1d, Norm2d,
    Norm3d), whose own parameters are vectors, and which are no convolution, linear layer or embedding. A class that
    says `is_norm = True` or `False` decides for itself.
    """
    said = getattr(type(layer), "is_norm", None)
    if isinstance(said, bool):
        return said
    if isinstance(layer, _NORMS):
        return True
    if isinstance(layer, _OTHERS) or not _CALLED_NORM.fullmatch(type(layer).__name__):
        return False
    return all(sum(size > 1 for size in own.shape) <= 1 for own in layer.parameters(recurse=False))


#: By word, whether a layer is of that kind.
LAYERS: Mapping[str, Callable[[nn.Module], bool]] = {
    "norm": is_norm,
    "conv": lambda layer: isinstance(layer, nn.modules.conv._ConvNd),
    "linear": lambda layer: isinstance(layer, nn.Linear | nn.Bilinear),
    "embedding": lambda layer: isinstance(layer, nn.Embedding | nn.EmbeddingBag),
}
WORDS = ("bias", *LAYERS)

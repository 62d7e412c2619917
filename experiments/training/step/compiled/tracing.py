"""Functions of tensors as graphs of torch's elementary operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .cannot import explained


def traced(function: Callable[..., Any], examples: Sequence[Tensor]) -> torch.fx.GraphModule:
    """Return what a function does to such tensors, as a graph; nothing is computed.

    Raises:
        CannotCompile: it cannot be traced.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    with explained("tracing"):
        return make_fx(function, tracing_mode="fake")(*(example.detach() for example in examples))

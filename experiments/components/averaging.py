"""Averages of the weights, which evaluation borrows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Averaging:
    """Mixed into an optimizer whose result is an average of the weights that it trains, or an update that keeps one.

    Evaluation borrows the average (`swapped`); checkpoints and the next step see the training weights alone.
    """

    def averages(self) -> list[tuple[Tensor, Tensor]]:
        """Return each parameter that has an average, with it."""
        raise NotImplementedError

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Give the model the averages for the length of a `with` block, and put its weights back after."""
        with torch.no_grad():
            pairs = [(parameter, parameter.detach().clone(), average) for parameter, average in self.averages()]
            for parameter, _, average in pairs:
                parameter.copy_(average)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, own, _ in pairs:
                    parameter.copy_(own)

"""No data at all, in the form of data."""

from __future__ import annotations

import torch

from ...registry.arguments import Count
from . import register_data
from .dataset import Dataset


@register_data("none", source="test functions are minimised without data: Moré et al., 1981, doi:10.1145/355934.355936")
def none(num_examples: Count = 1000) -> Dataset:
    """No data: examples that are all the same number 0, for models that are functions of their weights alone.

    There are examples so that there are batches, epochs and a train, val and test part; val/loss is the function's
    value. The batch size matters only to a model whose noise depends on it.

    Args:
        num_examples: how many.

    Source: the setting of Moré, Garbow and Hillstrom, "Testing unconstrained optimization software", 1981.
    """
    zeros = torch.zeros(num_examples, 1)
    return Dataset(
        inputs=zeros,
        targets=zeros,
        task="none",
        num_outputs=1,
        description=f"no data: {num_examples} examples that are all 0",
    )

"""What a traced graph writes to, by kinds of writing; nothing is compiled."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from optrun.experiments.training.step.compiled.tracing import traced, written


def statistics(inputs, mean, variance):
    return nn.functional.batch_norm(inputs, mean, variance, training=True)


@pytest.mark.parametrize(
    ("function", "places"),
    [
        (lambda a, b, c: a + b + c, ()),
        (lambda a, b, c: c.add_(1), (2,)),
        (lambda a, b, c: a[0].mul_(2), (0,)),
        (lambda a, b, c: a.t().reshape(-1)[:2].zero_(), ()),  # a reshape of a transposed matrix is a copy
        (lambda a, b, c: a.view(-1)[:2].zero_(), (0,)),
        (lambda a, b, c: a.unbind(1)[1].copy_(b[:3]), (0,)),
        (lambda a, b, c: torch._foreach_add_([b, c], 1.0), (1, 2)),
        (lambda a, b, c: nn.functional.relu(a, inplace=True) + b, (0,)),
        (lambda a, b, c: a.clone().add_(1), ()),
        (statistics, (1, 2)),
        (lambda a, b, c: nn.functional.batch_norm(a, b, c, training=False), ()),
    ],
)
def test_inputs_that_are_written_to_are_found(function, places):
    examples = [torch.randn(3, 4), torch.zeros(4), torch.ones(4)]
    kept = [example.clone() for example in examples]
    graph = traced(function, examples)
    assert all(map(torch.equal, examples, kept))  # tracing computes nothing
    assert written(graph) == places
    copies = [example.clone() for example in examples]
    function(*copies)
    really = tuple(place for place, pair in enumerate(zip(copies, kept, strict=True)) if not torch.equal(*pair))
    assert set(really) <= set(places)

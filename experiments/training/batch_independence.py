"""A look at losses and metrics of the user's own: is what they say of a whole that of its parts, however it is cut?"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..components.data import DrawnBatches, StreamBatches
from ..components.data.tree import batch_size, mapped, rows
from ..components.losses.counting import Counting
from ..components.metrics import metric_value, rows_of
from ..config import ComponentConfig, Config
from ..config.located import located
from .evaluator import Evaluator, evaluation_mode
from .model_call import hands_targets

_NUM_EXAMPLES = 33  # that are measured, whole and in two unequal parts


def check_independence(config: Config, evaluator: Evaluator, batches: DrawnBatches | StreamBatches) -> list[str]:
    """Refuse metrics whose result would depend on the evaluation's batches; return notes on a loss that does.

    Only what is the user's own is asked, copies of it, on a few examples and with the weights as they are at first.

    Raises:
        ConfigError: a metric gives something else than one value per example, or one that others in the batch change.
    """
    model, loss, metrics = evaluator.model, evaluator.loss, evaluator.metrics
    own = [(name, part) for name, part in zip(metrics, config.metrics, strict=True) if _is_users(part)]
    is_cut = config.train.accumulate > 1 or (batches.num_examples or math.inf) > config.data.eval_batch_size
    is_of_model = bool(hands_targets(loss))
    asks_loss = (_is_users(config.loss) or is_of_model) and is_cut
    if not own and not asks_loss:
        return []
    inputs, targets = batches.examples(0, _NUM_EXAMPLES)
    size = batch_size(inputs, targets)
    cut = size // 3
    if not cut:
        return []
    notes = []
    with evaluation_mode(model, loss, *metrics.values()), torch.set_grad_enabled(evaluator.gradients):
        outputs = _telling_outputs(model, lambda model: evaluator.call(model, inputs, targets))
        for name, part in own:
            with located(config, part.path):
                _check_metric(copy.deepcopy(metrics[name]), outputs, targets, (cut, size), name)
                _check_memory(metrics[name], outputs, targets, (cut, size), name)
        if asks_loss:
            with contextlib.suppress(Exception):  # training meets it too, and says where
                halves = (_first(outputs, cut), _from(outputs, cut))
                if is_of_model:  # its outputs are the loss of all that it was given
                    cuts = ((0, cut), (cut, size))
                    halves = tuple(
                        evaluator.call(model, rows(inputs, *ends, size), rows(targets, *ends, size)) for ends in cuts
                    )
                notes += _note_on_loss(copy.deepcopy(loss), (outputs, halves), targets, (cut, size), config)
    return notes


def _telling_outputs(model: nn.Module, call: Callable[[nn.Module], Any]) -> Any:
    """Return a model's outputs; a changed copy's where weights of 0 make them the same for all examples."""
    outputs = call(model)
    if not isinstance(outputs, Tensor) or not outputs.dim() or not bool((outputs == outputs[:1]).all()):
        return outputs
    other, generator = copy.deepcopy(model), torch.Generator().manual_seed(0)
    for parameter in other.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
        parameter.data.add_(noise.to(parameter.device, parameter.dtype), alpha=0.5)
    return call(other)


def _is_users(part: ComponentConfig) -> bool:
    return part.component.code is not None or bool(part.component.modules)


def _check_metric(metric: Callable[..., Tensor], outputs: Any, targets: Any, sizes: tuple[int, int], name: str) -> None:
    cut, size = sizes
    whole = rows_of(metric, outputs, targets, name, size)
    part = rows_of(metric, _first(outputs, cut), rows(targets, 0, cut, size), name, cut)
    if not torch.allclose(whole[:cut].double(), part.double(), rtol=1e-3, atol=1e-6, equal_nan=True):
        raise ValueError(
            f"what {name} gives for an example changes with the others in its batch, so that the result would depend "
            "on data.eval_batch_size: return what is summed over the examples, and make the value of the means in "
            "`finish` (docs/python.md)"
        )


def _check_memory(metric: Callable[..., Tensor], outputs: Any, targets: Any, sizes: tuple[int, int], name: str) -> None:
    """Refuse a metric whose value depends on what it was asked before, in this evaluation or in earlier ones."""

    cut, size = sizes

    def value(asked: Callable[..., Tensor]) -> float:
        return metric_value(asked, rows_of(asked, outputs, targets, name, size).detach().double().mean(0))

    fresh, used = copy.deepcopy(metric), copy.deepcopy(metric)
    expected = value(fresh)
    rows_of(used, _first(outputs, cut), rows(targets, 0, cut, size), name, cut)
    for found in (value(used), value(fresh)):
        is_same = math.isclose(found, expected, rel_tol=1e-3, abs_tol=1e-6)
        if not is_same and not (math.isnan(found) and math.isnan(expected)):
            raise ValueError(
                f"{name} comes to {expected:.4g} of {size} examples, and to {found:.4g} of the same ones after "
                "it was asked before: it keeps something between calls, or draws, so that the result would depend on "
                "earlier evaluations. Return what is summed over the examples, and make the value of the means in "
                "`finish` (docs/python.md)"
            )


def _note_on_loss(
    loss: Callable[..., Tensor], made: tuple[Any, tuple[Any, ...]], targets: Any, sizes: tuple[int, int], config: Config
) -> list[str]:
    (cut, size), (outputs, halves) = sizes, made
    counting, parts = Counting(loss), (rows(targets, 0, cut, size), rows(targets, cut, size, size))
    weights = counting.weights(parts, [cut, size - cut])
    whole = loss(outputs, targets).double()
    summed = sum(
        weight * loss(half, part).double() for weight, half, part in zip(weights, halves, parts, strict=True) if weight
    )
    if torch.allclose(whole, torch.as_tensor(summed).double(), rtol=1e-3, atol=1e-6, equal_nan=True):
        return []
    way = "`count(targets)` (docs/python.md)"
    if hands_targets(loss):
        way = "`mean_over: targets`, or `next_targets`, those that are not -100 (docs/models.md)"
    note = (
        f"{config.loss.label} is no mean over the examples: {whole.item():.4g} of {size} examples at once, "
        f"{float(summed):.4g} of two parts of them. In micro-batches and in evaluation it is weighted by examples; "
        f"if its mean is over something else, say so: {way}"
    )
    return [note]


def _first(outputs: Any, cut: int) -> Any:
    return mapped(outputs, lambda tensor: tensor[:cut] if tensor.dim() else tensor)


def _from(outputs: Any, cut: int) -> Any:
    return mapped(outputs, lambda tensor: tensor[cut:] if tensor.dim() else tensor)

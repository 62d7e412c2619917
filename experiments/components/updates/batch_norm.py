"""Batch norm whose running statistics are updated by the train op, as in TensorFlow 1, not by the forward pass."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor, nn

from ...errors import UsageError
from ...registry.arguments import Decay, Positive
from . import Update, register_update

Variance = Literal["biased", "unbiased"]


class GroupedBatchNorm(nn.Module):
    """A batch norm layer that notes the statistics of each training batch instead of updating its running ones.

    It takes over the parameters and buffers of the layer that it replaces, under the same names.

    Args:
        layer: the torch layer to replace.
        eps: added to the variance, or None for the layer's own.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, layer: nn.modules.batchnorm._BatchNorm, eps: float | None):
        super().__init__()
        self.eps = layer.eps if eps is None else eps
        self.weight, self.bias = layer.weight, layer.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(layer, name))
        self.noted: list[tuple[Tensor, Tensor, int]] = []
        self.noting = True

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalise per channel; inputs (batch, channels, ...)."""
        if not self.training:
            return F.batch_norm(inputs, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        if not self.noting:
            return F.batch_norm(inputs, None, None, self.weight, self.bias, training=True, eps=self.eps)
        with torch.no_grad():
            axes = [axis for axis in range(inputs.dim()) if axis != 1]
            variance, mean = torch.var_mean(inputs.float(), axes, correction=0)
            self.noted.append((mean, variance, inputs.numel() // inputs.shape[1]))
        return F.batch_norm(inputs, None, None, self.weight, self.bias, training=True, eps=self.eps)

    def take_noted(self, kind: Variance) -> tuple[Tensor, Tensor] | None:
        """Return mean and variance of all that was noted since the last call, as if it were one batch."""
        noted, self.noted, self.noting = self.noted, [], True
        if not noted:
            return None
        if len(noted) == 1:
            mean, variance, count = noted[0]
        else:
            count = sum(size for _, _, size in noted)
            mean = sum((mean * (size / count) for mean, _, size in noted), torch.zeros_like(noted[0][0]))
            variance = sum(
                ((part_var + (part_mean - mean).square()) * (size / count) for part_mean, part_var, size in noted),
                torch.zeros_like(mean),
            )
        return mean, variance * (count / (count - 1)) if kind == "unbiased" and count > 1 else variance


class BatchNormUpdate(Update):
    """Move the running statistics of every batch norm layer towards those of the batch.

        running <- running - (1 - decay) (running - value)

    With `zero_debias` the average starts at zero and is divided by 1 - decay^t, so that the initial 0 and 1 are
    forgotten after the first step. Under gradient accumulation the statistics of the micro-batches are combined into
    those of the whole batch.

    Args:
        model: whose torch batch norm layers are replaced in place.
        decay: how much of the past is kept at each step (torch's `momentum` is 1 - decay).
        variance: divide by n (`biased`) or by n - 1 (`unbiased`).
        zero_debias: correct for the start.
        eps: added to the variance when normalising; None keeps each layer's own.

    Raises:
        UsageError: the model has no batch norm layer that keeps running statistics.
    """

    def __init__(self, model: nn.Module, decay: float, variance: Variance, zero_debias: bool, eps: float | None):
        self.decay = decay
        self.variance: Variance = variance
        self.zero_debias = zero_debias
        self.layers = _replace_layers(model, eps)
        self.count = 0  # updates so far; a layer's own count may come from other training
        self.averages = {
            name: [torch.zeros_like(layer.running_mean), torch.zeros_like(layer.running_var)]
            for name, layer in self.layers.items()
            if zero_debias
        }

    def apply(self) -> None:
        self.count += 1
        running: list[Tensor] = []
        values: list[Tensor] = []
        for name, layer in self.layers.items():
            taken = layer.take_noted(self.variance)
            if taken is None:  # a layer that this step's forward pass did not reach
                continue
            layer.num_batches_tracked.add_(1)
            if self.zero_debias:
                taken = self._debiased(self.averages[name], taken)
                layer.running_mean.copy_(taken[0])
                layer.running_var.copy_(taken[1])
            else:
                running += [layer.running_mean, layer.running_var]
                values += taken
        if running:
            torch._foreach_sub_(running, torch._foreach_sub(running, values), alpha=1 - self.decay)

    def _debiased(self, averages: list[Tensor], values: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        correction = 1 - self.decay**self.count
        for average, value in zip(averages, values, strict=True):
            average.sub_((average - value) * (1 - self.decay))
        return averages[0] / correction, averages[1] / correction

    def repeat(self) -> None:
        for layer in self.layers.values():
            layer.noting = False

    def discard(self) -> None:
        for layer in self.layers.values():
            layer.noted.clear()
            layer.noting = True

    def state_dict(self) -> dict[str, Any]:
        return {"averages": self.averages, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, averages in self.averages.items():
            for average, saved in zip(averages, state["averages"][name], strict=True):
                average.copy_(saved)
        self.count = state["count"]


@register_update("batch_norm", source="Ioffe and Szegedy, 2015; torch.nn.BatchNorm2d")
def batch_norm(
    model: nn.Module,
    *,
    decay: Decay = 0.9,
    variance: Variance = "unbiased",
    zero_debias: bool = False,
    eps: Positive | None = None,
) -> BatchNormUpdate:
    """Update running statistics by torch's rule, but as part of the train op.

        running <- decay * running + (1 - decay) * value

    A skipped batch then leaves them alone, and an accumulated step updates them once, with the statistics of the
    whole batch.

    Args:
        model: whose batch norm layers are meant.
        decay: how much of the past is kept at each step; torch's `momentum` is 1 - decay.
        variance: `unbiased` divides by n - 1 as torch does, `biased` by n.
        zero_debias: start from zero and divide by 1 - decay^t.
        eps: added to the variance when normalising; null keeps each layer's own.
    """
    return BatchNormUpdate(model, decay, variance, zero_debias, eps)


@register_update("tf_batch_norm", source="tensorflow/python/training/moving_averages.py (TensorFlow 1)")
def tf_batch_norm(
    model: nn.Module,
    *,
    decay: Decay = 0.9,
    variance: Variance = "biased",
    zero_debias: bool = True,
    eps: Positive | None = 0.001,
) -> BatchNormUpdate:
    """Update running statistics by TensorFlow 1's rule: biased variance, and an average corrected for its zero start.

        average <- average - (1 - decay) (average - value),    running = average / (1 - decay^t)

    Args:
        model: whose batch norm layers are meant.
        decay: how much of the past is kept at each step.
        variance: `biased` divides by n as TensorFlow does, `unbiased` by n - 1.
        zero_debias: start from zero and divide by 1 - decay^t.
        eps: added to the variance when normalising; null keeps each layer's own.
    """
    return BatchNormUpdate(model, decay, variance, zero_debias, eps)


def _replace_layers(model: nn.Module, eps: float | None) -> dict[str, GroupedBatchNorm]:
    layers: dict[str, GroupedBatchNorm] = {}
    replaced: dict[nn.Module, GroupedBatchNorm] = {}
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats and name:
            if module not in replaced:
                replaced[module] = layers[name] = GroupedBatchNorm(module, eps).train(module.training)
            model.set_submodule(name, replaced[module])  # under each of its names
    if not layers:
        raise UsageError("the model has no batch norm layer with running statistics to update")
    return layers

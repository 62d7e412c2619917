"""Batch norm whose running statistics are updated by the train op, as in TensorFlow 1, not by the forward pass."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor, nn

from ...errors import UsageError
from ...registry.arguments import Decay, Positive
from . import Update, register_update

Variance = Literal["biased", "unbiased"]
Noted = tuple[Tensor, Tensor, int]  # mean and biased variance of a batch, and how many values each is of


@dataclass
class Mover:
    """Moves the statistics of a layer within its forward pass, by operations on tensors alone.

    Args:
        running: mean and variance.
        tracked: the layer's own count of batches.
        decay: see `BatchNormUpdate`.
        variance: likewise.
        averages: those that start at zero; None without `zero_debias`.
        count: of the updates so far, as a scalar; None where they follow other training.
    """

    running: list[Tensor]
    tracked: Tensor
    decay: float
    variance: Variance
    averages: list[Tensor] | None = None
    count: Tensor | None = None

    def move(self, noted: Noted) -> None:
        """Take in what the layer has noted of one batch."""
        correction = 1.0 if self.count is None else 1 - self.decay ** self.count.add_(1)
        for place, value in enumerate(_as_one_batch([noted], self.variance)):
            average = self.running[place] if self.averages is None else self.averages[place]
            average.sub_((average - value) * (1 - self.decay))
            if self.averages is not None:
                self.running[place].copy_(average / correction)
        self.tracked.add_(1)


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
        self.noted: list[list[Noted]] = [[]]  # by micro-batch, then by use of the layer in its forward pass
        self.noting = True
        self.mover: Mover | None = None  # while nothing can be noted

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalise per channel; inputs (batch, channels, ...)."""
        if not self.training:
            return F.batch_norm(inputs, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        if self.mover is not None:
            self.mover.move(_noted(inputs))
        elif self.noting and not _is_recomputing():
            self.noted[-1].append(_noted(inputs))
        return F.batch_norm(inputs, None, None, self.weight, self.bias, training=True, eps=self.eps)

    def forget(self) -> None:
        """Drop what was noted, and note again."""
        self.noted, self.noting = [[]], True

    def take_noted(self, as_one: bool) -> list[list[Noted]]:
        """Return what was noted since the last call: for each use of the layer in a forward pass, of all micro-batches.

        The micro-batches are one batch in parts; a layer that a forward pass uses twice has met two batches, or with
        `as_one` one.
        """
        noted, self.noted, self.noting = self.noted, [[]], True
        if as_one:
            return [found] if (found := [each for part in noted for each in part]) else []
        return [[each for each in use if each is not None] for use in itertools.zip_longest(*noted)]


@torch.no_grad()
def _noted(inputs: Tensor) -> Noted:
    axes = [axis for axis in range(inputs.dim()) if axis != 1]
    variance, mean = torch.var_mean(inputs.float(), axes, correction=0)
    return mean, variance, inputs.numel() // inputs.shape[1]


def _is_recomputing() -> bool:
    """Return True inside of a backward pass, where torch.utils.checkpoint repeats forward passes that have counted."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def _as_one_batch(noted: list[Noted], kind: Variance) -> tuple[Tensor, Tensor]:
    """Return mean and variance of the parts of a batch together."""
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
    forgotten after the layer's first update. Each layer counts its own updates, t = 1, 2, …: one that a step does not
    reach is left alone by it, and one that a forward pass uses twice is updated twice. Under gradient accumulation the
    statistics of the micro-batches are combined into those of the whole batch.

    Statistics that a layer has from elsewhere, from `init` or from earlier training, are where its average goes on, as
    they are. (TensorFlow does so where a whole checkpoint is restored; where mean and variance alone are, with
    `zero_debias`, it forgets them.)

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
        self.averages = {
            name: [torch.zeros_like(layer.running_mean), torch.zeros_like(layer.running_var)]
            for name, layer in self.layers.items()
            if zero_debias
        }
        self.counts: dict[str, int | None] = dict.fromkeys(self.averages, 0)  # updates; None: on top of other training
        self._initial = {name: [each.clone() for each in _statistics(self.layers[name])] for name in self.averages}
        self._shared_count: int | None = None  # of a run made before layers counted for themselves, which goes on so
        self._movers: dict[str, Mover] = {}

    def apply(self) -> None:
        if self._shared_count is not None:
            self._shared_count += 1
        uses = {name: layer.take_noted(self._shared_count is not None) for name, layer in self.layers.items()}
        for use in itertools.count():
            noted = {name: found[use] for name, found in uses.items() if use < len(found)}
            if not noted:
                break
            self._update({name: _as_one_batch(parts, self.variance) for name, parts in noted.items()})

    def _update(self, values: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Move the statistics of the layers towards the values."""
        running: list[Tensor] = []
        for name in values:
            layer = self.layers[name]
            if self.zero_debias:
                for statistic, average in zip(_statistics(layer), self._debiased(name, values[name]), strict=True):
                    statistic.copy_(average)
            else:
                running += _statistics(layer)
            layer.num_batches_tracked.add_(1)
        if running:
            flat = [value for pair in values.values() for value in pair]
            torch._foreach_sub_(running, torch._foreach_sub(running, flat), alpha=1 - self.decay)

    def _debiased(self, name: str, values: tuple[Tensor, Tensor]) -> list[Tensor]:
        averages, count = self.averages[name], self._counted(name)
        correction = 1.0 if count is None else 1 - self.decay**count
        for average, value in zip(averages, values, strict=True):
            average.sub_((average - value) * (1 - self.decay))
        return [average / correction for average in averages]

    def _counted(self, name: str) -> int | None:
        """Return the number of a layer's updates, this one included; None where they follow other training."""
        if self._shared_count is not None:
            return self._shared_count
        count = self._count_so_far(name)
        if count is not None:
            count = self.counts[name] = count + 1
        return count

    def _count_so_far(self, name: str) -> int | None:
        count = self.counts[name]
        if count == 0 and self._has_statistics(name):
            count = self.counts[name] = None
            for average, statistic in zip(self.averages[name], _statistics(self.layers[name]), strict=True):
                average.copy_(statistic)
        return count

    @property
    def moves_alone(self) -> bool:
        """Return True if `moving` does what `apply` does: not in a run of a time when layers had one count."""
        return self._shared_count is None

    def begin_moving(self) -> None:
        """Prepare steps whose forward passes move the statistics."""
        for name, layer in self.layers.items():
            running, tracked, mover = _statistics(layer), layer.num_batches_tracked, self._movers.get(name)
            if mover is None or [*map(id, (*mover.running, mover.tracked))] != [*map(id, (*running, tracked))]:
                mover = Mover(running, tracked, self.decay, self.variance, self.averages.get(name))
                self._movers[name] = mover
            count = self._count_so_far(name) if self.zero_debias else None
            if count is None:
                mover.count = None
            elif mover.count is None:
                mover.count = torch.full((), count, dtype=torch.float64, device=running[0].device)
            else:
                mover.count.fill_(count)

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Let forward passes of a `with` block move the statistics themselves: nothing is noted, none is applied."""
        try:
            for name, layer in self.layers.items():
                layer.mover = self._movers[name]
            yield
        finally:
            for layer in self.layers.values():
                layer.mover = None

    def end_moving(self) -> None:
        """Count what forward passes have moved."""
        for name, mover in self._movers.items():
            if mover.count is not None:
                self.counts[name] = int(mover.count)

    def _has_statistics(self, name: str) -> bool:
        """Return True if a layer that was never updated here has statistics of other training all the same."""
        layer = self.layers[name]
        if int(layer.num_batches_tracked) > 0:
            return True
        return not all(map(torch.equal, _statistics(layer), self._initial[name]))

    def repeat(self) -> None:
        for layer in self.layers.values():
            layer.noting = False

    def next_micro_batch(self) -> None:
        for layer in self.layers.values():
            layer.noted.append([])

    def discard(self) -> None:
        for layer in self.layers.values():
            layer.forget()

    def state_dict(self) -> dict[str, Any]:
        if self._shared_count is not None:
            return {"averages": self.averages, "count": self._shared_count}
        return {"averages": self.averages, "counts": self.counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, averages in self.averages.items():
            for average, saved in zip(averages, state["averages"][name], strict=True):
                average.copy_(saved)
        # Up to 0.2.0 all layers had one count, and a layer's uses in a step were one batch: such a run goes on so.
        self._shared_count = None if "counts" in state else state["count"]
        self.counts = dict.fromkeys(self.averages, 0) | state.get("counts", {})


def _statistics(layer: GroupedBatchNorm) -> list[Tensor]:
    return [layer.running_mean, layer.running_var]


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
    whole batch. A layer that a step does not reach keeps its statistics; one that a forward pass uses twice is updated
    twice. TensorFlow's and Keras's layers do the same with `variance: biased`.

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

    That is `assign_moving_average`, where t counts the updates of each layer: a step that does not reach it is none,
    and one whose forward pass uses it twice is two. `tf.layers.batch_normalization` and Keras do not correct for the
    start: `zero_debias: false`. Statistics that `init` or earlier training has left are gone on from.

    Args:
        model: whose batch norm layers are meant.
        decay: how much of the past is kept at each update.
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

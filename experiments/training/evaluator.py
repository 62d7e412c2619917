"""Measuring a model on one split of the data, without touching its state or any randomness."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..components.averaging import Averaging
from ..components.data import Part
from ..components.data.tree import batch_size
from ..components.losses.counting import Counting
from ..components.metrics import metric_value, rows_of
from ..components.trained import Trained, module_of
from ..components.weighted import unweighted
from ..registry.calls import Calling
from .model_call import ModelCall, hands_targets


@contextlib.contextmanager
def evaluation_mode(model: nn.Module, *functions: Any) -> Iterator[None]:
    """Put a model into evaluation mode for a `with` block, and each of its modules back into its own mode after.

    Args:
        model: with all of its modules.
        functions: losses and metrics, which are put into it too where they are modules.
    """
    roots = [model, *(module for function in functions if (module := module_of(function)) is not None)]
    modes = [(module, module.training) for root in roots for module in root.modules()]
    for root in roots:
        root.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


class Examples(NamedTuple):
    """A batch that is measured.

    Args:
        inputs: of the model.
        targets: that the loss compares with.
        size: how many rows.
        number: over how many of them its loss is the mean.
    """

    inputs: Any
    targets: Any
    size: int
    number: float


class Evaluator:
    """Measures loss and metrics over the examples of a split.

    Args:
        split: its name, which prefixes the results: `val` gives `val/loss`, `val/accuracy`.
        model: put into evaluation mode for the measurement, and back into its modes after.
        loss: (outputs, targets) -> scalar, the mean over the examples, or over what it says (`losses.counting`).
        metrics: by name: (outputs, targets) -> one value per example, shape (batch,), or as `metrics` says.
        part: the examples.
        batch_size: examples per forward pass.
        precision: `fp32` or `bf16` (autocast).
        ema: lends its averaged weights for the measurement: the update, or an optimizer that averages; None measures
            the model's own.
        gradients: whether model, loss and metrics may take gradients themselves, as a gradient penalty does; those of
            the parameters stay as they are.
        call: how the model is called on the inputs; None goes by the signature of its forward.

    Attributes:
        together: measures in its place, together with others; None where nobody does.
    """

    def __init__(
        self,
        split: str,
        model: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        metrics: Mapping[str, Callable[[Any, Any], Tensor]],
        part: Part,
        *,
        batch_size: int = 512,
        precision: str = "fp32",
        ema: Averaging | None = None,
        gradients: bool = False,
        call: ModelCall | None = None,
    ):
        self.split, self.model, self.loss, self.metrics = split, model, loss, dict(metrics)
        self.part, self.batch_size = part, batch_size
        self.precision, self.ema, self.gradients = precision, ema, gradients
        self.call = call if call is not None else ModelCall("auto", hands_targets(loss))
        self._counting = Counting(loss)
        self.together: Callable[[Evaluator, Callable[[], bool]], dict[str, float] | None] | None = None

    def __call__(self, interrupted: Callable[[], bool] = lambda: False) -> dict[str, float] | None:
        """Measure, or return None if `interrupted()` became true between two batches."""
        if self.together is not None:
            return self.together(self, interrupted)
        return self.alone(interrupted)

    def alone(self, interrupted: Callable[[], bool] = lambda: False) -> dict[str, float] | None:
        """Measure, whoever else measures something; see `__call__`."""
        measuring, answer = self.measuring(interrupted), None
        with self.lent_weights(), self.evaluation_mode(), self.grad_mode(), self.autocast():
            while True:
                try:
                    asked = next(measuring) if answer is None else measuring.send(answer)
                except StopIteration as end:
                    return end.value
                answer = self.totals(asked)

    def measuring(
        self, interrupted: Callable[[], bool]
    ) -> Generator[Examples, Sequence[Tensor], dict[str, float] | None]:
        """Yield the batches, to be answered with their `totals`, and return what `__call__` does."""
        counted, count = 0.0, 0  # of what the mean of the loss is over, of rows
        totals: dict[str, Any] = {name: torch.zeros((), dtype=torch.float64) for name in ("loss", *self.metrics)}
        for inputs, targets in self.part.batches(self.batch_size):
            if interrupted():
                return None
            size = batch_size(inputs, targets)
            with self._calling("loss"):
                number = self._counting.count(targets, size)
            loss, *metrics = yield Examples(inputs, targets, size, number)
            count += size
            counted += number
            totals["loss"] = totals["loss"] + loss * (1 if self._counting.is_sum else number)
            for name, total in zip(self.metrics, metrics, strict=True):
                totals[name] = totals[name] + total
        means = {name: total / count for name, total in totals.items()}
        means["loss"] = totals["loss"] / (1.0 if self._counting.is_sum else counted)
        values = {}
        for place, (name, metric) in enumerate(self.metrics.items()):
            with self._calling_metric(place):
                values[name] = metric_value(metric, means[name])
        return {f"{self.split}/{name}": value for name, value in {"loss": means["loss"].item(), **values}.items()}

    def totals(self, examples: Examples) -> list[Tensor]:
        """Return the loss of a batch and the sums of what each metric gives for its rows, in float64."""
        inputs, targets, size, number = examples
        with self._calling("model"):
            outputs = self.call(self.model, inputs, targets)
        found = [torch.zeros((), dtype=torch.float64)]
        if number:  # else nothing in it counts, and the mean of nothing is no number
            with self._calling("loss"):
                found = [self.loss(outputs, targets).detach().double()]
        targets = unweighted(targets)
        for place, (name, metric) in enumerate(self.metrics.items()):
            with self._calling_metric(place):
                found.append(rows_of(metric, outputs, targets, name, size).detach().double().sum(0))
        return found

    def lent_weights(self) -> contextlib.AbstractContextManager[None]:
        """Return a `with` block in which the model has the weights that are measured."""
        return self.ema.swapped() if self.ema else contextlib.nullcontext()

    def evaluation_mode(self) -> contextlib.AbstractContextManager[None]:
        """Return a `with` block in which model, loss and metrics are in evaluation mode."""
        return evaluation_mode(self.model, self.loss, *self.metrics.values())

    def _calling(self, key: str) -> Calling:
        return Calling(key, f"the evaluation of {self.split}")

    def _calling_metric(self, place: int) -> Calling:
        return Calling(f"metrics.{place}", f"the evaluation of {self.split}")

    @contextlib.contextmanager
    def grad_mode(self) -> Iterator[None]:
        """Record gradients in a `with` block or not, as was asked; those of the parameters are kept out of it."""
        if not self.gradients:
            with torch.no_grad():
                yield
            return
        kept = [(parameter, parameter.grad) for _, parameter in Trained(self.model, self.loss).named_parameters()]
        for parameter, _ in kept:
            parameter.grad = None
        try:
            with torch.enable_grad():
                yield
        finally:
            for parameter, gradient in kept:
                parameter.grad = gradient

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision == "bf16":
            return torch.autocast(self.part.device.type, torch.bfloat16)
        return contextlib.nullcontext()

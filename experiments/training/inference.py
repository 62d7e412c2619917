"""A trained model called on inputs alone, and which part of its outputs are predictions."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from ..components.data.tree import named_tensors
from ..components.losses.output import Output
from ..components.selected import Selected, Selector, chosen
from ..config import Config, MeasureConfig
from ..errors import ArgumentsError, UsageError
from ..registry.calls import Calling, described
from .model_call import ModelCall, hands_targets
from .task import judging_first

_USUAL = "logits"  # what those are called that classes are chosen by, where a model gives other tensors too


class Inference:
    """Calls the model of a run without targets, as its data says, and picks what is compared with targets.

        predictions = model(inputs)[of]

    `of` is that of the loss. Where the loss is the model's own, or the user's, which looks at everything, it is that of
    the metric that judges the run, or of the first one that names a part. Where nothing does, it is the one tensor with
    a row for each example that is not the loss; of several the one called `logits`.

    Args:
        config: of the run.
        model: that it trained.
        of: the part, in place of the one that the run says.

    Attributes:
        call: calls it on inputs.
        of: the part; None for all of them, or for one that the outputs show.
        compared: the loss or metric that compares this part with targets; None where none is known to.

    Raises:
        UsageError: its forward cannot be called without targets.
    """

    def __init__(self, config: Config, model: nn.Module, of: Selector | None = None):
        handed = hands_targets(config.loss.component.build, config.data.targets_from)
        parameters = inspect.signature(model.forward).parameters if handed else {}
        needed = [name for name in handed if name in parameters and parameters[name].default is inspect.Parameter.empty]
        if needed:
            raise UsageError(
                f"the forward of {type(model).__name__} needs the targets as `{needed[0]}`, and predictions are made "
                f"without: give it a default, `{needed[0]}=None`, with which it returns its outputs alone"
            )
        self.call = ModelCall(config.data.call)
        self.compared = _compared(config, bool(handed), of)
        self.is_asked = of is not None
        self.of = of if of is not None else None if self.compared is None else self.compared.of
        self._loss_part = _loss_part(config)

    def outputs(self, model: Any, inputs: Any) -> Any:
        """Return all that the model gives, or what stands for it."""
        return self.call(model, inputs)

    def predictions(self, outputs: Any) -> Any:
        """Return the part of the outputs that is compared with targets.

        Raises:
            ArgumentsError: there is no such part; noted as the loss's.
            UsageError: there is none that was asked for, or several that it could be.
        """
        if not self.is_asked:
            with Calling("loss", "the choice among outputs"):
                return chosen(outputs, self.part(outputs))
        try:
            return chosen(outputs, self.of)
        except ArgumentsError as error:
            known = _listed(_parts(outputs))
            raise UsageError(f"{error}" + (f": choose one of {known}" if known else "")) from error

    def targets(self, targets: Any) -> Any:
        """Return the part of the targets that these predictions are compared with."""
        if self.compared is None or self.compared.target is None:
            return targets
        with Calling("loss", "the choice among targets"):
            return Selected(chosen, target=self.compared.target).targets_of(targets)

    def name_of_part(self, outputs: Any) -> str:
        """Return the name of the part of such outputs that predictions are; empty where they are all of them."""
        part = self.part(outputs)
        return "" if part is None else _path(part)

    def part(self, outputs: Any) -> Selector | None:
        """Return which part of such outputs predictions are; None where they are all of them.

        Raises:
            UsageError: nothing says which of several tensors it is.
        """
        if self.of is not None or isinstance(outputs, Tensor):
            return self.of
        found = {name: tensor for name, tensor in _parts(outputs).items() if name != self._loss_part}
        if len(found) == 1:
            return next(iter(found))
        if _USUAL in found:
            return _USUAL
        if not found:
            return None
        raise UsageError(
            f"the model gives {_listed(found)}, and nothing says which of these are predictions: choose one by --of "
            "NAME (in Python `of=`)"
        )

    def refusal(self, outputs: Any, part: Any) -> UsageError:
        """Return the error that a part of the outputs, or all of them, are no predictions."""
        known = _listed(_parts(outputs))
        way = f"choose one of {known} by --of NAME (in Python `of=`)" if known else "the model has to return it"
        message = "to predict, one tensor with a row for each example is needed"
        return UsageError(f"the model gives {described(part)}: {message}; {way}")


def _compared(config: Config, is_of_model: bool, asked: Selector | None) -> MeasureConfig | None:
    """Return the loss, or else the metric, that compares the part of the outputs which is predicted.

    Args:
        config: of the run.
        is_of_model: whether the loss is a part of the outputs itself.
        asked: the part that is asked for; None for the one that is compared first.
    """
    metrics = judging_first(config)
    if asked is not None:
        parts: list[MeasureConfig] = [*([] if is_of_model else [config.loss]), *metrics]
        return next((each for each in parts if each.of is not None and _path(each.of) == _path(asked)), None)
    looks_at_all = is_of_model or (config.loss.of is None and bool(config.loss.component.roots()))
    if not looks_at_all:
        return config.loss
    return next((each for each in metrics if each.of is not None), next(iter(metrics), None))


def _path(of: Selector) -> str:
    return ".".join(map(str, of)) if isinstance(of, tuple | list) else str(of)


def _loss_part(config: Config) -> str | None:
    """Return the name of the part of the outputs that is the model's own loss."""
    if config.loss.component.inmost is not Output:
        return None
    return "loss" if config.loss.of is None else _path(config.loss.of)


def _parts(outputs: Any) -> dict[str, Tensor]:
    """Return the tensors with rows in what a model gives, by the names that `of` has for them."""
    named = ((name.partition("/")[2].replace("/", "."), tensor) for name, tensor in named_tensors("", outputs))
    return {name: tensor for name, tensor in named if name and tensor.dim()}


def _listed(parts: dict[str, Tensor], most: int = 6) -> str:
    shown = [f"{name} of shape {tuple(tensor.shape)}" for name, tensor in list(parts.items())[:most]]
    return ", ".join(shown) + (f" and {len(parts) - most} more" if len(parts) > most else "")

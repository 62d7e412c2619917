"""A trained model called on inputs alone, and which part of its outputs are predictions."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from ..components.selected import chosen
from ..config import Config
from ..config.goal import label_of
from ..errors import UsageError
from .model_call import ModelCall, hands_targets


class Inference:
    """Calls the model of a run without targets, as its data says, and picks what is compared with targets.

        predictions = model(inputs)[of]

    `of` is that of the loss. Where the model computes its loss itself, it is that of the metric that judges the run, or
    of the first one, since then it is the metrics that look at predictions.

    Args:
        config: of the run.
        model: that it trained.

    Attributes:
        call: calls it on inputs.
        of: the part; None for all of them.
        is_of_model: whether the loss is the model's own.

    Raises:
        UsageError: its forward cannot be called without targets.
    """

    def __init__(self, config: Config, model: nn.Module):
        handed = hands_targets(config.loss.component.build, config.data.targets_from)
        parameters = inspect.signature(model.forward).parameters if handed else {}
        needed = [name for name in handed if name in parameters and parameters[name].default is inspect.Parameter.empty]
        if needed:
            raise UsageError(
                f"the forward of {type(model).__name__} needs the targets as `{needed[0]}`, and predictions are made "
                f"without: give it a default, `{needed[0]}=None`, with which it returns its outputs alone"
            )
        self.call = ModelCall(config.data.call)
        source = _judging(config) if handed else config.loss
        self.of = None if source is None else source.of
        self.is_of_model = bool(handed)

    def outputs(self, model: Any, inputs: Any) -> Any:
        """Return all that the model gives, or what stands for it."""
        return self.call(model, inputs)

    def predictions(self, outputs: Any) -> Any:
        """Return the part of the outputs that is compared with targets.

        Raises:
            ArgumentsError: there is no such part.
        """
        return chosen(outputs, self.of)

    @property
    def way_out(self) -> str:
        """Return how a configuration names the outputs that are predictions, for messages."""
        if self.is_of_model:
            return (
                "the loss is the model's own, and does not say which outputs are predictions: a metric of them does "
                "(`metrics: [{name: …, of: logits}]`); those of this run are to be had from run.load_model()"
            )
        return "`loss: {name: …, of: KEY}` says which of several it is"


def _judging(config: Config) -> Any:
    """Return the metric that judges a run, or the first one where its loss does; None of none."""
    label = label_of(config.eval.metric)
    return next((each for each in config.metrics if each.label == label), next(iter(config.metrics), None))

"""The columns that outputs and targets become in a table of predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from ..components.losses.basic import cross_entropy
from ..components.losses.binary import bce
from ..config import MeasureConfig
from ..errors import UsageError
from .task import task_of_part
from .trained_model import TrainedModel

_SOFTMAX = (cross_entropy, nn.CrossEntropyLoss, functional.cross_entropy)
_LOGISTIC = (bce, nn.BCEWithLogitsLoss, functional.binary_cross_entropy_with_logits)


class PredictedColumns:
    """Makes columns of what a model gives, and of the truth.

    Outputs for classes become their names and a column for each class; values come in original units; a part of the
    outputs that nothing compares with targets, and that is not as wide as these, is left as it is.

    Args:
        trained: whose outputs they are.
        compared: the loss or metric that compares them with targets; None where none is known to.
        outputs: of the model, one row for each example.
    """

    def __init__(self, trained: TrainedModel, compared: MeasureConfig | None, outputs: Tensor):
        facts = trained.facts
        self._outputs, self._names = outputs, facts.class_names
        task = (None if compared is None else task_of_part(compared)) or facts.task
        width = outputs.shape[1] if outputs.dim() > 1 else 1
        is_of_targets = compared is not None or facts.num_outputs in (None, width)
        self._task = task if is_of_targets else None
        self._num_classes = facts.num_outputs or 1
        self._scale = trained.fitted.scales.get("targets") if is_of_targets else None
        self._columns = (facts.target_columns or facts.class_names) if is_of_targets else ()
        build = trained.config.loss.component.inmost if is_of_targets else None
        self._is_softmax = any(build is each for each in _SOFTMAX)
        self._is_logistic = any(build is each for each in _LOGISTIC)

    def predictions(self) -> dict[str, np.ndarray]:
        """Return the columns that the outputs become.

        Raises:
            UsageError: they are no scores of so many classes.
        """
        outputs = self._outputs
        if self._task == "tokens":
            return {"prediction": outputs.argmax(-1).numpy()}
        if self._task == "classes":
            return self._classes()
        values = outputs.double() if self._scale is None else self._scale.undone(outputs)
        return self._by_column("prediction", values.sigmoid() if self._is_logistic else values)

    def targets(self, targets: Tensor) -> dict[str, np.ndarray]:
        """Return the columns of the truth, in the same units."""
        if self._task == "classes" and not targets.is_floating_point():
            return {"target": self._named(targets)}
        return self._by_column("target", targets if self._scale is None else self._scale.undone(targets))

    def _classes(self) -> dict[str, np.ndarray]:
        outputs = self._outputs
        if outputs.dim() < 2 or outputs.shape[1] < self._num_classes:
            raise UsageError(f"outputs of shape {tuple(outputs.shape)} are no scores of {self._num_classes} classes")
        scores = outputs.double().softmax(1) if self._is_softmax else outputs.double()
        kind = "p" if self._is_softmax else "score"
        numbers = range(outputs.shape[1])
        return {"prediction": self._named(outputs.argmax(1))} | {
            f"{kind}_{_name(self._names, number)}": scores[:, number].numpy() for number in numbers
        }

    def _named(self, classes: Tensor) -> np.ndarray:
        """Return classes by name; a number that no class has, such as that of an ignored one, as a number."""
        if not self._names:
            return classes.numpy()
        known, places = np.unique(classes.numpy(), return_inverse=True)
        return np.array([_name(self._names, int(number)) for number in known], np.str_)[places.reshape(classes.shape)]

    def _by_column(self, kind: str, values: Tensor) -> dict[str, np.ndarray]:
        """Return values under the names of their columns, where they have some."""
        if values.dim() == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.dim() == 2 and values.shape[1] == len(self._columns):
            return {f"{kind}_{name}": values[:, number].numpy() for number, name in enumerate(self._columns)}
        return {kind: values.numpy()}


def _name(names: Sequence[str], number: int) -> str:
    return names[number] if 0 <= number < len(names) else str(number)

"""Targets held against what the loss and the metrics take: what does not fit is told at the data, with its example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..components.data import Dataset, LoadedData, Splits
from ..components.metrics.basic import Accuracy
from ..components.selected import Selected, chosen
from ..components.shapes import IGNORED
from ..components.weighted import unweighted
from ..config import Config, ConfigError, MeasureConfig
from ..errors import ArgumentsError
from ..registry.calls import call_of
from . import misfits
from .evaluator import Evaluator
from .misfits import Misfit
from .step.train_op import TrainOp
from .task import task_of_part

_LOOKED_AT = 4  # examples that are made to see whether they are labelled as the data set says


class TargetCheck:
    """Looks at targets before the loss and the metrics are given them.

    Args:
        config: of the run.
        splits: of its data.
    """

    def __init__(self, config: Config, splits: Splits):
        self._config, self._dataset = config, splits.dataset
        self._train_positions = getattr(splits.train, "positions", None)
        self._known_to_fit: set[str] = set()
        self.refusal: ConfigError | None = None  # the last one
        self._shapes: dict[str, tuple[int, ...]] = {}  # of what is compared of one example, by the path of the part

    def __call__(self, outputs: Any, targets: Any, rows: Tensor | None) -> None:
        """Refuse targets that do not fit.

        Args:
            outputs: of the model, for some examples.
            targets: of these.
            rows: where they are in the data set, int64; None where that is not known.

        Raises:
            ConfigError: located at the data; or at a metric that does not ignore what the loss does.
        """
        for part in (self._config.loss, *self._config.metrics):
            try:
                compared, wanted = chosen(outputs, part.of), _of_targets(part, targets)
            except ArgumentsError:  # which the part itself tells, when it is called
                continue
            if not _is_scores(compared) or (isinstance(wanted, Tensor) and wanted.shape[:1] != compared.shape[:1]):
                continue
            shape = self._shapes.setdefault(part.path, tuple(compared.shape[1:]))
            if shape == compared.shape[1:]:  # else training differs from evaluation, which is no affair of the data
                self._refuse(part, self._misfit(part, shape, wanted), _aligned(rows, wanted))
                if part.path not in self._known_to_fit:
                    self._check_known(part, shape)
                    self._known_to_fit.add(part.path)

    def explain(self, error: Exception, op: TrainOp, evaluators: Mapping[str, Evaluator]) -> None:
        """Look for targets that do not fit in the batch, or in the split, at which a loss or metric has failed.

        Raises:
            ConfigError: there are some; as above.
        """
        call = call_of(error)
        if call is None or call.key.split(".")[0] not in ("loss", "metrics"):
            return
        evaluator = evaluators.get(call.what.removeprefix("the evaluation of "))
        try:
            if evaluator is None:
                rows: Any = getattr(op.data, "indices", lambda position: None)(op.batch)
                if rows is not None and self._train_positions is not None:
                    rows = self._train_positions[rows.cpu()]
                self._look(op.parts(op.data.batch(op.batch)).targets, rows)
                return
            part: Any = evaluator.part.to("cpu")
            for start in range(0, len(part), evaluator.batch_size):
                stop = min(start + evaluator.batch_size, len(part))
                self._look(part.examples(start, stop).targets, part.positions[start:stop])
        except ConfigError:
            raise
        except Exception as second:  # noqa: BLE001 (the first is what ended the run)
            error.add_note(f"and its targets could not be looked at: {second!r}")

    def _look(self, targets: Any, rows: Tensor | None) -> None:
        for part in (self._config.loss, *self._config.metrics):
            if (shape := self._shapes.get(part.path)) is not None:
                wanted = _of_targets(part, targets)
                self._refuse(part, self._misfit(part, shape, wanted, any_size=True), _aligned(rows, wanted))

    def _misfit(
        self, part: MeasureConfig, shape: tuple[int, ...], targets: Any, any_size: bool = False
    ) -> Misfit | None:
        task = task_of_part(part)
        if task == "values":
            return misfits.of_values(targets, part.component.facts.get("target_range"))
        if task not in ("classes", "tokens") or not shape:
            return None
        number, sizes = (shape[0], shape[1:]) if task == "classes" else (shape[-1], shape[:-1])
        if not number:
            return None
        return misfits.of_classes(targets, number, None if any_size else sizes, self._ignored(part, targets))

    def _ignored(self, part: MeasureConfig, targets: Any) -> int | None:
        """Return the class number that a loss or metric leaves out; None where it leaves out none."""
        if (given := part.args.get("ignore_index")) is not None:
            return given
        if "ignore_index" not in part.component.signature.names():
            return None
        if not part.component.roots() and self._dataset.ignore_index is not None:
            return self._dataset.ignore_index
        if part.component.kind == "metric" and task_of_part(part) == "tokens":
            return None
        counts_all = part.component.inmost is Accuracy and isinstance(targets, Tensor) and targets.dim() == 1
        return None if counts_all else IGNORED

    def _check_known(self, part: MeasureConfig, shape: tuple[int, ...]) -> None:
        """Refuse labels of any example, where they are in memory and the example that is made has them too."""
        dataset = self._dataset
        if not isinstance(dataset, LoadedData) or dataset.labels is None or task_of_part(part) != "classes":
            return
        ignored = self._ignored(part, dataset.labels)
        wrong = misfits.first_out_of_range(dataset.labels, shape[0], ignored)
        for row in wrong[:_LOOKED_AT]:
            made = dataset.part(row[None]).examples(0, 1)
            misfit = self._misfit(part, shape, _of_targets(part, made.targets))
            others = f" ({len(wrong):,} of {len(dataset):,} examples have such labels)" if len(wrong) > 1 else ""
            self._refuse(part, misfit, row[None], others)

    def _refuse(self, part: MeasureConfig, misfit: Misfit | None, rows: Tensor | None, others: str = "") -> None:
        if misfit is None:
            return
        config = self._config
        label = f"{part.component.kind} '{part.name}'"
        message = f"{self._subject(misfit, rows)} has {misfit.what}{others}, and {label} takes {misfit.wanted}"
        is_ignored = misfit.label is not None and misfit.label == self._ignored(config.loss, None)
        if part is config.loss or not is_ignored or part.target != config.loss.target:
            self.refusal = config.problem(key_of_targets(config), message, misfit.hint)
            raise self.refusal
        if "ignore_index" in part.component.signature.names():
            way = f"metrics: [{{name: {part.name}, ignore_index: {misfit.label}}}], or let the data set say so for all"
        else:
            way = "another metric, such as accuracy or macro_f1, which can ignore it"
        self.refusal = config.problem(part.path, f"{message}: the loss ignores it, and the metric does not", way)
        raise self.refusal

    def _subject(self, misfit: Misfit, rows: Tensor | None) -> str:
        data = f"data '{self._config.data.label}'"
        if misfit.row is None:
            return data
        if rows is None:
            return f"example {misfit.row} of a batch of {data}"
        row = int(rows[misfit.row])
        dataset = self._dataset
        if isinstance(dataset, Dataset) and dataset.place_of is not None:
            return dataset.place_of(row)
        return f"example {row} of {data}"


def key_of_targets(config: Config) -> str:
    """Return the key that says which the targets are."""
    known = (f"data.{name}" for name in ("target", "path") if name in config.data.given)
    return next(known, "data")


def _of_targets(part: MeasureConfig, targets: Any) -> Any:
    targets = unweighted(targets)
    return targets if part.target is None else Selected(chosen, target=part.target).targets_of(targets)


def _aligned(rows: Tensor | None, targets: Any) -> Tensor | None:
    """Return which examples the targets are of; None where they have not one row for each."""
    return rows if rows is not None and isinstance(targets, Tensor) and targets.shape[:1] == rows.shape else None


def _is_scores(outputs: Any) -> bool:
    return isinstance(outputs, torch.Tensor) and outputs.is_floating_point() and outputs.dim() > 0

"""One measurement and one step of training, tried before the run: what does not fit is told at its key.

Both are tried on the smallest batch that will occur, where a batch of one example fails that others do not; on copies
(copies.py), so that the run's own bits stay as they are. The optimizer takes no step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..components.data import LoadedData, Splits, StreamBatches
from ..components.data.tree import batch_size, entries, rows, split
from ..components.metrics import metric_value
from ..components.selected import Selected, chosen
from ..components.trained import Trained
from ..components.weighted import unweighted
from ..config import Config, ConfigError, MeasureConfig
from ..config.lengths import RunLength
from ..config.located import located
from ..errors import ArgumentsError, SessionError
from ..registry.calls import Calling, described
from .copies import lent
from .evaluator import Evaluator, evaluation_mode
from .step.gradients import SWITCHED_OFF, are_switched_off
from .step.train_op import TrainOp
from .target_check import TargetCheck

_ENOUGH = 8  # examples in a batch that nothing calls small
_BOTH_WAYS = (
    "let it give in training what it gives in evaluation, or name a loss of your own that takes both: "
    "`./file.py:function`"
)
_MOST_WORK = (
    2_000_000_000  # multiply-adds of a trial, about a second of a CPU core; two examples are tried all the same
)


@dataclass(frozen=True)
class _Examples:
    """Some examples of a batch: the smallest piece that is passed to the model at once.

    Args:
        inputs: of the model.
        targets: one per input.
        in_batch: how many examples the batch has that they are a piece of.
        numbers: where they are in the data set, int64; None in a stream.
    """

    inputs: Any
    targets: Any
    in_batch: int
    numbers: Tensor | None

    def __len__(self) -> int:
        return batch_size(self.inputs, self.targets)

    def first(self, count: int) -> _Examples:
        inputs, targets = rows((self.inputs, self.targets), 0, count, len(self))
        numbers = None if self.numbers is None else self.numbers[:count]
        return replace(self, inputs=inputs, targets=targets, numbers=numbers)


class Trial:
    """Tries what a configuration has put together.

    Args:
        config: of the run.
        splits: of the data that it trains on.
        train_op: with everything in its place; it is not touched.
        evaluators: by split.
        length: of the run.
        work: multiply-adds of one step of training.
    """

    def __init__(
        self,
        config: Config,
        splits: Splits,
        train_op: TrainOp,
        evaluators: Mapping[str, Evaluator],
        length: RunLength,
        work: int,
    ):
        self._config, self._dataset, self._op, self._length = config, splits.dataset, train_op, length
        self._train: Any = splits.train
        self.targets = TargetCheck(config, splits)
        self._evaluators = {name: each for name, each in evaluators.items() if name != "train"} or dict(evaluators)
        self._batches: Any = train_op.data
        per_example = work / self._batches.size_of(0)
        self._most = max(2, int(_MOST_WORK / per_example)) if per_example else None

    # ---- evaluation ----------------------------------------------------------------------------------------------

    def measure(self) -> None:
        """Measure the smallest batch of any split.

        Raises:
            ConfigError: located at the model, the loss, the metric, or the size of the batch.
        """
        evaluator = min(self._evaluators.values(), key=_size_of_last_batch)
        size, total = _size_of_last_batch(evaluator), len(evaluator.part)
        examples = self._of(evaluator, total - size, size)
        refusal = self._refusal(self._measured, evaluator, examples)
        if refusal is None:
            return
        if refusal is self.targets.refusal:  # no affair of the number of examples
            raise refusal
        if not evaluator.gradients and self._refusal(self._measured, evaluator, examples, True) is None:
            key = refusal.problems[0].key
            message = "takes gradients itself, which evaluation does not record: "
            hint = "eval.gradients: true records them"
            raise self._config.problem(key, message + refusal.problems[0].message, hint) from refusal
        larger = self._of(evaluator, 0, min(total, evaluator.batch_size))
        if len(larger) > len(examples) and self._refusal(self._measured, evaluator, larger) is None:
            key = "data.eval_batch_size" if total > size else f"data.{evaluator.split}"
            where = f"the last batch of an evaluation of {evaluator.split}" if total > size else evaluator.split
            raise self._too_few(key, where, len(examples), len(larger), total, refusal, "another size") from refusal
        raise refusal

    def _of(self, evaluator: Evaluator, start: int, size: int) -> _Examples:
        stop = start + min(size, self._most or size)
        with located(self._config, "data"):
            part: Any = evaluator.part
            inputs, targets = part.examples(start, stop)
            return _Examples(inputs, targets, size, part.positions[start:stop])

    def _measured(self, evaluator: Evaluator, examples: _Examples, gradients: bool = False) -> None:
        """Measure copies of the parts on some examples."""
        metrics = list(evaluator.metrics.values())
        config = self._config
        with (
            located(config),
            lent(evaluator.model, evaluator.loss, *metrics) as (model, loss, *copies),
            evaluation_mode(model, loss, *copies),
            torch.set_grad_enabled(gradients or evaluator.gradients),
            evaluator.autocast(),
        ):
            with Calling("model", "the forward pass of the model, in evaluation"):
                outputs = evaluator.call(model, examples.inputs, examples.targets)
            self._check_width(loss, outputs)
            self.targets(outputs, examples.targets, examples.numbers)
            with self._explained(config.loss, "loss", outputs, "in evaluation"):
                with Calling("loss", "evaluation"):
                    value = loss(outputs, examples.targets)
                self._check_loss(value)
                with Calling("loss", "evaluation"):
                    value.item()
            for metric, part in zip(copies, config.metrics, strict=True):
                with self._explained(part, part.path, outputs, "in evaluation"), Calling(part.path, "evaluation"):
                    values = metric(outputs, unweighted(examples.targets))
                    _check_metric(part.name, values, len(examples))
                    metric_value(metric, values.detach().double().mean(0))

    # ---- training ------------------------------------------------------------------------------------------------

    def train(self) -> None:
        """Take the gradients of the smallest batch, or micro-batch, in training mode.

        Raises:
            ConfigError: located at the model, the loss, an augmentation, or the size of the batch.
        """
        sizes = {position: self._batches.size_of(position) for position in self._positions()}
        position = min(sizes, key=lambda each: self._smallest_part(sizes[each]))
        examples = self._drawn(position)
        refusal = self._refusal(self._trained, examples)
        if refusal is None:
            return
        if refusal is self.targets.refusal:  # no affair of the number of examples
            raise refusal
        first = self._drawn(0, at_least=_ENOUGH)
        if len(first) > len(examples) and self._refusal(self._trained, first) is None:
            raise self._batch_too_small(examples, len(first), refusal) from refusal
        raise refusal

    def _positions(self) -> list[int]:
        """Return the first batch, and the last one of an epoch if the run comes to it."""
        if isinstance(self._batches, StreamBatches):
            return [0]
        last, num_steps = self._batches.steps_per_epoch - 1, self._length.num_steps
        return [0, last] if num_steps is None or num_steps > last else [0]

    def _smallest_part(self, size: int) -> int:
        return size // min(self._op.options.accumulate, size)

    def _drawn(self, position: int, at_least: int | None = None) -> _Examples:
        """Draw a batch as the run does; return its smallest micro-batch, or all of it where it must be large enough."""
        batches = self._batches
        larger = None if at_least is None else max(batches.batch_size, at_least)
        with located(self._config, "data"), lent(*batches.augment) as augment:
            twin = batches.alike(augment, larger)
            batch = twin.batch(position)
            is_stream = isinstance(twin, StreamBatches)
            numbers = None if is_stream else self._train.positions[twin.indices(position).cpu()]
        size = batch_size(*batch)
        if numbers is not None and len(numbers) != size:  # its rows are not the examples
            numbers = None
        parts = 1 if at_least is not None else min(self._op.options.accumulate, size)
        inputs, targets = split(batch, parts, size)[-1]
        if numbers is not None:
            numbers = numbers[size - batch_size(inputs, targets) :]
        examples = _Examples(inputs, targets, size, numbers)
        return examples.first(min(len(examples), self._most or len(examples)))

    def _trained(self, examples: _Examples) -> None:
        """Take the gradients of copies of the parts on some examples."""
        config, op = self._config, self._op
        with located(config), lent(op.model, op.loss) as (model, loss), torch.enable_grad():
            op.seed_noise()
            with op.autocast:
                with op.calling.model:
                    outputs = op.call(model, examples.inputs, examples.targets)
                self.targets(outputs, examples.targets, examples.numbers)
                with self._explained(config.loss, "loss", outputs, "in training"):
                    with op.calling.loss:
                        value = loss(outputs, examples.targets)
                    self._check_loss(value)
                    self._check_differentiable(value, outputs)
            with op.calling.backward:
                value.backward()
            if all(parameter.grad is None for _, parameter in Trained(model, loss).named_parameters()):
                raise config.problem("loss", "the loss does not depend on any weight: there is no gradient to go by")

    # ---- what is told --------------------------------------------------------------------------------------------

    def _refusal(self, attempt: Callable[..., None], *args: Any) -> ConfigError | None:
        try:
            attempt(*args)
        except ConfigError as error:
            return error
        return None

    def _batch_too_small(self, examples: _Examples, enough: int, refusal: ConfigError) -> ConfigError:
        batches, options = self._batches, self._op.options
        if len(examples) < examples.in_batch:
            where = f"the smallest of {options.accumulate} micro-batches of a batch of {examples.in_batch}"
            return self._too_few("train.accumulate", where, len(examples), enough, None, refusal, "fewer micro-batches")
        is_last = examples.in_batch < batches.size_of(0)
        where = "the last batch of each epoch" if is_last else "a batch"
        way = "data.drop_last: true leaves it out; or another batch_size" if is_last else "a larger batch_size"
        total = batches.num_examples if is_last else None
        return self._too_few("data.batch_size", where, len(examples), enough, total, refusal, way)

    def _too_few(
        self, key: str, where: str, few: int, enough: int, total: int | None, refusal: ConfigError, hint: str
    ) -> ConfigError:
        number = f"{few} of {total} examples" if total is not None else f"{few} example{'s' * (few != 1)}"
        found = refusal.problems[0]
        message = f"{where} has {number}, with which `{found.key}` fails, though not with {enough}: {found.message}"
        return self._config.problem(key, message, hint)

    @contextmanager
    def _explained(self, part: MeasureConfig, key: str, outputs: Any, when: str) -> Iterator[None]:
        """Tell what one of optrun's own losses or metrics cannot take as an affair of the model that gives it."""
        try:
            yield
        except (ConfigError, ArgumentsError):  # such as no part of the outputs that is asked for
            raise
        except Exception as error:
            is_own = bool(part.component.roots()) or bool(part.component.facts.get("takes_any"))
            outputs = chosen(outputs, part.of)
            if is_own or (isinstance(outputs, Tensor) and outputs.is_floating_point()):
                raise
            label = f"{part.component.kind} '{part.name}' takes one tensor of floating-point numbers"
            whose = self._config.model.label if part.of is None else f"`of: {part.of}`"
            given = f"{whose} gives {described(outputs)} {when}"
            # Where only training or only a metric is concerned, the model is as it should be, and this is not.
            is_models = key == "loss" and when == "in evaluation" and part.of is None
            place = "model" if is_models else key
            way = _BOTH_WAYS if when == "in training" else _way_out(outputs, part)
            raise self._config.problem(place, f"{label}, and {given}", way) from error

    def _check_width(self, loss: Any, outputs: Any) -> None:
        config, dataset = self._config, self._dataset
        if config.loss.component.facts.get("takes_any"):
            return
        with Calling("loss", "evaluation"):
            outputs = loss.outputs_of(outputs) if isinstance(loss, Selected) else outputs
        places = {"classes": (1, "classes"), "tokens": (2, "tokens to choose from")}
        place, noun = places.get(dataset.task or "", (0, ""))
        if not isinstance(outputs, Tensor) or not place or dataset.num_outputs is None:
            return
        if isinstance(dataset, LoadedData) and dataset.labels is not None and not dataset.class_names:
            return  # it knows of as many classes as there are labels: these are told
        if outputs.shape[place : place + 1] < (dataset.num_outputs,):
            raise config.problem(
                "model",
                f"{config.model.label} gives outputs of shape {tuple(outputs.shape)}, but data '{config.data.name}' "
                f"has {dataset.num_outputs} {noun}",
            )

    def _check_loss(self, value: Any) -> None:
        if not isinstance(value, Tensor) or value.dim() != 0 or not value.is_floating_point():
            message = f"a loss must return one number, the mean over the batch, not {described(value)}"
            raise self._config.problem("loss", message, "end it with .mean()" if hasattr(value, "mean") else None)

    def _check_differentiable(self, value: Tensor, outputs: Any) -> None:
        if value.requires_grad:
            return
        if are_switched_off():
            raise SessionError(SWITCHED_OFF)
        if isinstance(outputs, Tensor) and not outputs.requires_grad:
            message = f"{self._config.model.label} gives outputs in training that carry no gradient"
            raise self._config.problem("model", f"{message}: {described(outputs)}", "no detach, no_grad or numpy in it")
        message = "the loss carries no gradient: something in it leaves torch's graph"
        raise self._config.problem("loss", message, "no detach, no item(), no numpy in it")


def _size_of_last_batch(evaluator: Evaluator) -> int:
    return len(evaluator.part) % evaluator.batch_size or evaluator.batch_size


def _check_metric(name: str, values: Any, count: int) -> None:
    if not isinstance(values, Tensor) or values.shape[:1] != (count,) or values.is_complex():
        what = f"{tuple(values.shape)}" if isinstance(values, Tensor) and not values.is_complex() else described(values)
        raise ValueError(f"a metric must return one value per example; {name} gave {what}")


def _way_out(outputs: Any, part: MeasureConfig) -> str:
    """Return what to do about outputs that are no tensor of numbers."""
    names = [str(name) for name in entries(outputs)]
    if names or hasattr(outputs, "logits"):
        pick = "logits" if "logits" in names or hasattr(outputs, "logits") else names[0]
    elif isinstance(outputs, tuple | list) and outputs:
        pick = "0"
    elif isinstance(outputs, Tensor):
        return "return scores, not their rounding or the class"
    else:
        return "return the scores"
    kind, before = part.component.kind, part.of if isinstance(part.of, tuple) else (part.of,)
    of = ".".join(str(step) for step in (*before, pick) if step is not None)
    written = f"{{name: {part.name}, of: {of}}}"
    written = f"loss: {written}" if kind == "loss" else f"metrics: [{written}]"
    return f"choose its part: `{written}`, or name a {kind} of your own that takes it: `./file.py:function`"

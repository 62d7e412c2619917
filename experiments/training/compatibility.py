"""The pieces of an experiment fitted together; where they do not fit, the place in the configuration is named."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy as is_lazy_tensor

from ..components.data import AnyData, Batch, DataFacts
from ..components.data.tree import batch_size, children
from ..components.data.weights import weights_by_class
from ..components.losses.class_weights import balanced_weights, refuse_no_weight
from ..components.registries import REGISTRIES
from ..components.shapes import IGNORED
from ..components.trained import Trained, listed, module_of, parameters_within
from ..config import ComponentConfig, Config
from ..config.lengths import Length, RunLength
from ..config.located import located
from ..errors import ArgumentsError, UsageError
from ..registry.arguments import Argument
from ..registry.calls import described, error_text
from ..run_directory.checkpoint_format import TYPES
from ..system.devices import count_work
from .copies import generators_kept, lent
from .evaluator import evaluation_mode
from .model_call import ModelCall

#: The keys that say how long a run is.
RUN_LENGTH = ("train.epochs", "train.steps", "train.max_time")


def seed_everything(seed: int) -> None:
    """Seed what user code may draw from; optrun's own draws are keyed (see rng.py)."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def check_storable(model: nn.Module) -> None:
    """Refuse weights and buffers of a type that no checkpoint can hold.

    Raises:
        UsageError: one is, such as complex128.
    """
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor) and tensor.dtype not in TYPES:
            kind = str(tensor.dtype).removeprefix("torch.")
            hint = ": complex64 can be stored" if tensor.is_complex() else ""
            raise UsageError(f"the model has {name} of type {kind}, which no checkpoint can hold{hint}")


def run_length(config: Config, per_epoch: int | None) -> RunLength:
    """Return how long the run is, in steps, where an epoch has so many; None for a stream that does not say it."""
    if config.train.epochs is None:
        return RunLength(config.train.steps, per_epoch)
    return RunLength(Length(config.train.epochs, "epochs").steps(RunLength(steps_per_epoch=per_epoch)), per_epoch)


def filled(model: ComponentConfig, dataset: AnyData | DataFacts) -> dict[str, Any]:
    """Add what the data knows to a model's arguments, unless they were given.

    Raises:
        UsageError: the model is for other data, or what it is given does not fit together.
    """
    task = model.component.facts.get("task")
    if None not in (task, dataset.task) and task != dataset.task:
        raise UsageError(f"model '{model.name}' is for {task}, but the targets of the data are {dataset.task}")
    known = {
        **({} if dataset.num_tokens is None else {"num_tokens": dataset.num_tokens}),
        "input_shape": dataset.input_shape,
        "num_outputs": dataset.num_outputs,
        "num_classes": dataset.num_outputs,
    }
    wanted: Sequence[Argument] = model.component.signature.arguments
    fill = {a.name: known[a.name] for a in wanted if a.name in known and a.name not in model.given}
    if unknown := [a.name for a in wanted if a.required and a.name in fill and fill[a.name] is None]:
        raise ArgumentsError(
            f"model '{model.name}' needs {' and '.join(unknown)}, which the data does not say: give "
            f"{' and '.join(f'model.{name}' for name in unknown)}, or let the data set have it as an attribute",
            *unknown,
        )
    fill = {name: value for name, value in fill.items() if value is not None}
    args = {**model.args, **fill}
    for name, message in model.component.facts.get("check", lambda args: [])(args):
        raise ArgumentsError(f"model '{model.name}': {name}: {message}, got {args[name]!r}", name)
    return args


def bound(component: ComponentConfig) -> Callable[..., Any]:
    """Return a function component with its configured arguments in place."""
    return component.component.bind(**component.args)


def has_lazy(model: nn.Module) -> bool:
    """Return True for a model with modules that get their shapes from the first batch."""
    return any(is_lazy_tensor(tensor) for tensor in (*model.parameters(), *model.buffers()))


def try_forward(model: nn.Module, call: ModelCall, batch: Batch, in_step: int) -> int:
    """Run the model, so that lazy modules get their shapes, or a copy of it; return the work of a training step.

    Args:
        model: that is trained.
        call: how it is called, which this settles.
        batch: a few examples.
        in_step: how many a step has.

    Raises:
        UsageError: the data is tokens, and the model fails on them.
    """
    inputs, targets = batch
    call.settle(model, inputs, targets)
    is_lazy = has_lazy(model)
    with generators_kept() if is_lazy else lent(model) as copies:
        lazy_or_copy = model if copies is None else copies[0]
        with evaluation_mode(lazy_or_copy), torch.set_grad_enabled(not is_lazy):  # a model may take gradients itself
            try:
                run = functools.partial(call, lazy_or_copy, inputs, targets)
                return count_work(lazy_or_copy, run, batch_size(inputs, targets), in_step)
            except (RuntimeError, TypeError, IndexError, AttributeError) as error:
                if isinstance(error, TypeError | AttributeError) and call.is_on_the_whole(inputs):
                    raise UsageError(f"{error_text(error)}. {_whole(inputs)}") from error
                if isinstance(error, AttributeError) or not isinstance(inputs, Tensor) or inputs.is_floating_point():
                    raise
                others = _others("model", "tokens")
                raise UsageError(f"the model does not take these tokens ({error}); {others}") from error


def bind_fitting(
    config: Config, part: ComponentConfig, dataset: AnyData, device: torch.device, train_targets: Any = None
) -> Callable[..., Tensor]:
    """Bind a loss or metric, a module of which goes to the device, after a look at whether it fits such targets.

    Args:
        config: of the run.
        part: the loss or metric.
        dataset: whose targets they are.
        device: of the run.
        train_targets: of the training examples, for class weights that go by them.

    Raises:
        ConfigError: located at the part.
    """
    task = part.component.facts.get("task")
    takes_any = part.component.facts.get("takes_any")
    if None not in (task, dataset.task) and task != dataset.task and not takes_any:
        raise config.problem(
            part.path,
            f"{part.component.kind} '{part.name}' is for {task}, but the targets of data '{config.data.name}' are "
            f"{dataset.task}",
            hint=_others(part.component.kind, str(dataset.task)),
            also=["data"],
        )
    if "target_range" in part.component.facts and dataset.targets is not None:
        _check_range(config, part, dataset.targets)
    with located(config, part.path):
        made = part.component.bind(**_known_of_targets(part, dataset, train_targets))
        if (module := module_of(made)) is not None:
            module.to(device).train(part.component.kind == "loss")  # a metric is never trained
        return made


def _known_of_targets(part: ComponentConfig, dataset: AnyData, train_targets: Any) -> dict[str, Any]:
    """Return a loss's or metric's arguments with what the targets say: what is ignored, the classes' weights."""
    args, names = dict(part.args), part.component.signature.names()
    if part.component.roots():  # of the user's own, whose arguments of such names are theirs
        return args
    if "ignore_index" in names and dataset.ignore_index is not None and "ignore_index" not in part.given:
        args["ignore_index"] = dataset.ignore_index
    if args.get("class_weights") == "balanced" and (train_targets is None or dataset.num_outputs is None):
        raise ArgumentsError(
            "class_weights: balanced needs the class of each training example, which the data makes one by one: let "
            "the data set have them as `targets`, or give the weights as a list",
            "class_weights",
        )
    if args.get("class_weights") == "balanced" and isinstance(train_targets, Tensor):
        ignored = args.get("ignore_index", IGNORED)
        args["class_weights"] = balanced_weights(train_targets, dataset.num_outputs or 0, ignored)
    elif isinstance(given := args.get("class_weights"), Mapping):
        args["class_weights"] = weights_by_class(given, dataset.class_names, dataset.num_outputs)
    if isinstance(weights := args.get("class_weights"), tuple):
        refuse_no_weight(weights, train_targets, args.get("ignore_index", IGNORED))
    return args


def trained_together(config: Config, model: nn.Module, loss: Callable[..., Tensor]) -> Trained:
    """Return model and loss as what is trained.

    Raises:
        ConfigError: the loss holds parameters outside of a module, which nobody would train; located at the loss.
    """
    with located(config, config.loss.path):
        trained = Trained(model, loss)
        known = {id(parameter) for _, parameter in trained.named_parameters()}
        if found := [name for name, p in parameters_within(loss) if p.requires_grad and id(p) not in known]:
            raise ValueError(
                f"it holds parameters that nobody would train or save: {listed(found)}. Make the loss a "
                "torch.nn.Module that has them, or freeze them with `requires_grad_(False)`"
            )
    return trained


def refuse_parameters(config: Config, part: ComponentConfig, made: Any, trained: Trained) -> None:
    """Refuse parameters in what is measured with or looks at the data: they would never be trained.

    Args:
        config: of the run.
        part: a metric or an augmentation.
        made: from it.
        trained: model and loss, whose parameters it may use.

    Raises:
        ConfigError: it has some; located at the part.
    """
    known = {id(parameter) for _, parameter in trained.named_parameters()}
    with located(config, part.path):
        if found := [name for name, p in parameters_within(made) if p.requires_grad and id(p) not in known]:
            raise ValueError(
                f"the {part.component.kind} has parameters that nothing trains: {listed(found)}. Freeze them with "
                "`requires_grad_(False)` if they are meant to stay; what is to be trained belongs to the model or the "
                "loss"
            )


def _whole(inputs: Any) -> str:
    is_of_tensors = isinstance(inputs, tuple | list) and all(isinstance(each, Tensor) for each in children(inputs))
    what = described(inputs) + (" tensors" if is_of_tensors and not hasattr(inputs, "_fields") else "")
    return (
        f"The model was called with {what} as one: choose those that it takes by data.inputs_from (in Python "
        "`inputs_from`), such as `inputs_from: 0`"
    )


def _check_range(config: Config, part: ComponentConfig, targets: Tensor) -> None:
    low, high = part.component.facts["target_range"]
    least, largest = targets.min().item(), targets.max().item()
    if not low <= least <= largest <= high:
        raise config.problem(
            part.path,
            f"{part.component.kind} '{part.name}' takes targets from {low:g} to {high:g}, but those of data "
            f"'{config.data.name}' are {least:g} to {largest:g}",
        )


def _others(kind: str, task: str) -> str | None:
    registry = REGISTRIES[kind]
    names = [name for name in registry.names() if registry.get(name).facts.get("task") == task]
    return f"for {task}: {', '.join(names)}" if names else None

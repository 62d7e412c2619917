"""From a configuration to objects: the one place that turns names into things.

`build` reads top to bottom in the order in which things depend on each other: data, model, loss and metrics, extra
updates, optimizer, schedule, train op, evaluators, hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..components import data, optimizers, updates
from ..components.averaging import averages_of
from ..components.data import AnyData, DataFacts, Fitted, Splits, StreamPart
from ..components.losses import weighed
from ..components.metrics.original_units import in_original_units
from ..components.schedules.resolve import configured_schedule
from ..components.selected import selected
from ..components.trained import Trained
from ..components.updates import Update
from ..config import Config, ScheduleConfig
from ..config.goal import with_modes
from ..config.lengths import Length, RunLength
from ..config.located import located
from ..errors import SessionError
from ..registry.calls import described
from ..system import rng
from ..system.devices import choose_device, choose_threads
from ..system.places import held_places
from ..system.raised import refusing_exits
from . import compatibility
from .batch_independence import check_independence
from .configured_data import known_targets, loading_notes, make_batches, make_splits
from .configured_hooks import configured_hooks
from .configured_stream import check_length, stream_notes
from .constant_target import check_targets
from .evaluator import Evaluator
from .experiment import Experiment
from .freezing import frozen_after
from .load import load_config
from .model_call import ModelCall, hands_targets
from .session.hook_order import arrange_hooks, check_metrics, stop_compiling_for
from .step.batch_source import refuse_to_cut
from .step.build_train_op import build_train_op
from .step.fetches import check_fetches
from .step.gradients import check_clipping
from .step.penalty import Penalty
from .step.train_op import TrainOp
from .trial import Trial
from .uncounted_batches import check_uncounted

_SCALED_BY_ALL = (
    "this run was made by a version that standardised its data over all rows, those for testing too: it keeps that; "
    "trained anew, it is standardised over its training rows"
)


@held_places()
@refusing_exits()
def build(
    config: Config | str | Path | Mapping[str, Any], fitted: Fitted | None = None, *, trains: bool = True
) -> Experiment:
    """Turn a configuration into an experiment that is ready to run.

    Args:
        config: from `load_config`, or what it takes: a path, a name, or the configuration itself, such as a run's.
        fitted: what a run took from its training rows, where it goes on or is measured: nothing is fitted anew then.
        trains: whether it is built to be trained, and not only to be measured.

    Raises:
        ConfigError: a piece cannot be made, or two do not fit together; located in the configuration.
        DataError: data is missing or damaged.
    """
    if not isinstance(config, Config):
        config = load_config(config)
    compatibility.seed_everything(config.seed)
    with located(config, "train.device"):
        device, note = choose_device(config.train.device, config.train.soft_placement)
    splits = make_splits(config, fitted)
    batches = make_batches(config, splits, device)
    dataset = splits.dataset
    target_notes = check_targets(config, splits) if fitted is None else []  # older runs go on with what they have
    check_length(config, batches)
    length = compatibility.run_length(config, batches.steps_per_epoch)

    with located(config, "model", "data"):
        call = ModelCall(config.data.call, hands_targets(config.loss.component.build, config.data.targets_from))
        model = make_model(config, dataset)
        work = compatibility.try_forward(model, call, splits.train.examples(0, 2), batches.batch_size)
        model.to(device)
        if config.train.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] (torch's own stub knows it not)
        compatibility.check_storable(model)
    threads = choose_threads(config.train.threads, work)
    torch.set_num_threads(threads)
    if config.train.deterministic and device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)

    loss = compatibility.bind_fitting(config, config.loss, dataset, device, known_targets(splits))
    with located(config, "loss" if config.loss.weights is None else "loss.weights"):
        loss = weighed(loss, config.loss.of, config.loss.target, config.loss.weights)
    undo = dataset.target_scale.undone if dataset.original_units and dataset.target_scale is not None else None
    bound = {each.label: compatibility.bind_fitting(config, each, dataset, device) for each in config.metrics}
    metrics = {
        each.label: selected(in_original_units(bound[each.label], each.component, undo), each.of, each.target)
        for each in config.metrics
    }

    trained = compatibility.trained_together(config, model, loss)
    for part, made in zip((*config.metrics, *config.data.augment), (*metrics.values(), *batches.augment), strict=True):
        compatibility.refuse_parameters(config, part, made, trained)
    extra_updates = make_updates(config, model)
    with located(config, "train.l2", "model"):
        penalty = Penalty.of(config.train.l2, model)
    optimizer = make_optimizer(config, trained)
    with located(config, "schedule", *compatibility.RUN_LENGTH):
        schedule = configured_schedule(with_modes(config, config.schedule), length, config.seed, config.schedule.warmup)

    with located(config, "train.clip_value"):
        check_clipping(model, config.train.clip_value)
    with located(config, "train.accumulate"):
        refuse_to_cut(batches, config.train.accumulate)
    train_op = build_train_op(
        model,
        loss,
        optimizer,
        data=batches,
        updates=extra_updates,
        accumulate=config.train.accumulate,
        clip_norm=config.train.clip_norm,
        clip_value=config.train.clip_value,
        l2=penalty,
        on_nan=config.stop.on_nan,
        loss_above=config.stop.loss_above,
        precision=config.train.precision,
        compile=config.train.compile,
        num_steps=length.num_steps,
        work=work,
        seed=config.seed,
        call=call,
    )
    evaluators = _make_evaluators(config, train_op, metrics, splits)
    trial = Trial(config, splits, train_op, evaluators, length, work)
    trial.measure()
    if trains:
        trial.train()
        check_uncounted(config, evaluators)
    notes = check_independence(config, evaluators["train"], batches)
    if isinstance(splits.train, StreamPart):
        del evaluators["train"]  # a stream can be looked at, but not measured
    experiment = Experiment(config, dataset, splits, train_op, batches, schedule, evaluators, length, device, threads)
    experiment.targets = trial.targets
    experiment.hooks = configured_hooks(config, schedule, length, evaluators)
    _check_fetches(experiment)
    with located(config, "data.val"):  # the configuration has been checked: what is left is a part without examples
        named_hooks = arrange_hooks(experiment.hooks, [], [], is_chief=True)
        check_metrics(named_hooks, evaluators)
    stop_compiling_for(named_hooks, train_op)
    if config.train.channels_last and not any(weight.dim() == 4 for weight in model.parameters()):
        notes.append("train.channels_last changes nothing: no weight of the model has the 4 dimensions of images")
    if config.train.compile is True and train_op.compiled.why_not is not None:
        notes.append(f"train.compile: steps are not compiled: {train_op.compiled.why_not}")
    experiment.notes += [
        *([note] if note else []),
        *splits.notes,
        *target_notes,
        *loading_notes(config, splits),
        *stream_notes(batches),
        *notes,
    ]
    if splits.fitted.rows == "all" and splits.fitted.scales:
        experiment.notes.append(_SCALED_BY_ALL)
    return experiment


@refusing_exits()
def _check_fetches(experiment: Experiment) -> None:
    """Refuse hooks of the configuration that will ask for what no step has, which would be found at their first firing.

    Raises:
        ConfigError: located at the hook's argument.
    """
    config, hooks = experiment.config, experiment.hooks
    for part, hook in zip(reversed(config.hooks), reversed(hooks), strict=False):  # the user's own come last
        try:
            check_fetches(experiment.train_op, hook.fetches)
        except SessionError as error:
            raise config.problem(f"{part.path}.fetches", str(error), code="unknown-name") from error


def build_schedule(config: Config) -> tuple[Callable[[int], float], RunLength]:
    """Build the schedule alone, and return it with the run's length; data is read only to measure epochs.

    Raises:
        ConfigError: the schedule cannot be made; located in the configuration.
        DataError: data is missing or damaged.
    """
    length = RunLength(config.train.steps)
    if config.train.epochs is not None or any(length.unit == "epochs" for length in _lengths(config.schedule)):
        batches = make_batches(config, make_splits(config), torch.device("cpu"))
        check_length(config, batches)
        length = compatibility.run_length(config, batches.steps_per_epoch)
    with located(config, "schedule", *compatibility.RUN_LENGTH):
        return configured_schedule(
            with_modes(config, config.schedule), length, config.seed, config.schedule.warmup
        ), length


def _lengths(schedule: ScheduleConfig) -> list[Length]:
    values = [schedule.warmup, *(value for part in schedule.nested() for value in part.args.values())]
    items = [item for value in values for item in (value if isinstance(value, tuple) else (value,))]
    return [item for item in items if isinstance(item, Length)]


def make_model(config: Config, known: AnyData | DataFacts) -> nn.Module:
    """Make the model of a configuration, as training from step 0 begins with it; lazy modules have no shapes yet.

    Args:
        config: of the run.
        known: what fills the model's arguments.

    Raises:
        ValueError: it makes no module.
    """
    compatibility.seed_everything(rng.key(config.seed, "init"))
    model = config.model.component.make(**compatibility.filled(config.model, known))
    if not isinstance(model, nn.Module):
        raise ValueError(f"{config.model.name} made {described(model)}, which is not a torch.nn.Module")
    for _ in (*model.named_parameters(), *model.named_buffers()):  # as others will ask for them
        pass
    return model


def make_optimizer(config: Config, trained: Trained) -> torch.optim.Optimizer:
    """Make the optimizer of a configuration over what is ever trained, and freeze what is not at first.

    Raises:
        ConfigError: located at what is refused.
    """
    with frozen_after(config, trained), located(config, "optimizer", "model"):
        groups = [{"match": list(group.match), **group.args} for group in config.optimizer.groups]
        return optimizers.make_optimizer(trained, config.optimizer.component, groups=groups, **config.optimizer.args)


def make_updates(config: Config, model: nn.Module) -> list[Update]:
    made = []
    for update in config.updates:
        with located(config, update.path):
            made.append(updates.make_update(update.component.build, model, **update.args))
    return made


def _make_evaluators(
    config: Config, train_op: TrainOp, metrics: dict[str, Callable[..., Tensor]], splits: Splits
) -> dict[str, Evaluator]:
    known = averages_of(train_op.optimizer, train_op.updates)
    if (wanted := config.eval.weights) not in known:
        raise config.problem("eval.weights", f"this run keeps no weights called '{wanted}': {', '.join(known)}")
    average = known[wanted]
    train = splits.train.first(config.data.eval_batch_size) if isinstance(splits.train, StreamPart) else splits.train
    parts = {"train": train, "val": splits.val, "test": splits.test}
    transforms = data.in_evaluation(config.data.augment)
    return {
        name: Evaluator(
            name,
            train_op.model,
            train_op.loss,
            metrics,
            part.to(train_op.device).after(*transforms),
            batch_size=config.data.eval_batch_size,
            precision=config.train.precision,
            ema=average,
            gradients=config.eval.gradients,
            call=train_op.call,
        )
        for name, part in parts.items()
        if part is not None
    }

"""From a configuration to objects: the one place that turns names into things.

`build` reads top to bottom in the order in which things depend on each other: data, model, loss and metrics, extra
updates, optimizer, schedule, train op, evaluators, hooks.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..components import data, optimizers, schedules, updates
from ..components.data import Batches, Dataset, Splits
from ..components.hooks.checkpoint import CheckpointHook
from ..components.hooks.csv import CsvHook
from ..components.hooks.evaluation import EvaluationHook
from ..components.hooks.hook import Every, Hook
from ..components.hooks.learning_rate import LearningRateSetterHook
from ..components.hooks.logging import LoggingHook
from ..components.hooks.mlflow import MlflowHook
from ..components.hooks.remote import RemoteHook
from ..components.hooks.stop import EarlyStoppingHook, StopAfterHook, StopAtStepHook
from ..components.hooks.summary import SummaryHook
from ..components.hooks.wandb import WandbHook
from ..components.optimizers.shared.averaging import Averaging
from ..components.updates import Update
from ..components.updates.ema import Ema
from ..config import ComponentConfig, Config, ScheduleConfig, goal
from ..config.lengths import Length, RunLength
from ..config.located import located
from ..run_directory.rows import RowLog
from ..system import rng, storage
from ..system.devices import choose_device, choose_threads
from ..system.environment import describe_environment
from . import compatibility
from .evaluator import Evaluator
from .session.session import MonitoredTrainingSession
from .step.penalty import Penalty
from .step.train_op import TrainOp, build_train_op


@dataclass
class Experiment:
    """Everything that a configuration names, built and fitted together.

    Args:
        config: what it was built from.
        data: the whole data set.
        splits: its parts: train, val, test.
        train_op: with model, loss, optimizer and batches inside.
        schedule: step -> multiple of the optimizer's rate, or absolute rate.
        evaluators: by split.
        length: of the run; None for num_steps when only a clock ends it.
        device: that everything is on.
        threads: CPU threads.
        hooks: the stock ones that the configuration's sections ask for, then the user's own; for one session.
        notes: what the user should know, such as a device that was replaced.
    """

    config: Config
    data: Dataset
    splits: Splits
    train_op: TrainOp
    schedule: Callable[[int], float]
    evaluators: dict[str, Evaluator]
    length: RunLength
    device: torch.device
    threads: int
    hooks: list[Hook] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def model(self) -> nn.Module:
        return self.train_op.model

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def eval_metric(self) -> tuple[str, Literal["max", "min"]]:
        """Return the metric that decides what is best, and whether `max` or `min` is."""
        return goal.eval_metric(self.config)

    def _make_hooks(self) -> list[Hook]:
        config, run = self.config, self.length
        metric, mode = self.eval_metric
        hooks: list[Hook] = [LearningRateSetterHook(self.schedule)]
        if run.num_steps is not None:
            hooks.append(StopAtStepHook(last_step=run.num_steps))
        if config.train.max_time is not None:
            hooks.append(StopAfterHook(config.train.max_time.amount))
        hooks.append(LoggingHook(self._every("log.every", config.log.every), rows=True, lines=False))
        hooks.append(LoggingHook(self._every("log.lines", config.log.lines), rows=False))
        with located(config, "log.to"):
            hooks += self._make_writers()
        during = [split for split in ("val",) if split in self.evaluators]  # test is read once, at the end
        after = [split for split in ("val", "test") if split in self.evaluators]
        hooks.append(EvaluationHook(self._every("eval.every", config.eval.every), during, after))
        if config.stop.patience is not None or config.stop.at_target:
            target = config.eval.target if config.stop.at_target else None
            hooks.append(EarlyStoppingHook(metric, mode, config.stop.patience, target))
        hooks.append(
            CheckpointHook(
                self._every("checkpoint.every", config.checkpoint.every),
                config.checkpoint.keep,
                metric if config.checkpoint.best else None,
                mode,
                config.checkpoint.keep_every_hours,
            )
        )
        return hooks + [self._user_hook(hook) for hook in config.hooks]

    def _make_writers(self) -> list[Hook]:
        """Return the hooks that write rows to places other than the metrics log."""
        makers: dict[str, Callable[[], Hook]] = {
            "tensorboard": lambda: SummaryHook(every=self._every("log.every", self.config.log.every)),
            "csv": CsvHook,
            "mlflow": lambda: MlflowHook(params=self.config.to_dict()),
            "wandb": lambda: WandbHook(params=self.config.to_dict()),
        }
        return [makers[place]() for place in dict.fromkeys(self.config.log.to) if place in makers]

    def session(
        self, folder: Path | None = None, hooks: Sequence[Hook] = (), **options: Any
    ) -> MonitoredTrainingSession:
        """Open a monitored session on the train op.

        Args:
            folder: the run directory; None keeps nothing.
            hooks: more hooks, such as a progress bar.
            options: more arguments of MonitoredTrainingSession.
        """
        own = self.hooks
        rows = None
        if folder is None:  # then there is no place for them to write
            own = [hook for hook in own if not isinstance(hook, SummaryHook | CsvHook | RemoteHook)]
        elif os.environ.get("RANK", "0") == "0":
            storage.make_dir(folder, exist_ok=True)
            rows = RowLog(folder / "metrics.jsonl")
        return MonitoredTrainingSession(
            self.train_op,
            checkpoint_dir=folder / "checkpoints" if folder else None,
            summary_dir=folder,
            rows=rows,
            hooks=[*own, *hooks],
            evaluators=self.evaluators,
            init_fn=self.initialise if self.config.init is not None else None,
            **options,
        )

    def initialise(self, model: nn.Module) -> None:
        """Give a model its initial weights as `init` says; a run that is resumed has its own.

        Raises:
            ConfigError: they do not fit, or cannot be read; located at `init`.
        """
        init = self.config.init
        if init is not None:
            with located(self.config, "init"), torch.no_grad():
                compatibility.seed_everything(rng.key(self.config.seed, "init", 1))  # equal however often it is called
                init.component.make(model, **init.args)

    def initial_model(self) -> nn.Module:
        """Return the model as training from step 0 begins with it: a copy where `init` changes it."""
        if self.config.init is None:
            return self.model
        model = copy.deepcopy(self.model)
        self.initialise(model)
        return model

    def environment(self) -> dict[str, Any]:
        """Return what `env.json` records."""
        return describe_environment(
            self.device, self.threads, precision=self.config.train.precision, code=self.config.code_files
        )

    def _every(self, key: str, length: Length) -> Every:
        with located(self.config, key):
            return Every.of(length, self.length)

    def _user_hook(self, hook: ComponentConfig) -> Hook:
        with located(self.config, hook.path):
            args = {name: self._hook_argument(value) for name, value in hook.args.items()}
            made = hook.component.make(**args)
            if not isinstance(made, Hook):
                raise ValueError(f"{hook.name} made a {type(made).__name__}, which is not an optrun Hook")
            return made

    def _hook_argument(self, value: Any) -> Any:
        if isinstance(value, Length):
            return Every.of(value, self.length)
        if isinstance(value, ComponentConfig) and value.component.kind == "schedule":
            return _make_schedule(value, self.length, self.config.seed)
        if isinstance(value, ComponentConfig) and value.component.kind == "function":
            return value.component.bind(**value.args)
        if isinstance(value, tuple):
            return tuple(self._hook_argument(item) for item in value)
        return value


def build(config: Config) -> Experiment:
    """Turn a configuration into an experiment that is ready to run.

    Raises:
        ConfigError: a piece cannot be made, or two do not fit together; located in the configuration.
        DataError: data is missing or damaged.
    """
    compatibility.seed_everything(config.seed)
    with located(config, "train.device"):
        device, note = choose_device(config.train.device, config.train.soft_placement)
    dataset, splits, batches = _make_data(config, device)
    length = compatibility.run_length(config, batches)

    with located(config, "model"):
        model, work = _make_model(config, dataset, splits)
        model.to(device)
    threads = choose_threads(config.train.threads, work)
    torch.set_num_threads(threads)
    if config.train.deterministic and device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)

    loss = compatibility.bind_fitting(config, config.loss, dataset)
    metrics = {metric.label: compatibility.bind_fitting(config, metric, dataset) for metric in config.metrics}
    compatibility.try_loss(config, model, loss, metrics, dataset, batches)

    extra_updates = _make_updates(config, model)
    with located(config, "optimizer"):
        groups = [{"match": list(group.match), **group.args} for group in config.optimizer.groups]
        optimizer = optimizers.make_optimizer(model, config.optimizer.component, groups=groups, **config.optimizer.args)
    with located(config, "schedule"):
        schedule = _make_schedule(config.schedule, length, config.seed, config.schedule.warmup)

    with located(config, "train.l2"):
        penalty = Penalty.of(config.train.l2, model) if config.train.l2 is not None else None
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
        seed=config.seed,
    )
    evaluators = _make_evaluators(config, train_op, metrics, splits)
    experiment = Experiment(config, dataset, splits, train_op, schedule, evaluators, length, device, threads)
    experiment.hooks = experiment._make_hooks()
    experiment.notes += [note] if note else []
    return experiment


def build_schedule(config: Config) -> tuple[Callable[[int], float], RunLength]:
    """Build the schedule alone, and return it with the run's length; data is read only to measure epochs.

    Raises:
        ConfigError: the schedule cannot be made; located in the configuration.
        DataError: data is missing or damaged.
    """
    length = RunLength(config.train.steps)
    if config.train.epochs is not None or any(length.unit == "epochs" for length in _lengths(config.schedule)):
        length = compatibility.run_length(config, _make_data(config, torch.device("cpu"))[2])
    with located(config, "schedule"):
        return _make_schedule(config.schedule, length, config.seed, config.schedule.warmup), length


def _lengths(schedule: ScheduleConfig) -> list[Length]:
    values = [schedule.warmup, *(value for part in schedule.nested() for value in part.args.values())]
    items = [item for value in values for item in (value if isinstance(value, tuple) else (value,))]
    return [item for item in items if isinstance(item, Length)]


def _make_data(config: Config, device: torch.device) -> tuple[Dataset, Splits, Batches]:
    with located(config, "data"):
        dataset = data.make_data(config.data.component, **config.data.args)
        splits = data.split(
            dataset,
            val=config.data.val,
            test=config.data.test,
            split_seed=config.data.split_seed,
            subset=config.data.subset,
        )
        batches = Batches(
            splits.train.inputs,
            splits.train.targets,
            batch_size=_batch_size(config, splits),
            seed=config.seed,
            drop_last=config.data.drop_last,
            augment=[compatibility.bound(augmentation) for augmentation in config.data.augment],
            device=device,
            num_classes=dataset.num_outputs if dataset.task == "classes" else None,
        )
    return dataset, splits, batches


def _batch_size(config: Config, splits: Splits) -> int:
    size = config.data.batch_size
    return len(splits.train.inputs) if size == "full" else size


def _make_model(config: Config, dataset: Dataset, splits: Splits) -> tuple[nn.Module, int]:
    """Make the model, lazy modules included, and count the work of one training step."""
    compatibility.seed_everything(rng.key(config.seed, "init"))
    model = config.model.component.make(**compatibility.filled(config.model, dataset))
    if not isinstance(model, nn.Module):
        raise ValueError(f"{config.model.name} made a {type(model).__name__}, which is not a torch.nn.Module")
    return model, compatibility.try_forward(model, splits.train.inputs[:2], _batch_size(config, splits))


def _make_updates(config: Config, model: nn.Module) -> list[Update]:
    made = []
    for update in config.updates:
        with located(config, update.path):
            made.append(updates.make_update(update.component.build, model, **update.args))
    return made


def _make_schedule(
    schedule: ComponentConfig, length: RunLength, seed: int, warmup: Length | None = None
) -> Callable[[int], float]:
    return schedules.make_schedule(
        schedule.component,
        num_steps=length.num_steps,
        steps_per_epoch=length.steps_per_epoch,
        warmup=warmup,
        run_seed=seed,
        **schedule.args,
    )


def _make_evaluators(
    config: Config, train_op: TrainOp, metrics: dict[str, Callable[..., Tensor]], splits: Splits
) -> dict[str, Evaluator]:
    if config.eval.weights == "ema":
        average = next((update for update in train_op.updates if isinstance(update, Ema)), None)
    else:  # an optimizer's own average is its result
        average = train_op.optimizer if isinstance(train_op.optimizer, Averaging) else None
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    transforms = data.in_evaluation(config.data.augment)
    return {
        name: Evaluator(
            name,
            train_op.model,
            train_op.loss,
            metrics,
            data.after(part.inputs.to(train_op.device), *transforms),
            part.targets.to(train_op.device),
            batch_size=config.data.eval_batch_size,
            precision=config.train.precision,
            ema=average,
        )
        for name, part in parts.items()
        if part is not None
    }

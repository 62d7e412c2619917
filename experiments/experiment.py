"""From a configuration to objects: the one place that turns names into things.

`build` reads top to bottom in the order in which things depend on each other: data, model, loss and metrics, extra
updates, optimizer, schedule, train op, evaluators, hooks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from . import data, fitting, optimizers, rng, schedules, storage, updates
from .config import ComponentConfig, Config
from .data import Batches, Dataset, Splits
from .devices import choose_device, choose_threads
from .environment import describe_environment
from .evaluation import Evaluator
from .fitting import located
from .hook import Every, Hook
from .hooks.checkpoint import CheckpointHook
from .hooks.evaluation import EvaluationHook
from .hooks.learning_rate import LearningRateSetterHook
from .hooks.logging import LoggingHook
from .hooks.stop import EarlyStoppingHook, StopAfterHook, StopAtStepHook
from .hooks.summary import SummaryHook
from .lengths import Length, RunLength
from .rows import RowLog
from .session import MonitoredTrainingSession
from .train_op import TrainOp, build_train_op
from .updates import Update
from .updates.ema import Ema


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
        return fitting.eval_metric(self.config)

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
        if "tensorboard" in config.log.to:
            hooks.append(SummaryHook(every=self._every("log.every", config.log.every)))
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
        if folder is None:  # then there is no place for summaries
            own = [hook for hook in own if not isinstance(hook, SummaryHook)]
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
            **options,
        )

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
            return _make_schedule(value, self.length)
        return value


def build(config: Config) -> Experiment:
    """Turn a configuration into an experiment that is ready to run.

    Raises:
        ConfigError: a piece cannot be made, or two do not fit together; located in the configuration.
        DataError: data is missing or damaged.
    """
    fitting.seed_everything(config.seed)
    with located(config, "train.device"):
        device, note = choose_device(config.train.device, config.train.soft_placement)
    dataset, splits, batches = _make_data(config, device)
    length = fitting.run_length(config, batches)

    with located(config, "model"):
        model, work = _make_model(config, dataset, splits)
        model.to(device)
    threads = choose_threads(config.train.threads, work)
    torch.set_num_threads(threads)
    if config.train.deterministic and device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)

    loss = fitting.bind_fitting(config, config.loss, dataset)
    metrics = {metric.label: fitting.bind_fitting(config, metric, dataset) for metric in config.metrics}
    fitting.try_loss(config, model, loss, metrics, dataset, batches)

    extra_updates = _make_updates(config, model)
    with located(config, "optimizer"):
        groups = [{"match": list(group.match), **group.args} for group in config.optimizer.groups]
        optimizer = optimizers.make_optimizer(model, config.optimizer.component, groups=groups, **config.optimizer.args)
    with located(config, "schedule"):
        schedule = _make_schedule(config.schedule, length, config.schedule.warmup)

    train_op = build_train_op(
        model,
        loss,
        optimizer,
        data=batches,
        updates=extra_updates,
        accumulate=config.train.accumulate,
        clip_norm=config.train.clip_norm,
        clip_value=config.train.clip_value,
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
            batch_size=config.data.batch_size,
            seed=config.seed,
            drop_last=config.data.drop_last,
            augment=[fitting.bound(augmentation) for augmentation in config.data.augment],
            device=device,
        )
    return dataset, splits, batches


def _make_model(config: Config, dataset: Dataset, splits: Splits) -> tuple[nn.Module, int]:
    """Make the model, lazy modules included, and count the work of one training step."""
    fitting.seed_everything(rng.key(config.seed, "init"))
    model = config.model.component.make(**fitting.filled(config.model, dataset))
    if not isinstance(model, nn.Module):
        raise ValueError(f"{config.model.name} made a {type(model).__name__}, which is not a torch.nn.Module")
    return model, fitting.try_forward(model, splits.train.inputs[:2], config.data.batch_size)


def _make_updates(config: Config, model: nn.Module) -> list[Update]:
    made = []
    for update in config.updates:
        with located(config, update.path):
            made.append(updates.make_update(update.component.build, model, **update.args))
    return made


def _make_schedule(
    schedule: ComponentConfig, length: RunLength, warmup: Length | None = None
) -> Callable[[int], float]:
    return schedules.make_schedule(
        schedule.component,
        num_steps=length.num_steps,
        steps_per_epoch=length.steps_per_epoch,
        warmup=warmup,
        **schedule.args,
    )


def _make_evaluators(
    config: Config, train_op: TrainOp, metrics: dict[str, Callable[..., Tensor]], splits: Splits
) -> dict[str, Evaluator]:
    ema = next((update for update in train_op.updates if isinstance(update, Ema)), None)
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    return {
        name: Evaluator(
            name,
            train_op.model,
            train_op.loss,
            metrics,
            part.inputs.to(train_op.device),
            part.targets.to(train_op.device),
            batch_size=config.data.eval_batch_size,
            precision=config.train.precision,
            ema=ema if config.eval.weights == "ema" else None,
        )
        for name, part in parts.items()
        if part is not None
    }

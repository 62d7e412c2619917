"""From a configuration to objects: the one place that turns names into things.

`build` reads top to bottom in the order in which things depend on each other: data, model, loss and metrics, extra
updates, optimizer, schedule, train op, evaluators, hooks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import data, losses, metrics, models, optimizers, rng, schedules, storage, updates
from .arguments import Argument
from .config import ComponentConfig, Config, ConfigError
from .data import Batches, Dataset, Splits, augmentations
from .devices import choose_device, choose_threads, count_work
from .environment import describe_environment
from .errors import OptrunError
from .evaluation import Evaluator
from .hook import Every, Hook
from .hooks import registry as hook_registry
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
from .updates.ema import Ema

REGISTRIES = {
    "optimizer": optimizers.registry,
    "schedule": schedules.registry,
    "model": models.registry,
    "data": data.registry,
    "augmentation": augmentations.registry,
    "loss": losses.registry,
    "metric": metrics.registry,
    "update": updates.registry,
    "hook": hook_registry,
}


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
    notes: list[str] = field(default_factory=list)

    @property
    def model(self) -> nn.Module:
        return self.train_op.model

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def eval_metric(self) -> tuple[str, str]:
        """Return the metric that decides what is best, and whether `max` or `min` is."""
        return _eval_metric(self.config)

    def hooks(self) -> list[Hook]:
        """Make the hooks that the configuration asks for: the stock ones by its sections, then the user's own."""
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
        held_out = [split for split in ("val", "test") if split in self.evaluators]
        if held_out:
            hooks.append(EvaluationHook(self._every("eval.every", config.eval.every), _val_only(held_out), held_out))
        if config.stop.patience is not None or config.stop.at_target:
            target = config.eval.target if config.stop.at_target else None
            hooks.append(EarlyStoppingHook(metric, mode, config.stop.patience, target))  # type: ignore[arg-type]
        hooks.append(
            CheckpointHook(
                self._every("checkpoint.every", config.checkpoint.every),
                config.checkpoint.keep,
                metric if config.checkpoint.best else None,
                mode,  # type: ignore[arg-type]
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
        if folder is not None:
            storage.make_dir(folder, exist_ok=True)
        return MonitoredTrainingSession(
            self.train_op,
            checkpoint_dir=folder / "checkpoints" if folder else None,
            summary_dir=folder,
            rows=RowLog(folder / "metrics.jsonl") if folder else None,
            hooks=[*self.hooks(), *hooks],
            evaluators=self.evaluators,
            **options,
        )

    def environment(self) -> dict[str, Any]:
        """Return what `env.json` records."""
        return describe_environment(
            self.device, self.threads, precision=self.config.train.precision, code=self.config.code_files
        )

    def _every(self, key: str, length: Length) -> Every:
        with _located(self.config, key):
            return Every.of(length, self.length)

    def _user_hook(self, hook: ComponentConfig) -> Hook:
        with _located(self.config, hook.path):
            args = dict(hook.args)
            if isinstance(args.get("every"), Length):
                args["every"] = Every.of(args["every"], self.length)
            made = hook.component.make(**args)
            if not isinstance(made, Hook):
                raise ValueError(f"{hook.name} made a {type(made).__name__}, which is not an optrun Hook")
            return made


def build(config: Config) -> Experiment:
    """Turn a configuration into an experiment that is ready to run.

    Raises:
        ConfigError: a piece cannot be made, or two do not fit together; located in the configuration.
        DataError: data is missing or damaged.
    """
    seed = config.seed
    _seed_everything(seed)
    with _located(config, "train.device"):
        device, note = choose_device(config.train.device, config.train.soft_placement)

    with _located(config, "data"):
        dataset: Dataset = config.data.component.make(**config.data.args)
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
            seed=seed,
            drop_last=config.data.drop_last,
            augment=[_bound(augmentation) for augmentation in config.data.augment],
            device=device,
        )
    length = _run_length(config, batches)

    with _located(config, "model"):
        _seed_everything(rng.key(seed, "init"))
        model: nn.Module = config.model.component.make(**_filled(config.model, dataset))
        if not isinstance(model, nn.Module):
            raise ValueError(f"{config.model.name} made a {type(model).__name__}, which is not a torch.nn.Module")
        work = _try_forward(model, splits.train.inputs[:2], config.data.batch_size)
        model.to(device)
    threads = choose_threads(config.train.threads, work)
    torch.set_num_threads(threads)
    if config.train.deterministic and device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)

    loss = _fitting(config, config.loss, dataset)
    measured = {metric.label: _fitting(config, metric, dataset) for metric in config.metrics}
    _try_loss(config, model, loss, measured, dataset, batches)

    extra = []
    for update in config.updates:
        with _located(config, update.path):
            extra.append(updates.make_update(update.component.build, model, **update.args))

    with _located(config, "optimizer"):
        groups = [{"match": list(group.match), **group.args} for group in config.optimizer.groups]
        optimizer = optimizers.make_optimizer(model, config.optimizer.component, groups=groups, **config.optimizer.args)
    with _located(config, "schedule"):
        schedule = schedules.make_schedule(
            config.schedule.component,
            num_steps=length.num_steps,
            steps_per_epoch=length.steps_per_epoch,
            warmup=config.schedule.warmup,
            **config.schedule.args,
        )

    train_op = build_train_op(
        model,
        loss,
        optimizer,
        data=batches,
        updates=extra,
        accumulate=config.train.accumulate,
        clip_norm=config.train.clip_norm,
        clip_value=config.train.clip_value,
        on_nan=config.stop.on_nan,
        loss_above=config.stop.loss_above,
        precision=config.train.precision,
        compile=config.train.compile,
        seed=seed,
    )
    ema = next((update for update in extra if isinstance(update, Ema)), None)
    evaluators = {
        name: Evaluator(
            name,
            model,
            loss,
            measured,
            part.inputs.to(device),
            part.targets.to(device),
            batch_size=config.data.eval_batch_size,
            precision=config.train.precision,
            ema=ema if config.eval.weights == "ema" else None,
        )
        for name, part in {"train": splits.train, "val": splits.val, "test": splits.test}.items()
        if part is not None
    }
    notes = [note] if note else []
    return Experiment(config, dataset, splits, train_op, schedule, evaluators, length, device, threads, notes)


# ---- the steps of build ----------------------------------------------------------------------------------------------


class _located:  # noqa: N801 (read as a word: `with _located(config, "model"):`)
    """Turn what a constructor refuses into an error at the place that asked for it."""

    def __init__(self, config: Config, path: str):
        self._config, self._path = config, path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ConfigError) or error is None:
            return
        if isinstance(error, OptrunError):
            if error.exit_code == 2:
                raise self._config.problem(self._path, str(error)) from error
        elif isinstance(error, ValueError | TypeError | RuntimeError | LookupError):
            raise self._config.problem(self._path, f"{type(error).__name__}: {error}") from error


def _seed_everything(seed: int) -> None:
    """Seed what user code may draw from; optrun's own draws are keyed (see rng.py)."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def _run_length(config: Config, batches: Batches) -> RunLength:
    per_epoch = batches.steps_per_epoch
    if config.train.epochs is None:
        return RunLength(config.train.steps, per_epoch)
    return RunLength(Length(config.train.epochs, "epochs").steps(RunLength(steps_per_epoch=per_epoch)), per_epoch)


def _filled(model: ComponentConfig, dataset: Dataset) -> dict[str, Any]:
    """Add what the data knows to a model's arguments, unless they were given."""
    known = {
        "input_shape": dataset.input_shape,
        "num_outputs": dataset.num_outputs,
        "num_classes": dataset.num_outputs,
    }
    wanted: Sequence[Argument] = model.component.signature.arguments
    fill = {a.name: known[a.name] for a in wanted if a.name in known and a.name not in model.given}
    return {**model.args, **fill}


def _val_only(held_out: Sequence[str]) -> list[str]:
    """Return what is measured during training: never the test split, which is read once, at the end."""
    return [split for split in held_out if split == "val"]


def _bound(component: ComponentConfig) -> Callable[..., Any]:
    return component.component.bind(**component.args)


def _try_forward(model: nn.Module, inputs: Tensor, batch_size: int) -> int:
    """Run the model once, so that lazy modules get their shapes; return the work of a training step."""
    training = model.training
    model.eval()
    with torch.no_grad():
        work = count_work(model, inputs, batch_size)
    model.train(training)
    return work


def _fitting(config: Config, part: ComponentConfig, dataset: Dataset) -> Callable[..., Tensor]:
    """Bind a loss or metric, after a look at whether it is made for this kind of target."""
    task = part.component.facts.get("task")
    if task is not None and task != dataset.task:
        raise config.problem(
            part.path,
            f"{part.component.kind} '{part.name}' is for {task}, but the targets of data '{config.data.name}' are "
            f"{dataset.task}",
            hint=_others(part.component.kind, dataset.task),
        )
    with _located(config, part.path):
        return _bound(part)


def _others(kind: str, task: str) -> str | None:
    registry = REGISTRIES[kind]
    names = [name for name in registry.names() if registry.get(name).facts.get("task") == task]
    return f"for {task}: {', '.join(names)}" if names else None


def _try_loss(
    config: Config,
    model: nn.Module,
    loss: Callable[..., Tensor],
    measured: Mapping[str, Callable[..., Tensor]],
    dataset: Dataset,
    batches: Batches,
) -> None:
    """Measure two examples, so that outputs that do not fit the loss are found before the run."""
    inputs, targets = batches.inputs[:2], batches.targets[:2]
    training = model.training
    model.eval()
    with torch.no_grad():
        outputs = model(inputs)
        if dataset.task == "classes" and outputs.shape[1:2] < (dataset.num_outputs,):
            raise config.problem(
                "model",
                f"{config.model.label} gives outputs of shape {tuple(outputs.shape)}, but data '{config.data.name}' "
                f"has {dataset.num_outputs} classes",
            )
        with _located(config, config.loss.path):
            value = loss(outputs, targets)
            if not isinstance(value, Tensor) or value.dim() != 0:
                shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(
                    f"a loss must return one number, the mean over the batch; {config.loss.name} gave {shape}"
                )
        for (name, metric), part in zip(measured.items(), config.metrics, strict=True):
            with _located(config, part.path):
                if (values := metric(outputs, targets)).shape[:1] != targets.shape[:1]:
                    raise ValueError(f"a metric must return one value per example; {name} gave {tuple(values.shape)}")
    model.train(training)


def _eval_metric(config: Config) -> tuple[str, str]:
    name = config.eval.metric
    part = next((metric for metric in config.metrics if name.endswith(f"/{metric.label}")), None)
    own = part.component.facts.get("mode", "min") if part else "min"
    return name, config.eval.mode or own

"""The plan of a run, read from the objects that would do it: steps and their parts, hooks, rates, saves, time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ...components.data import DrawnBatches, StreamBatches
from ...components.hooks.hook import defines
from ...components.initializers.matching import InitialWeights
from ...components.schedules import watching
from ...components.schedules.rate import LearningRate
from ...config import Config
from ...errors import DivergedError
from ...system import downloads
from ...system.raised import refusing_exits
from ...training.build import build
from ...training.experiment import Experiment
from ...training.load import load_config
from ...training.session.hook_order import arrange_hooks
from ...training.step.parts import Part, parts_of
from .blocks import Blocks, blocks
from .costs import Probe, probe
from .firing import Firing, firing
from .forecast import Duration, Forecast, Saves
from .schedule_values import try_schedules
from .selections import Selection, selections
from .stages import Stage, stages

_TOLD_SECS = 1.0  # of compiling
#: Entries of a parameter group that say how it is computed, not what.
_INTERNAL = {
    *("params", "param_names", "initial_lr", "lr_scale", "foreach", "fused", "capturable", "differentiable"),
    *("maximize", "decoupled_weight_decay"),
}


class RateAt(NamedTuple):
    """The rate of the optimizer on both sides of a step: before it, None for step 0, and from it on."""

    step: int
    before: float | None
    at: float


@dataclass(frozen=True)
class Group:
    """A parameter group of the optimizer: its hyperparameters, and what it trains."""

    num_parameters: int
    num_tensors: int
    names: tuple[str, ...]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """The plan of a run.

    Args:
        name: of the configuration.
        parts: of a step, in order.
        groups: of the optimizer's parameters.
        selections: what each selector of the configuration matches.
        hooks: in the order in which they are called.
        blocks: of steps between two of their looks.
        schedule: of the rate, in words.
        rates: at the start, on both sides of each change of rule, at the last step.
        num_steps, num_epochs, num_examples: of the whole run; None where only a clock ends it; no number of epochs of a
            stream that does not say how long it is.
        steps_per_epoch: of the training data; None for such a stream.
        num_evaluations: of all evaluation hooks, while it trains; where only a clock ends it, as many as the probe lets
            expect, or None.
        max_secs: the time budget, if there is one.
        num_parameters: of the model.
        splits: examples in each part of the data; None for a stream of which nobody knows it.
        stream: how a run on a stream is resumed, and whether it can be repeated; None where data is no stream.
        device, threads, precision, seed: of the run.
        saves: its checkpoints.
        probe: what was measured, None without a probe.
        duration: of the run, None without a probe.
        stages: what is trained from which step on; empty where that is all of it.
        initial: what `init` takes over from where, and what it does not; None where nothing says so.
        notes: what else there is to know.
    """

    name: str
    parts: tuple[Part, ...]
    groups: tuple[Group, ...]
    selections: tuple[Selection, ...]
    hooks: tuple[Firing, ...]
    blocks: Blocks
    schedule: str
    rates: tuple[RateAt, ...]
    num_steps: int | None
    num_epochs: float | None
    num_examples: int | None
    steps_per_epoch: int | None
    num_evaluations: int | None
    max_secs: float | None
    num_parameters: int
    splits: Mapping[str, int | None]
    stream: Mapping[str, Any] | None
    device: str
    threads: int
    precision: str
    seed: int
    saves: Saves
    probe: Probe | None
    duration: Duration | None
    stages: tuple[Stage, ...]
    initial: InitialWeights | None
    notes: tuple[str, ...]


@refusing_exits()
def plan(config: Config | str | Path | Mapping[str, Any], *, measure: bool = True) -> Plan:
    """Return what a run would do, without doing it; nothing is downloaded or kept.

    Args:
        config: of the run: from `load_config`, or what it takes.
        measure: whether to take a few real steps, an evaluation of the validation part and a save, for the duration
            and the size of a checkpoint; all of it in a folder for temporary files.

    Raises:
        ConfigError: the configuration cannot be built, or a schedule gives what is no rate at some step.
        DataError: data is missing or damaged.
        DivergedError: the few steps met a value that is not finite.
    """
    config = load_config(config)
    with downloads.refused("a plan downloads nothing, the run would"):
        experiment = build(config)
    experiment.initial()  # what cannot be initialised has no plan
    try_schedules(experiment)
    probed = _probed(experiment) if measure else None
    length, train_op = experiment.length, experiment.train_op
    named = arrange_hooks(experiment.hooks, (), (), is_chief=True)
    forecast = Forecast(experiment, probed)
    data, per_epoch = experiment.batches, experiment.batches.steps_per_epoch
    return Plan(
        name=config.name,
        parts=tuple(_parts(experiment)),
        groups=tuple(_group(group) for group in train_op.optimizer.param_groups),
        selections=tuple(selections(config, train_op.trained)),
        hooks=tuple(firing(name, hook, length.steps_per_epoch, length.num_steps) for name, hook in named.items()),
        blocks=blocks(named, length.steps_per_epoch, length.num_steps),
        schedule=str(experiment.schedule),
        rates=tuple(_rates(experiment)),
        num_steps=length.num_steps,
        num_epochs=length.num_steps / per_epoch if length.num_steps and per_epoch else None,
        num_examples=_num_examples(experiment),
        steps_per_epoch=per_epoch,
        num_evaluations=forecast.num_evaluations,
        max_secs=forecast.max_secs,
        num_parameters=experiment.num_parameters,
        splits=experiment.splits.sizes(),
        stream=data.facts() if isinstance(data, StreamBatches) else None,
        device=str(experiment.device),
        threads=experiment.threads,
        precision=config.train.precision,
        seed=config.seed,
        saves=forecast.saves(),
        probe=probed,
        duration=forecast.duration(),
        stages=tuple(stages(experiment)),
        initial=experiment.initial_weights,
        notes=tuple(_notes(experiment, probed)),
    )


def _probed(experiment: Experiment) -> Probe:
    try:
        with experiment.located():
            return probe(experiment)
    except DivergedError as error:
        error.add_note("these were the few steps that a plan measures; --no-probe (measure=False) leaves them out")
        raise


def _parts(experiment: Experiment) -> list[Part]:
    """Return the parts of a step, those named in the configuration by their names there."""
    config, data = experiment.config, experiment.batches
    looks = any(defines(hook, "after_gradients") for hook in experiment.hooks)
    flavor = config.optimizer.component.flavor
    drawn = f", drawn {data.drawn}" if data.drawn else ""
    names = {
        "batch": f"{_number_in_batch(data)} of {config.data.label}{drawn}",
        "loss": config.loss.label + _weighed(config),
        "optimizer": config.optimizer.label + (f" (flavor {flavor})" if flavor else ""),
    }
    updates = iter(config.updates)
    parts = []
    for part in parts_of(experiment.train_op, after_gradients=looks):
        what = next(updates).label if part.name == "update" else names.get(part.name, part.what)
        parts.append(part._replace(what=what))
    return parts


def _group(group: Mapping[str, Any]) -> Group:
    settings = {name: value for name, value in group.items() if name not in _INTERNAL}
    num_parameters = sum(parameter.numel() for parameter in group["params"])
    return Group(num_parameters, len(group["params"]), tuple(group.get("param_names", ())), settings)


def _rates(experiment: Experiment) -> list[RateAt]:
    """Return the rates that the hook would set, on both sides of every boundary."""
    rate = LearningRate.of(experiment.schedule, experiment.train_op.optimizer)
    num_steps = experiment.length.num_steps
    rates = [RateAt(0, None, rate(0)), *(RateAt(*boundary) for boundary in rate.boundaries(num_steps))]
    if num_steps is not None and num_steps - 1 > rates[-1].step:
        rates.append(RateAt(num_steps - 1, rate(num_steps - 2), rate(num_steps - 1)))
    return rates


def _weighed(config: Config) -> str:
    return "" if config.loss.weights is None else f", examples count by the weights '{config.loss.weights}'"


def _number_in_batch(data: DrawnBatches | StreamBatches) -> str:
    if data.num_examples is None:
        return f"{data.size_of(0)} of the stream"
    in_batch = min(data.size_of(0), data.num_examples)
    return f"{in_batch} of {data.num_examples:,} examples"


def _num_examples(experiment: Experiment) -> int | None:
    if experiment.length.num_steps is None:
        return None
    data = experiment.batches
    if isinstance(data, StreamBatches):
        return experiment.length.num_steps * data.size_of(0)
    epochs, rest = divmod(experiment.length.num_steps, data.steps_per_epoch)
    in_epoch = min(data.num_drawn, data.steps_per_epoch * data.batch_size)
    return epochs * in_epoch + min(rest * data.batch_size, in_epoch)


def _notes(experiment: Experiment, probed: Probe | None) -> list[str]:
    config, notes = experiment.config, list(experiment.notes)
    for part in watching(experiment.schedule):
        notes.append(f"the schedule goes by {part.metric}: its rates are shown as if that never stopped improving")
    if config.stop.patience is not None:
        notes.append(f"may end earlier: after {config.stop.patience} evaluations without a better {config.eval.metric}")
    if config.stop.at_target:
        notes.append(f"may end earlier: at {config.eval.metric} {config.eval.target}")
    if probed is not None and probed.compiling_secs >= _TOLD_SECS:
        secs = round(probed.compiling_secs)
        notes.append(f"compiling took {secs} s here, which is not in the duration")
    if probed is not None and config.hooks:
        names = ", ".join(hook.label for hook in config.hooks)
        notes.append(f"what these hooks cost is not in the duration: {names}")
    return notes

"""What kind of targets a run learns: as its data says, or else as its loss and metrics, which compare with them, do."""

from __future__ import annotations

from dataclasses import replace

from torch import nn
from torch.nn import functional

from ..components.data import AnyData, DataFacts
from ..components.data.dataset import Task
from ..config import ComponentConfig, Config
from ..config.goal import label_of
from ..config.sections import MetricConfig

_OF_TORCH: dict[Task, tuple[object, ...]] = {
    "classes": (nn.CrossEntropyLoss, nn.NLLLoss, functional.cross_entropy, functional.nll_loss),
    "values": (
        *(nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCEWithLogitsLoss),
        *(functional.mse_loss, functional.l1_loss, functional.smooth_l1_loss, functional.huber_loss),
        functional.binary_cross_entropy_with_logits,
    ),
}


def task_of(config: Config, known: AnyData | DataFacts) -> Task | None:
    """Return the kind of the targets of a run; None where nothing tells.

    The data's own word comes first, then the loss's, unless that takes anything; then the metrics', the one that judges
    the run before the others; and names of classes are those of classes.

    Args:
        config: of the run.
        known: its data, or what is known of it.
    """
    if known.task is not None:
        return known.task
    for part in (config.loss, *judging_first(config)):
        if (task := task_of_part(part)) is not None:
            return task
    return "classes" if known.class_names else None


def task_of_part(part: ComponentConfig) -> Task | None:
    """Return what kind of targets a loss or metric is for; None for one that takes any, or one of the user's own."""
    facts, build = part.component.facts, part.component.inmost
    if facts.get("takes_any"):
        return None
    if (task := facts.get("task")) is not None:
        return task
    return next((task for task, known in _OF_TORCH.items() if any(build is each for each in known)), None)


def completed(config: Config, facts: DataFacts) -> DataFacts:
    """Return what is known of a run's data, with what it does not say itself and the run does.

    That is the kind of its targets, and the number of outputs that the model was given.
    """
    given = (config.model.args.get(name) for name in ("num_outputs", "num_classes"))
    num_outputs = next((number for number in (facts.num_outputs, *given) if isinstance(number, int)), None)
    return replace(facts, task=task_of(config, facts), num_outputs=num_outputs)


def judging_first(config: Config) -> list[MetricConfig]:
    """Return the metrics of a run, the one that judges it before the others."""
    label = label_of(config.eval.metric)
    return sorted(config.metrics, key=lambda each: each.label != label)

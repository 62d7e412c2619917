"""What is trained from which step on, where a part of the model is frozen at first."""

from __future__ import annotations

from dataclasses import dataclass

from ...components.hooks.unfreeze import UnfreezeHook
from ...components.optimizers.shared.parameter_groups import Named, all_parameters, selected
from ...training.experiment import Experiment


@dataclass(frozen=True)
class Stage:
    """A part of a run in which the same parameters are trained.

    Args:
        step: the number of completed steps at its beginning.
        num_tensors, num_parameters: that are trained in it.
        freed: the names of those that are trained in it and were not before.
    """

    step: int
    num_tensors: int
    num_parameters: int
    freed: tuple[str, ...]


def stages(experiment: Experiment) -> list[Stage]:
    """Return the stages of a run in order; none where all is trained from the start to the end."""
    named = all_parameters(experiment.train_op.trained)
    trained = {each.name: each for each in named if each.parameter.requires_grad}
    if len(trained) == len(named):
        return []
    found = [_stage(0, trained, ())]
    hooks = [hook for hook in experiment.hooks if isinstance(hook, UnfreezeHook)]
    for hook in sorted(hooks, key=lambda hook: hook.at):
        matched = [named[place] for place in sorted(selected(hook.match, named, "match", "parameters"))]
        freed = tuple(each.name or "" for each in matched if each.name not in trained)
        trained |= {each.name: each for each in matched}
        found.append(_stage(hook.at, trained, freed))
    return found


def _stage(step: int, trained: dict[str | None, Named], freed: tuple[str, ...]) -> Stage:
    return Stage(step, len(trained), sum(each.parameter.numel() for each in trained.values()), freed)

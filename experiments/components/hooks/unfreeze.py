"""Layers that are frozen at first, and trained from a step on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import nn

from ...errors import UsageError
from ..optimizers.shared.parameter_groups import all_parameters, selected
from ..schedules.resolve import Steps
from ..trained import Trained, listed
from . import register_hook
from .hook import Every, Hook, Phase
from .session_view import BoundSession, StepView


@register_hook(
    "unfreeze",
    source="gradual unfreezing: Howard and Ruder, 2018, arXiv:1801.06146",
    example={"at": "2 epochs", "match": ["blocks.*"]},
    in_steps=("at",),
)
class UnfreezeHook(Hook):
    """Train parameters from a step on that were frozen until then.

    Steps up to number `at` leave them as they are, the next one moves them, with the rate and weight decay of their
    group, at the rate that the schedule has there; what an optimizer remembers of a parameter begins then. A batch norm
    layer that is freed whole normalises by its batches again, if it did not. Checkpoints hold what is frozen.

    Args:
        at: the completed step from which on they are trained.
        match: which parameters: globs over names, or the words bias, norm, conv, linear and embedding, as for
            parameter groups.

    Raises:
        UsageError: a selector matches nothing, or the optimizer does not hold what is to be freed.
    """

    may_draw = False
    phase = Phase.CONTROL

    def __init__(self, at: Steps, match: Sequence[str] = ("*",)):
        if at < 1:
            raise UsageError("at: what is freed at step 0 is never frozen: leave it out of train.freeze")
        self.at, self.match = at, tuple(match)
        self.trigger = Every.once(at)

    def after_create_session(self, session: BoundSession) -> None:
        named = all_parameters(session.train_op.trained)
        held = {id(p) for group in session.train_op.optimizer.param_groups for p in group["params"]}
        chosen = [named[position] for position in sorted(selected(self.match, named, "match", "parameters"))]
        missing = [each.name or "" for each in chosen if id(each.parameter) not in held]
        if missing:
            raise UsageError(
                f"the optimizer does not hold {listed(missing)}: make it before they are frozen, as train.freeze does"
            )
        self._parameters = {each.name or "": each.parameter for each in chosen}
        if session.step >= self.at:
            self._free(session)

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        self._free(ctx.session)

    def _free(self, session: BoundSession) -> None:
        freed = {name for name, parameter in self._parameters.items() if not parameter.requires_grad}
        for name in freed:
            self._parameters[name].requires_grad_(True)
        for layer in batch_norms_of(session.train_op.trained, freed):
            layer.train()


def batch_norms_of(trained: Trained, names: Collection[str]) -> list[nn.Module]:
    """Return the layers that keep running statistics and all of whose parameters are among `names`."""
    found = []
    for name, layer in trained.named_modules():
        own = [f"{name}.{inner}" for inner, _ in layer.named_parameters(recurse=False)]
        if getattr(layer, "running_mean", None) is not None and own and all(each in names for each in own):
            found.append(layer)
    return found

"""Extra updates by name: objects that the train op applies together with the optimizer, as one group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ...registry import Registry

registry = Registry("update", __name__, given=1, base=f"{__name__}:Update")
register_update = registry.register


class Update:
    """One of the updates that a train op groups with the optimizer's.

    An update is made from the model; it may replace modules of it, but never parameters.
    """

    def start(self) -> None:
        """See the weights that training begins with, where they are not those that the update was made with."""

    def apply(self) -> None:
        """Carry the update out; called once a step, right after the optimizer, under `torch.no_grad`."""
        raise NotImplementedError

    def repeat(self) -> None:
        """Learn that the coming forward passes evaluate this step's batch once more: what they leave does not count."""

    def next_micro_batch(self) -> None:
        """Learn that the coming forward pass is of another part of this step's batch."""

    def discard(self) -> None:
        """Drop what the forward passes of a skipped batch left behind."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state that is not part of the model's own."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""


def make_update(update: str | Callable[..., Any] | Update, model: nn.Module, **args: Any) -> Update:
    """Make an update by name, from its class, or take it as it is.

    Raises:
        UsageError: no update has that name.
    """
    if isinstance(update, Update):
        return update
    if isinstance(update, str):
        return registry.get(update).make(model, **args)
    return update(model, **args)


__all__ = ["Update", "make_update", "register_update", "registry"]

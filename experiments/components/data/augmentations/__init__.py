"""Augmentations by name: functions `(inputs, generator, *, …) -> inputs` on whole batches.

All randomness comes from the generator, which is seeded by the number of the batch. One that mixes examples returns
`Mixed` (see batches.py), and the targets are mixed alike. One that is not random, and that evaluation needs as well
(a standardisation), has the fact `evaluation`, or in code of the user's own the attribute `evaluation = True`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ....registry import Component, Registry
from ....registry.argument_checks import bound_component
from ....registry.calls import Calling

if TYPE_CHECKING:
    from ....config import ComponentConfig
    from ..batches import Augmentation
    from ..stored import Step

registry = Registry("augmentation", __name__, given=2, base="torch.nn:Module")
register_augmentation = registry.register


def make_augmentation(name: str | Component, *, base: Path = Path(), **args: Any) -> Augmentation:
    """Return the augmentation called `name` as a function of (inputs, generator).

    Raises:
        UsageError: an unknown name, or an unknown or impossible argument.
    """
    return bound_component(registry, name, base, args)


def in_evaluation(chosen: Sequence[ComponentConfig]) -> list[Step]:
    """Return those of a configuration's augmentations that evaluation applies too, as functions of the inputs alone."""
    return [_alone(item) for item in chosen if _facts_of(item.component).get("evaluation")]


def _facts_of(component: Component) -> Mapping[str, Any]:
    return component.facts or {"evaluation": getattr(component.inmost, "evaluation", False)}


def _alone(item: ComponentConfig) -> Step:
    augmentation, calling = item.component.bind(**item.args), Calling(item.path, "the augmentation, in evaluation")

    def alone(inputs: torch.Tensor) -> torch.Tensor:
        with calling:
            return augmentation(inputs, torch.Generator(inputs.device))

    return alone

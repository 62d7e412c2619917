"""Augmentations by name: functions `(inputs, generator, *, …) -> inputs` on whole batches.

All randomness comes from the generator, which is seeded by the number of the batch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...checks import bound_component
from ...registry import Component, Registry

if TYPE_CHECKING:
    from ..batches import Augmentation

registry = Registry("augmentation", __name__, given=2)
register_augmentation = registry.register


def make_augmentation(name: str | Component, *, base: Path = Path(), **args: Any) -> Augmentation:
    """Return the augmentation called `name` as a function of (inputs, generator).

    Raises:
        UsageError: an unknown name, or an unknown or impossible argument.
    """
    return bound_component(registry, name, base, args)

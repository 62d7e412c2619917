"""All registries by kind: what a configuration can name."""

from __future__ import annotations

from ..registry import Registry
from . import data as data_folder
from . import initializers, losses, metrics, models, optimizers, schedules, updates
from .data import augmentations
from .hooks import registry as hook_registry

REGISTRIES: dict[str, Registry] = {
    "optimizer": optimizers.registry,
    "schedule": schedules.registry,
    "model": models.registry,
    "init": initializers.registry,
    "data": data_folder.registry,
    "augmentation": augmentations.registry,
    "loss": losses.registry,
    "metric": metrics.registry,
    "update": updates.registry,
    "hook": hook_registry,
}

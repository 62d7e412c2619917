"""Configuration: YAML to a frozen Config in which every value is checked and knows where it came from.

Importing this package is cheap; `load` brings in the YAML reader and pydantic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..registry import Registry
from ..registry.permissions import Permission
from .configuration import Config, TargetInfo
from .nodes import Part
from .origins import origins_text
from .problems import ConfigError, Origin, Problem
from .sections import (
    CheckpointConfig,
    ComponentConfig,
    DataConfig,
    EvalConfig,
    GroupConfig,
    LogConfig,
    MeasureConfig,
    OptimizerConfig,
    ScheduleConfig,
    StopConfig,
    TrainConfig,
)
from .yaml_text import to_yaml

__all__ = [
    "CheckpointConfig",
    "ComponentConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "EvalConfig",
    "GroupConfig",
    "LogConfig",
    "MeasureConfig",
    "OptimizerConfig",
    "Origin",
    "Problem",
    "ScheduleConfig",
    "StopConfig",
    "TargetInfo",
    "TrainConfig",
    "load",
    "origins_text",
    "to_yaml",
]


def load(
    target: str | Path | Mapping[str, Any] | Part,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    registries: Mapping[str, Registry],
    presets: Path | None = None,
    config_path: Sequence[Path] = (),
    trusted: Mapping[str, str] | Permission | None = None,
    project: Path | None = None,
    move: Callable[[str], str] | None = None,
) -> Config:
    """Load a configuration, every value checked, before anything is built.

    Args:
        target: a path; or a name, looked up in `./configs`, `config_path` and the presets; or the values themselves; or
            those that stand inside a file of something else.
        overrides: `["optimizer.lr=0.2"]`, or `{"optimizer.lr": 0.2}`.
        registries: the components by kind: `optimizer`, `schedule`, `model`, `data`, `loss`, `metric`, `update`,
            `hook`, `augmentation`.
        presets: the folder of presets; None for those that come with the package.
        config_path: more folders to look for `NAME.yaml` in.
        trusted: for a config stored with a run: the user's code that it may load (see `user_code.load_object`).
        project: for a config stored with a run: its project; else the one around the file, or the current folder.
        move: for a config stored with a run: where the absolute paths in the file are now.

    Raises:
        ConfigError: something in the configuration is wrong; it lists everything that is.
        UsageError: the target names nothing.
    """
    from .loading import load_config

    return load_config(target, overrides, registries, presets, config_path, trusted, project, move)

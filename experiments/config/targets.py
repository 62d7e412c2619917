"""Finds what a target names: a path, `./configs/NAME.yaml`, a file on the config path, or a preset."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from ..errors import UsageError, nearest
from ..system.observed import looked_for
from ..system.places import absolute
from .configuration import TargetInfo
from .nodes import Source
from .problems import display

log = logging.getLogger("optrun")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def preset_folder() -> Path:
    """Return the folder of the presets that come with the package."""
    return Path(str(resources.files(f"{(__package__ or '').rpartition('.experiments')[0]}.configs")))


def find_target(target: str, presets: Path, config_path: Sequence[Path]) -> tuple[TargetInfo, Source]:
    """Return what `target` names; the first match wins.

    Raises:
        UsageError: it names nothing; the message lists what there is.
    """
    path = Path(target)
    if is_file(path):
        return TargetInfo("path", path.stem, path), file_source(path)
    if NAME.fullmatch(target):
        for folder in (Path("configs"), *config_path):
            if is_file(path := folder / f"{target}.yaml"):
                return TargetInfo("config", target, path), file_source(path)
    preset = target.removeprefix("preset:")
    if (source := preset_source(preset, presets)) is not None:
        if preset == target and (missing := _missing(config_path)):
            log.warning("'%s' is the preset: %s", target, missing)
        return TargetInfo("preset", preset, source.path), source
    raise UsageError(_nothing(target, presets, config_path))


def find_extended(name: str, extender: Source, presets: Path) -> Source | None:
    """Return the file that `extends: name` means: beside the extending file first, then among the presets."""
    preset = preset_source(name.removeprefix("preset:"), presets, via=extender.file)
    if name.startswith("preset:"):
        return preset
    for written in (name, f"{name}.yaml"):
        path = extender.folder / written
        if not is_file(path):
            continue
        if preset is not None and extender.path is not None and path.resolve() == extender.path.resolve():
            continue  # `configs/mom.yaml` that extends `mom` means the preset
        if path.resolve().parent == presets.resolve() and preset is not None:
            return preset
        return file_source(path, via=extender.file)
    return preset


def file_source(path: Path, via: str | None = None) -> Source:
    return Source("file", display(path), absolute(path).parent, absolute(path), via)


def preset_source(name: str, presets: Path, via: str | None = None) -> Source | None:
    path = presets / f"{name}.yaml"
    if not NAME.fullmatch(name) or not is_file(path):
        return None
    return Source("preset", f"preset:{name}", absolute(presets), absolute(path), via)


def names_in(folder: Path) -> list[str]:
    """Return the names of the configs in a folder, sorted."""
    try:
        return sorted(path.stem for path in folder.glob("*.yaml"))
    except OSError:
        return []


def is_file(path: Path) -> bool:
    """Return True if there is such a file; a name that no file can have is none."""
    try:
        looked_for(absolute(path))
        return absolute(path).is_file()
    except (OSError, ValueError):
        return False


def _nothing(target: str, presets: Path, config_path: Sequence[Path]) -> str:
    if "/" in target or target.endswith((".yaml", ".yml")):
        path = Path(target)
        guess = nearest(path.stem, names_in(path.parent)) if "\0" not in target else None
        hint = f" Did you mean '{display(path.parent / guess)}.yaml'?" if guess else ""
        return f"no file '{target}'.{hint}"
    places = {display(folder): names_in(folder) for folder in (Path("configs"), *config_path)}
    places["presets"] = names_in(presets)
    guess = nearest(target.removeprefix("preset:"), [name for names in places.values() for name in names])
    hint = f" Did you mean '{guess}'?" if guess else ""
    known = "; ".join(f"{place}: {', '.join(names)}" for place, names in places.items() if names)
    missing = f". {missing}" if (missing := _missing(config_path)) else ""
    return f"no config or preset named '{target}'.{hint} Known: {known or 'none'}{missing}"


def _missing(config_path: Sequence[Path]) -> str:
    """Return which of the folders to look in are none, in words; empty where all are there."""
    for folder in config_path:
        looked_for(folder)
    missing = [display(folder) for folder in config_path if not folder.is_dir()]
    return f"OPTRUN_CONFIG_PATH names what is no folder: {', '.join(missing)}" if missing else ""

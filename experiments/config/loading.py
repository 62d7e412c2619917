"""Loads a configuration: read, extend, override, resolve, check; then either a Config or everything that is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import nearest
from ..registry import Registry
from ..registry.arguments import Natural
from ..registry.permissions import Permission
from ..registry.reachable import Reached, reach
from ..system.places import current_folder
from .configuration import Config, TargetInfo
from .cross_checks import CrossChecks
from .extends import Tree
from .nodes import Node, Part, Source
from .other_names import other_name
from .overrides import apply
from .paths import project_of, with_places
from .problems import DEFAULT, SHOWN, ConfigError, Origin, Problem, shorten
from .resolving import Resolver
from .sections import (
    COMPONENT_SECTIONS,
    CheckpointConfig,
    ComponentConfig,
    EvalConfig,
    LogConfig,
    OptimizerConfig,
    ScheduleConfig,
    StopConfig,
    TrainConfig,
)
from .targets import NAME, find_target, preset_folder
from .values import check, value_text

_LISTS = {"metrics": "metric", "updates": "update", "hooks": "hook"}
_SECTIONS: dict[str, type[Any]] = {
    "train": TrainConfig,
    "eval": EvalConfig,
    "stop": StopConfig,
    "checkpoint": CheckpointConfig,
    "log": LogConfig,
}
_OPTIONAL: dict[str, str | None] = {"schedule": "constant", "init": None}  # what stands for one that is not given
_KEYS = ("name", "seed", *COMPONENT_SECTIONS, *_LISTS, *_SECTIONS)
_SEED_LIMIT = 1 << 63


def load_config(
    target: str | Path | Mapping[str, Any] | Part,
    overrides: Sequence[str] | Mapping[str, Any],
    registries: Mapping[str, Registry],
    presets: Path | None,
    config_path: Sequence[Path],
    trusted: Mapping[str, str] | Permission | None,
    project: Path | None,
    move: Callable[[str], str] | None,
) -> Config:
    """See `config.load`."""
    presets = presets or preset_folder()
    problems: list[Problem] = []
    tree = Tree(presets, problems)
    if isinstance(target, Part):
        info, source = TargetInfo("path", target.name, target.source.path), target.source
        root = tree.from_part(target.node, source)
    elif isinstance(target, Mapping):
        info, source = TargetInfo("python", "run"), Source("python", "<python>", current_folder())
        root = tree.from_python(target, source)
    else:
        info, source = find_target(str(target), presets, config_path)
        root = tree.from_file(source)
    if move is not None:
        with_places(root, move)
    root, readable = apply(root, overrides, problems)
    if tree.fatal or not readable:
        raise ConfigError(problems)
    place = source.origin() if info.kind == "python" else dataclasses.replace(source.origin(1, 1), snippet=None)
    config = _Assembly(root, place, info, Resolver(registries, trusted, problems), is_stored=move is not None).config()
    folder = source.folder if source.kind == "file" else current_folder()
    reached = reach(config.roots()) if config.roots() else Reached()
    return dataclasses.replace(config, project=project or project_of(folder), reached=reached)


class _Assembly:
    """Puts a Config together from the merged tree."""

    def __init__(self, root: Node, place: Origin, info: TargetInfo, resolver: Resolver, is_stored: bool):
        self.nodes: dict[str, Node] = root.value
        self.place = place
        self.info = info
        self.is_stored = is_stored
        self.resolver = resolver
        self.problems = resolver.problems
        for path, node in root.walk():
            if node.value is not None and path:
                resolver.origins[path] = node.origin

    def config(self) -> Config:
        parts: dict[str, Any] = {"name": self._name(), "seed": self._seed()}
        for name, cls in COMPONENT_SECTIONS.items():
            parts[name] = self._component(name, cls)
        for name, kind in _LISTS.items():
            before = len(self.problems)
            parts[name] = self.resolver.components(self.nodes.get(name), kind, name)
            wrong = len(self.problems) > before
            if name == "metrics":
                parts["metrics_wrong"] = wrong
        for name, cls in _SECTIONS.items():
            parts[name] = self._section(name, cls)
        self._unknown_keys()
        self._default_metric(parts)
        CrossChecks(parts, self.resolver.origins, self.place, self.problems, self.is_stored).run()
        if self.problems:
            raise ConfigError(self.problems)
        del parts["metrics_wrong"]
        parts["optimizer"] = _without_lr(parts["optimizer"], parts["schedule"])
        return Config(**parts, target=self.info, place=self.place, origins=self.resolver.origins)

    def _name(self) -> str:
        node = self.nodes.get("name")
        given = node is not None and node.value is not None
        name = node.value if node is not None and given else self.info.name
        if not given:
            self.resolver.origins["name"] = DEFAULT if node is None else node.origin
        if not isinstance(name, str) or not NAME.fullmatch(name):
            origin = node.origin if node is not None and given else self.place
            written = node.plain if node is not None else name
            message = f"{value_text(written)} cannot name a run: use letters, digits, '.', '_' and '-', at most 64"
            self.resolver.note(origin, "name", "invalid-value", message, None if given else "set `name`")
        return str(name)

    def _seed(self) -> int:
        node = self.nodes.get("seed")
        if node is None or node.value is None:
            self.resolver.origins["seed"] = DEFAULT if node is None else node.origin
            return 0
        seed, mistakes = check(Natural, node.plain)
        if mistakes or seed >= _SEED_LIMIT:
            message = mistakes[0].message if mistakes else "expected a seed < 2**63"
            self.resolver.note(node.origin, "seed", "invalid-value", message)
        return seed

    def _component(self, name: str, cls: type[ComponentConfig]) -> ComponentConfig | None:
        node = self.nodes.get(name)
        if node is None or node.value is None:
            if name not in _OPTIONAL:
                message = f"no {name} is given"
                self.resolver.note(
                    self.place, name, "missing", message, f"add `{name}: NAME`; {self.resolver.known(name)}"
                )
                return None
            default = _OPTIONAL[name]
            if default is None:
                self.resolver.origins[name] = DEFAULT if node is None else node.origin
                return None
            node = Node(default, DEFAULT)
        if name == "init":
            node = _as_warm_start(node)
        return self.resolver.component(node, name, name, cls)

    def _section(self, name: str, cls: type[Any]) -> Any:
        section = self.resolver.section(cls, self.nodes.get(name), name)
        for field in dataclasses.fields(cls):
            self.resolver.origins.setdefault(f"{name}.{field.name}", DEFAULT)
        return section

    def _unknown_keys(self) -> None:
        for key, node in self.nodes.items():
            if key in _KEYS:
                continue
            guess = None if (elsewhere := other_name(key)) else self._guess(key)
            hint = elsewhere or (f"did you mean '{guess}'?" if guess else f"known: {', '.join(_KEYS)}")
            message = f"unknown key '{shorten(key)}'"
            if key == "entries":
                message, hint = "a file with `entries` is a comparison, not one run", "use `optrun compare`"
            elif key == "extends":
                message, hint = "`extends` belongs in a file", "name the file that should be extended as the target"
            elif "." in key and key.split(".")[0] in _KEYS and node.origin.kind != "override":
                section, _, rest = key.partition(".")
                hint = f"in a file, write `{section}: {{{rest}: …}}`"
            self.resolver.note(node.key or node.origin, shorten(key), "unknown-key", message, hint)

    def _guess(self, key: str) -> str | None:
        """Return the key that was probably meant: one of that name in a section, or one that looks like it."""
        if len(self.problems) >= SHOWN:
            return None
        known = self.resolver.key_paths
        paths = [*(path for path in self.resolver.origins if path in known), *known]  # those that are given first
        leaves = {path.rpartition(".")[2]: path for path in reversed(paths)}
        if key in leaves:
            return leaves[key]
        leaf = nearest(key, leaves)
        return nearest(key, _KEYS) or (leaves[leaf] if leaf else None)

    def _default_metric(self, parts: dict[str, Any]) -> None:
        """Judge by the first metric unless told otherwise, by the loss where there is none."""
        if parts["eval"] is not None and self.resolver.origins["eval.metric"].kind == "default" and parts["metrics"]:
            metric = f"val/{parts['metrics'][0].label}"
            parts["eval"] = dataclasses.replace(parts["eval"], metric=metric)


def _as_warm_start(node: Node) -> Node:
    """Name what `{from: RUN}` stands for."""
    if isinstance(node.value, dict) and "from" in node.value and "name" not in node.value:
        return dataclasses.replace(node, value={"name": Node("warm_start", node.origin), **node.value})
    return node


def _without_lr(optimizer: OptimizerConfig, schedule: ScheduleConfig) -> OptimizerConfig:
    """Drop the default rate where the schedule gives absolute ones: the two exclude each other."""
    if not any("values" in part.given for part in schedule.nested()):
        return optimizer
    return dataclasses.replace(optimizer, args={name: arg for name, arg in optimizer.args.items() if name != "lr"})

"""A comparison as a file: `base:`, `entries:`, and how they are compared; checked like a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..components.registries import REGISTRIES
from ..config import ConfigError, OptimizerConfig, Problem
from ..config.nodes import Node, Part, Source
from ..config.overrides import split_by_name
from ..config.plain import read_nodes
from ..config.problems import Origin, shorten, suggestion
from ..config.targets import NAME, file_source, find_extended, is_file, preset_folder
from ..config.values import check, value_text
from ..errors import NothingMatchedError, UsageError
from ..registry.user_code import absolute_reference
from ..report.conditions import Spellings, parse_conditions
from ..run_directory.run_dir import is_run
from ..training.load import load_config
from .entries import is_optimizer, make_each, make_entry
from .entry import Entry, of_config
from .options import OPTIONS
from .placing import at_its_centre, own_optimizer

_KEYS = ["base", "entries", *OPTIONS]


@dataclass(frozen=True)
class EntriesFile:
    """The content of such a file, its values at their places.

    Args:
        source: the file.
        base: what entries extend that do not say what they extend; None for nothing.
        entries: a target, or values, by name.
        options: those of `compare` that it sets, `gate` among them; `tune` is None for none.
        nodes: of the options.
    """

    source: Source
    base: Node | None
    entries: Mapping[str, Node]
    options: Mapping[str, Any]
    nodes: Mapping[str, Node]

    @property
    def folder(self) -> Path:
        """Return the folder that everything in the file is relative to."""
        return self.source.folder

    def make_entries(self, overrides: Sequence[str], root: Path, *, ignored: Sequence[str] = ()) -> list[Entry]:
        """Return the entries.

        Args:
            overrides: as in `compare`.
            root: where runs are looked up.
            ignored: keys that labels do not speak of.

        Raises:
            ConfigError: what entries say is not valid; it lists everything, each at its place.
            UsageError: an override is for no entry.
        """
        shared, own = split_by_name(overrides)
        base = self._base_optimizer() if self.base is not None else None
        problems: list[Problem] = []
        for name, node in self.entries.items():  # once without labels, so that everything that is wrong is found
            try:
                self._entry(name, node, (*shared, *own.get(name, ())), root, base)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        return make_each(
            list(self.entries),
            overrides,
            lambda name, given: self._entry(name, self.entries[name], given, root, base),
            ignored=ignored,
        )

    def check_metric(self, known: Sequence[str]) -> None:
        """Refuse a metric that not every entry measures.

        Raises:
            ConfigError: the file names one.
        """
        metric = self.options.get("metric")
        if metric is not None and metric not in known:
            message = f"not every entry measures {value_text(metric)}"
            hint = suggestion(metric, known, f"measured: {', '.join(known)}")
            raise ConfigError([Problem(self.nodes["metric"].origin, "metric", "invalid-value", message, hint)])

    def check_gates(self, entries: Sequence[Entry], metrics: Sequence[str], baseline: str | None) -> None:
        """Read the gates, before the first run.

        Raises:
            ConfigError: one is no condition on these entries.
        """
        node, problems = self.nodes.get("gate"), []
        if node is None or node.value is None:
            return
        known = Spellings((entry.name, entry.label) for entry in entries)
        for gate in node.value if isinstance(node.value, list) else [node]:
            try:
                parse_conditions([gate.value], known, metrics, baseline)
            except UsageError as error:
                problems.append(Problem(gate.origin, "gate", "invalid-value", str(error)))
        if problems:
            raise ConfigError(problems)

    # ---- one entry -----------------------------------------------------------------------------------------------

    def _entry(
        self, name: str, node: Node, overrides: tuple[str, ...], root: Path, base: OptimizerConfig | None
    ) -> Entry:
        if isinstance(node.value, Mapping):
            return self._of_values(name, node, overrides, base)
        said, where = name, node.key or node.origin
        if node.value is not None:
            said, where = node.value, node.origin
        beside = self.folder / said
        if is_file(beside) or said.endswith((".yaml", ".yml")) or is_run(beside):
            return self._of_target(name, str(beside), where, overrides, root)
        if self.base is None or said.startswith(("run:", "preset:")):
            return self._of_target(name, absolute_reference(said, self.folder), where, overrides, root)
        if not is_optimizer(said):
            raise self._no_optimizer(name, said, where)
        values = Node({"optimizer": Node(said, where, where)}, where, where)
        return self._of_values(name, values, overrides, base)

    def _of_target(self, name: str, target: str, where: Origin, overrides: tuple[str, ...], root: Path) -> Entry:
        try:
            return replace(make_entry(name, target, overrides, root), name=name, named=True)
        except (UsageError, NothingMatchedError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError([Problem(where, f"entries.{name}", "invalid-value", str(error))]) from None

    def _of_values(self, name: str, node: Node, overrides: tuple[str, ...], base: OptimizerConfig | None) -> Entry:
        if "seed" in node.value:
            seed = node.value["seed"]
            message = "each run has its seed from the plan, the same for all entries"
            hint = f"write `first_seed: {value_text(seed.plain)}` beside `entries`"
            raise ConfigError([Problem(seed.key or seed.origin, f"entries.{name}.seed", "unknown-key", message, hint)])
        extends = node.value.get("extends")
        on_base = self.base is not None and (extends is None or extends.value is None)
        extends = self.base if on_base else extends
        values = {key: child for key, child in node.value.items() if key != "extends"}
        if extends is not None:
            values = {"extends": extends, **values}
        part = Part(name, Node(values, node.origin, node.key), self.source)
        try:
            if on_base:
                config = at_its_centre(
                    lambda more: load_config(part, list(more)), base, overrides, schedules_itself="schedule" in values
                )
            else:
                config = load_config(part, list(overrides))
        except ConfigError as error:
            raise ConfigError([self._located(problem, name) for problem in error.problems]) from None
        except UsageError as error:
            raise ConfigError([Problem(node.origin, f"entries.{name}", "invalid-value", str(error))]) from None
        return of_config(name, f"entry of {self.source.file}", config, overrides)

    def _located(self, problem: Problem, name: str) -> Problem:
        """Return a problem with its key as this file has it."""
        if problem.origin.file != self.source.file or problem.origin.kind == "override":
            return problem
        if self.base is not None and problem.code == "extends" and problem.origin == self.base.origin:
            return replace(problem, key="base")
        return replace(problem, key=f"entries.{name}.{problem.key}".rstrip("."))

    def _no_optimizer(self, name: str, said: str, where: Origin) -> ConfigError:
        known = find_extended(said, self.source, preset_folder())
        message = f"under `base:`, a name means an optimizer on the base, and there is no optimizer '{shorten(said)}'"
        hint = suggestion(said, REGISTRIES["optimizer"].names())
        if known is not None and NAME.fullmatch(said):
            hint = f"to take that configuration with its own problem: {{extends: {said}}}"
        return ConfigError([Problem(where, f"entries.{name}", "invalid-value", message, hint)])

    # ---- the base ------------------------------------------------------------------------------------------------

    def _base_optimizer(self) -> OptimizerConfig | None:
        assert self.base is not None
        try:
            return self._optimizer_of(self.base)
        except ConfigError as error:
            raise ConfigError([self._of_base(problem) for problem in error.problems]) from None

    def _of_base(self, problem: Problem) -> Problem:
        is_here = problem.origin.file == self.source.file and problem.origin.kind != "override"
        return replace(problem, key="base") if is_here else problem

    def _optimizer_of(self, extends: Node) -> OptimizerConfig | None:
        """Return the optimizer of what entries extend, if it has one.

        Raises:
            ConfigError: that cannot be read; what only the entries complete is no fault.
        """
        part = Part("base", Node({"extends": extends}, extends.origin), self.source)
        try:
            return own_optimizer(lambda more: load_config(part, list(more)))
        except ConfigError as error:
            if all(problem.code == "missing" for problem in error.problems):
                return None
            raise


def read_entries_file(path: Path | None) -> EntriesFile | None:
    """Read a file of entries; None when it is an ordinary configuration, or no file.

    Raises:
        ConfigError: it has a key that a comparison does not have, no entries, or a value that is not what its key
            takes; it lists everything, each at its place.
    """
    if path is None or path.suffix not in (".yaml", ".yml") or not is_file(path):
        return None
    nodes = read_nodes(path).value
    if "entries" not in nodes:
        return None
    problems: list[Problem] = []
    for key, node in nodes.items():
        if key not in _KEYS:
            hint = suggestion(key, _KEYS, f"known: {', '.join(_KEYS)}")
            message = f"a comparison has no key '{shorten(key)}'"
            problems.append(Problem(node.key or node.origin, shorten(key), "unknown-key", message, hint))
    options = _options(nodes, problems)
    base = nodes.get("base")
    if base is not None and base.value is None:
        base = None
    if base is not None and not _is_base(base):
        message = f"expected a path, the name of a preset, or a list of these, got {value_text(base.plain)}"
        problems.append(Problem(base.origin, "base", "invalid-value", message))
    entries = _entries(nodes["entries"], problems)
    baseline = options.get("baseline")
    if isinstance(baseline, str) and entries and baseline not in entries:
        message = f"no entry is called {value_text(baseline)}"
        hint = suggestion(baseline, entries, f"entries: {', '.join(entries)}")
        problems.append(Problem(nodes["baseline"].origin, "baseline", "invalid-value", message, hint))
    if problems:
        raise ConfigError(problems)
    if "tune" in options and not options["tune"]:
        options["tune"] = None
    return EntriesFile(file_source(path), base, entries, options, nodes)


def _options(nodes: Mapping[str, Node], problems: list[Problem]) -> dict[str, Any]:
    options = {}
    for key in OPTIONS:
        node = nodes.get(key)
        if node is None or node.value is None:
            if node is not None and key == "tune":
                options[key] = None  # `tune:` alone says that there is none
            continue
        options[key] = node.plain  # as written: 1 and 1.0 give different digests
        _, mistakes = check(OPTIONS[key], node.plain)
        problems += [Problem(node.origin, key, "invalid-value", each.message, each.hint) for each in mistakes]
    return options


def _entries(node: Node, problems: list[Problem]) -> dict[str, Node]:
    if not isinstance(node.value, dict) or not node.value:
        message = f"expected a mapping of names to targets or values, got {value_text(node.plain)}"
        problems.append(Problem(node.origin, "entries", "invalid-value", message, "entries: {a: adam, b: mom}"))
        return {}
    for name, said in node.value.items():
        key = f"entries.{shorten(name)}"
        if not NAME.fullmatch(name):
            message = f"{value_text(name)} cannot name an entry: use letters, digits, '.', '_' and '-', at most 64"
            problems.append(Problem(said.key or said.origin, key, "invalid-value", message))
        if not isinstance(said.value, str | dict | None) or said.value == "":
            message = f"expected a target or a mapping of values, got {value_text(said.plain)}"
            problems.append(Problem(said.origin, key, "invalid-value", message))
    if len(node.value) < 2:
        message = "a comparison needs at least two entries"
        problems.append(Problem(node.origin, "entries", "invalid-value", message))
    return node.value


def _is_base(base: Node) -> bool:
    values = base.value if isinstance(base.value, list) else [base]
    return bool(values) and all(isinstance(each.value, str) and each.value for each in values)

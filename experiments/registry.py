"""Registries: names to components, found by folder scan, in plug-ins, or as `pkg.mod:Class` and `./file.py:Class`.

A plug-in is a package with an entry point in the group `optrun.KIND`, or a module that $OPTRUN_PLUGINS lists and that
registers its components when it is imported.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from .arguments import Signature, signature_of
from .errors import UsageError, unknown_name
from .user_code import CodeFile, is_code_reference, load_object

Built = TypeVar("Built", bound=Callable[..., Any])

#: Kinds whose arguments are bound ahead of the call: a class takes them all in its constructor.
_BOUND = ("schedule", "loss", "metric", "augmentation")


@dataclass(frozen=True)
class Component:
    """One named thing that a configuration can ask for.

    Args:
        kind: `optimizer`, `schedule`, …
        name: as written in YAML.
        build: the function or class behind it.
        given: how many leading parameters of `build` optrun supplies (an optimizer's `params`, a schedule's `step`).
        source: the paper or document that defines it.
        facts: what the kind wants to know besides: an optimizer's centre rate, a metric's mode and margin.
        code: the user's file that it came from, if it is the user's own.
    """

    kind: str
    name: str
    build: Callable[..., Any]
    given: int = 0
    source: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    code: CodeFile | None = None

    @cached_property
    def signature(self) -> Signature:
        given = 0 if inspect.isclass(self.build) and self.kind in _BOUND else self.given
        return signature_of(self.build, given)

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.build) or ""

    @property
    def summary(self) -> str:
        """Return the first sentence of the docstring."""
        return self.doc.split("\n\n")[0].replace("\n", " ")

    def make(self, *given: Any, **args: Any) -> Any:
        """Call `build`: an optimizer, a model, an update, a hook or data."""
        return self.build(*given, **args)

    def bind(self, **args: Any) -> Callable[..., Any]:
        """Return a callable of the given parameters alone: a schedule of `step`, a loss of (outputs, targets)."""
        if inspect.isclass(self.build):
            made: Any = self.build(**args)
            return made
        return functools.partial(self.build, **args) if args else self.build


class Registry:
    """The components of one kind.

    Args:
        kind: the singular word, as in `optrun describe KIND/NAME`.
        package: the package whose modules register themselves on import; scanned at the first look-up.
        given: how many leading parameters of each component optrun supplies.
    """

    def __init__(self, kind: str, package: str, given: int = 0):
        self.kind = kind
        self.package = package
        self.given = given
        self._components: dict[str, Component] = {}
        self._scanned = False

    def register(self, name: str, *, source: str = "", **facts: Any) -> Callable[[Built], Built]:
        """Return a decorator that registers a function or class as `name`.

        Args:
            name: the name in YAML.
            source: the paper or document that defines the component.
            facts: what else the kind wants to know (see each kind's package).

        Raises:
            UsageError: another component has that name.
        """

        def decorate(build: Built) -> Built:
            known = self._components.get(name)
            # A module that is run again (a notebook cell, a changed file) may replace its own component, nobody else's.
            if known is not None and _origin(known.build) != _origin(build):
                raise UsageError(f"two {self.kind}s are called '{name}': {_place(known.build)} and {_place(build)}")
            self._components[name] = Component(self.kind, name, build, self.given, source, facts)
            return build

        return decorate

    def names(self) -> list[str]:
        """Return all registered names, entry points included (which stay unloaded), sorted."""
        self._scan()
        return sorted({*self._components, *self._entry_points})

    def get(self, name: str, base: Path = Path(), trusted: Mapping[str, str] | None = None) -> Component:
        """Return the component called `name`.

        Args:
            name: a registered name, `pkg.mod:Class` or `./file.py:Class`.
            base: the folder that `./file.py` is relative to.
            trusted: see `user_code.load_object`.

        Raises:
            UsageError: there is no such component; the message has the nearest name.
        """
        if is_code_reference(name):
            build, code = load_object(name, base, trusted)
            if not callable(build):
                raise UsageError(f"{name} is a {type(build).__name__}, not a function or class")
            return Component(self.kind, name, build, self.given, source=code.path, code=code)
        self._scan()
        if name in self._entry_points:
            self._load_entry_points(name)
        if name not in self._components:
            raise UsageError(unknown_name(self.kind, name, self.names()))
        return self._components[name]

    def _scan(self) -> None:
        if self._scanned:
            return
        self._scanned = True  # at once, since a module may look something up while it is imported
        try:
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.package}.{module.name}")
            _import_plugins()
        except BaseException:
            self._scanned = False
            raise

    @cached_property
    def _entry_points(self) -> dict[str, list[metadata.EntryPoint]]:
        """The entry points that are not loaded yet: one for each name, unless packages compete for it."""
        found: dict[str, list[metadata.EntryPoint]] = {}
        for point in metadata.entry_points(group=f"optrun.{self.kind}"):
            found.setdefault(point.name, []).append(point)
        return found

    def _load_entry_points(self, name: str) -> None:
        for point in self._entry_points[name]:
            build = _load(point, f"{self.kind} '{name}' ({point.value})")
            known = self._components.get(name)
            if known is None or known.build is not build:  # loading may have registered it by decorator
                self.register(name, source=point.value)(build)
        del self._entry_points[name]


def _load(point: metadata.EntryPoint, label: str) -> Callable[..., Any]:
    try:
        build = point.load()
    except (Exception, SystemExit) as error:  # another package's code may raise anything
        raise UsageError(f"{label} fails when imported: {type(error).__name__}: {error}") from error
    if not callable(build):
        raise UsageError(f"{label} is a {type(build).__name__}, not a function or class")
    return build


def _import_plugins() -> None:
    """Import the modules in $OPTRUN_PLUGINS, a list with commas."""
    for name in filter(None, map(str.strip, os.environ.get("OPTRUN_PLUGINS", "").split(","))):
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # another package's code may raise anything
            raise UsageError(
                f"OPTRUN_PLUGINS: module '{name}' fails when imported: {type(error).__name__}: {error}"
            ) from error


def _origin(build: Callable[..., Any]) -> tuple[str, str]:
    module = getattr(build, "__module__", "")
    return getattr(sys.modules.get(module), "__file__", None) or module, getattr(build, "__qualname__", repr(build))


def _place(build: Callable[..., Any]) -> str:
    named = hasattr(build, "__module__") and hasattr(build, "__qualname__")
    return f"{build.__module__}.{build.__qualname__}" if named else repr(build)

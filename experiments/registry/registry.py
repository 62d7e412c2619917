"""Registries: names to components, found by folder scan, in plug-ins, or as `pkg.mod:Class` and `./file.py:Class`.

A plug-in is a package with an entry point in the group `optrun.KIND`, or a module that $OPTRUN_PLUGINS lists and that
registers its components when it is imported.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from ..errors import UsageError, unknown_name
from ..system.raised import is_failure, type_and_text
from . import handed
from .arguments import without_partials
from .code_files import PACKAGE, is_outside
from .component import Component
from .kinds import Instead, Kind, of_nothing
from .permissions import Permission
from .recorded_imports import record_imports
from .user_code import is_code_reference, load_object

Built = TypeVar("Built", bound=Callable[..., Any])


class Registry:
    """The components of one kind.

    Args:
        kind: the singular word, as in `optrun describe KIND/NAME`.
        package: the package whose modules register themselves on import; scanned at the first look-up. Empty for a kind
            of which nothing has a name of its own.
        given: how many leading parameters of each component optrun supplies.
        flavor: what a component's own flavor is called where a second one is registered under its name.
        base: `module:Class` that a class of an installed package must be a subclass of to be named by `pkg.mod:Class`;
            of one of several, between spaces.
    """

    def __init__(self, kind: str, package: str, given: int = 0, flavor: str = "", base: str = ""):
        self.kind = kind
        self.package = package
        self.given = given
        self.flavor = flavor
        self.base = base
        self.extras: dict[str, str] = {}  # by the beginning of a name: where such components come from
        self.instead: Instead = of_nothing
        self._components: dict[str, Component] = {}
        self._flavors: dict[str, dict[str, Component]] = {}
        self._scanned = False

    def register(
        self, name: str, *, flavor: str | None = None, source: str = "", **facts: Any
    ) -> Callable[[Built], Built]:
        """Return a decorator that registers a function or class as `name`.

        Args:
            name: the name in YAML.
            flavor: another rule under a name that exists: YAML picks it by `flavor`.
            source: the paper or document that defines the component.
            facts: what else the kind wants to know (see each kind's package).

        Raises:
            UsageError: another component has that name.
        """

        return self._adding(name, flavor, source, facts, _calling_module())

    def _adding(
        self, name: str, flavor: str | None, source: str, facts: Mapping[str, Any], module: str
    ) -> Callable[[Built], Built]:
        """Return the decorator that `register` describes; `module` is what registers the component."""

        def decorate(build: Built) -> Built:
            components, label = self._components, name
            if flavor is not None:
                components, label = self._flavors.setdefault(name, {}), flavor
            known = components.get(label)
            # A module that is run again (a notebook cell, a changed file) may replace its own component, nobody else's.
            if known is not None and _origin(known.build) != _origin(build):
                what = f"'{name}'" if flavor is None else f"'{name}' with flavor '{flavor}'"
                raise UsageError(f"two {self.kind}s are called {what}: {_place(known.build)} and {_place(build)}")
            named = (name for name in (getattr(build, "__module__", None), module) if name and not is_outside(name))
            modules = tuple(dict.fromkeys(named))
            components[label] = Component(
                self.kind, name, build, self.given, source, facts, modules=modules, flavor=flavor or ""
            )
            return build

        return decorate

    def names(self) -> list[str]:
        """Return all registered names, entry points included (which stay unloaded), sorted."""
        self._scan()
        return sorted({*self._components, *self._entry_points})

    def get(self, name: str, base: Path = Path(), trusted: Mapping[str, str] | Permission | None = None) -> Component:
        """Return the component called `name`.

        Args:
            name: a registered name, `pkg.mod:Class` or `./file.py:Class`, or what stands for a class or function that
                Python has handed over.
            base: the folder that `./file.py` is relative to.
            trusted: see `user_code.load_object`.

        Raises:
            UsageError: there is no such component; the message has the nearest name.
        """
        if is_code_reference(name) and (found := handed.find(name)) is not None:
            return self._handed(name, found)
        if is_code_reference(name):
            build, code = load_object(name, base, trusted, Kind(self.kind, self.base, self._has, self.instead))
            return Component(self.kind, name, build, self.given, source=code.path, code=code)
        self._scan()
        if name in self._entry_points:
            self._load_entry_points(name)
        if name not in self._components:
            raise UsageError(self.missing(name) or unknown_name(self.kind, name, self.names()))
        component = self._components[name]
        return self._with_variants(component) if name in self._flavors else component

    def _handed(self, name: str, found: handed.Handed) -> Component:
        """Return what was handed over, as the registered component that it may be."""
        inmost = without_partials(found.build)
        known = None
        if isinstance(name, handed.Reference) or inmost is not found.build:
            self._scan()
            known = next((each for each in self._components.values() if each.build is inmost), None)
        if known is not None and inmost is found.build:
            return self._with_variants(known) if known.name in self._flavors else known
        if (said := self.instead(inmost)) is not None:
            raise UsageError(said)
        if known is not None and not found.build.args:  # with all its arguments, of which some have other defaults
            return replace(known, name=str(name), build=found.build, modules=found.modules)
        source = "" if found.code is None else found.code.path
        return Component(
            self.kind, str(name), found.build, self.given, source=source, code=found.code, modules=found.modules
        )

    def offering(self, attribute: str, wanted: Collection[str]) -> dict[str, Component]:
        """Return the components whose class has a name of its own for another place, by that name.

        Args:
            attribute: of the class, which holds the name: a hook's `log_to`.
            wanted: names that are asked for; entry points called so are loaded, others are not.

        Raises:
            UsageError: two components have the same name there, or an entry point cannot be loaded.
        """
        self._scan()
        for name in self._entry_points.keys() & set(wanted):
            self._load_entry_points(name)
        found: dict[str, Component] = {}
        for component in self._components.values():
            name = getattr(component.build, "__dict__", {}).get(attribute)
            if name is not None and found.setdefault(name, component) is not component:
                places = f"{_place(found[name].build)} and {_place(component.build)}"
                raise UsageError(f"two {self.kind}s have the {attribute} '{name}': {places}")
        return found

    def _has(self, build: object) -> bool:
        """Return True for a function or class that is registered, under whatever name."""
        registered = [*self._components.values(), *(each for own in self._flavors.values() for each in own.values())]
        if any(component.build is build for component in registered):
            return True
        place = f"{getattr(build, '__module__', '')}:{getattr(build, '__qualname__', '')}"
        return any(point.value == place for points in self._entry_points.values() for point in points)

    def missing(self, name: str) -> str | None:
        """Return a hint for a name that is another tool's, or begins as those of an extra do, none of which is here.

        For any other it is None.
        """
        for prefix, origin in self.extras.items():
            if name.startswith(prefix) and not any(known.startswith(prefix) for known in self.names()):
                return f"{self.kind} '{name}' comes with {origin}"
        return self.instead(name)

    def _with_variants(self, own: Component) -> Component:
        """Return a component that knows the other rules of its name."""
        variants: dict[str, Component] = {}
        for flavor, component in {self.flavor: own, **self._flavors[own.name]}.items():
            variants[flavor] = replace(component, flavor=flavor, variants=variants)
        return variants[self.flavor]

    def _scan(self) -> None:
        if self._scanned:
            return
        self._scanned = True  # at once, since a module may look something up while it is imported
        try:
            if self.package:
                _import_all(self.package)
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
                self._adding(name, None, point.value, {}, point.module)(build)
        del self._entry_points[name]


def _import_all(package: str) -> None:
    """Import a package and every module below it."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        if module.ispkg:
            _import_all(module.name)
        else:
            importlib.import_module(module.name)


def _load(point: metadata.EntryPoint, label: str) -> Callable[..., Any]:
    record_imports()
    try:
        build = point.load()
    except BaseException as error:  # another package's code may raise anything
        if not is_failure(error):
            raise
        raise UsageError(f"{label} fails when imported: {type_and_text(error)}") from error
    if not callable(build):
        raise UsageError(f"{label} is a {type(build).__name__}, not a function or class")
    return build


def _import_plugins() -> None:
    """Import the modules in $OPTRUN_PLUGINS, a list with commas."""
    record_imports()
    for name in filter(None, map(str.strip, os.environ.get("OPTRUN_PLUGINS", "").split(","))):
        try:
            importlib.import_module(name)
        except BaseException as error:  # another package's code may raise anything
            if not is_failure(error):
                raise
            raise UsageError(f"OPTRUN_PLUGINS: module '{name}' fails when imported: {type_and_text(error)}") from error


def _calling_module() -> str:
    """Return the module, outside of optrun, whose code is at work; empty where none is."""
    frame = inspect.currentframe()
    while frame is not None and (frame.f_globals.get("__name__") or "").partition(".")[0] == PACKAGE:
        frame = frame.f_back
    return (frame.f_globals.get("__name__") or "") if frame is not None else ""


def _origin(build: Callable[..., Any]) -> tuple[str, str]:
    module = getattr(build, "__module__", "")
    return getattr(sys.modules.get(module), "__file__", None) or module, getattr(build, "__qualname__", repr(build))


def _place(build: Callable[..., Any]) -> str:
    named = hasattr(build, "__module__") and hasattr(build, "__qualname__")
    return f"{build.__module__}.{build.__qualname__}" if named else repr(build)

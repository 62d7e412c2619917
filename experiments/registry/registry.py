"""Registries: names to components, found by folder scan, in plug-ins, or as `pkg.mod:Class` and `./file.py:Class`.

A plug-in is a package with an entry point in the group `optrun.KIND`, or a module that $OPTRUN_PLUGINS lists and that
registers its components when it is imported.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import keyword
import os
import pkgutil
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeVar

from ..errors import UsageError, unknown_name
from ..system.docstrings import docstring
from ..system.raised import is_failure, type_and_text
from .arguments import Argument, Signature, python_name, signature_of
from .code_files import PACKAGE, is_outside
from .kinds import Kind
from .permissions import Permission
from .reachable import Root
from .recorded_imports import record_imports
from .user_code import CodeFile, is_code_reference, load_object, root_of

Built = TypeVar("Built", bound=Callable[..., Any])

#: Kinds whose arguments are bound ahead of the call: a class takes them all in its constructor.
_BOUND = ("schedule", "loss", "metric", "augmentation", "function")


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
        code: the user's file that it came from, if the configuration names that.
        modules: outside of optrun that it came from under a registered name: its own, and the one that registered it.
        flavor: which of several rules of this name it is; empty where there is only one.
        variants: all rules of this name by flavor, this one included; empty where there is only one.
    """

    kind: str
    name: str
    build: Callable[..., Any]
    given: int = 0
    source: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    code: CodeFile | None = None
    modules: tuple[str, ...] = ()
    flavor: str = ""
    variants: Mapping[str, Component] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def signature(self) -> Signature:
        given = 0 if inspect.isclass(self.build) and self.kind in _BOUND else self.given
        own = signature_of(self.build, given)
        if not self.variants:
            return own
        flavor = Argument("flavor", Literal[tuple(self.variants)], self.flavor)  # type: ignore[valid-type]
        return Signature((*own.arguments, flavor), own.open)

    def of_flavor(self, flavor: Any) -> Component:
        """Return the component of this name that has the flavor; None means this one.

        Raises:
            UsageError: there is no such flavor.
        """
        if flavor is None:
            return self
        if flavor not in self.variants:
            known = ", ".join(self.variants) or "none: there is only one rule of this name"
            raise UsageError(f"{self.kind} '{self.name}' has no flavor {flavor!r}; it has: {known}")
        return self.variants[flavor]

    @property
    def doc(self) -> str:
        return docstring(self.build)

    @property
    def summary(self) -> str:
        """Return the first sentence of the docstring."""
        return self.doc.split("\n\n")[0].replace("\n", " ")

    def roots(self) -> list[Root]:
        """Return where to begin to look for the user's files behind this component; nothing for one of optrun's."""
        if self.code is not None:
            return [root_of(self.name, self.code)]
        return [Root(name) for name in self.modules]

    def make(self, *given: Any, **args: Any) -> Any:
        """Call `build`: an optimizer, a model, an update, a hook or data."""
        return self.build(*given, **self._own(args))

    def bind(self, **args: Any) -> Callable[..., Any]:
        """Return a callable of the given parameters alone: a schedule of `step`, a loss of (outputs, targets)."""
        args = self._own(args)
        if inspect.isclass(self.build):
            made: Any = self.build(**args)
            return made
        return functools.partial(self.build, **args) if args else self.build

    def _own(self, args: dict[str, Any]) -> dict[str, Any]:
        """Return arguments under Python's names, without the flavor, which has chosen this component already."""
        if not self.variants and not any(keyword.iskeyword(name) for name in args):
            return args
        known = self.signature.names()
        wanted = {name: value for name, value in args.items() if not (self.variants and name == "flavor")}
        return {python_name(name) if name in known else name: value for name, value in wanted.items()}


class Registry:
    """The components of one kind.

    Args:
        kind: the singular word, as in `optrun describe KIND/NAME`.
        package: the package whose modules register themselves on import; scanned at the first look-up.
        given: how many leading parameters of each component optrun supplies.
        flavor: what a component's own flavor is called where a second one is registered under its name.
        base: `module:Class` that a class of an installed package must be a subclass of to be named by `pkg.mod:Class`.
    """

    def __init__(self, kind: str, package: str, given: int = 0, flavor: str = "", base: str = ""):
        self.kind = kind
        self.package = package
        self.given = given
        self.flavor = flavor
        self.base = base
        self.extras: dict[str, str] = {}  # by the beginning of a name: where such components come from
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
            name: a registered name, `pkg.mod:Class` or `./file.py:Class`.
            base: the folder that `./file.py` is relative to.
            trusted: see `user_code.load_object`.

        Raises:
            UsageError: there is no such component; the message has the nearest name.
        """
        if is_code_reference(name):
            build, code = load_object(name, base, trusted, Kind(self.kind, self.base, self._has))
            return Component(self.kind, name, build, self.given, source=code.path, code=code)
        self._scan()
        if name in self._entry_points:
            self._load_entry_points(name)
        if name not in self._components:
            raise UsageError(self.missing(name) or unknown_name(self.kind, name, self.names()))
        component = self._components[name]
        return self._with_variants(component) if name in self._flavors else component

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
        """Return a hint for a name that begins as those of an extra do, none of which is here; None for any other."""
        for prefix, origin in self.extras.items():
            if name.startswith(prefix) and not any(known.startswith(prefix) for known in self.names()):
                return f"{self.kind} '{name}' comes with {origin}"
        return None

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

"""Components: what a name in a configuration stands for, with its signature, its source and the ways to make it."""

from __future__ import annotations

import functools
import inspect
import keyword
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from ..errors import UsageError
from ..system.docstrings import docstring
from .arguments import Argument, Signature, python_name, signature_of, without_partials
from .handed import is_of_a_program
from .object_digest import is_of_this_process
from .reachable import Root
from .user_code import CodeFile, root_of

#: Kinds whose arguments are bound ahead of the call: a class takes them all in its constructor.
_BOUND = ("schedule", "loss", "metric", "augmentation", "function")


@dataclass(frozen=True)
class Component:
    """One named thing that a configuration can ask for.

    Args:
        kind: `optimizer`, `schedule`, …
        name: as written in YAML.
        build: the function or class behind it, or a partial of one.
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
        given = 0 if self.is_class and self.kind in _BOUND else self.given
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
    def inmost(self) -> Any:
        """Return the function or class itself, of which `build` may be a partial."""
        return without_partials(self.build)

    @property
    def is_class(self) -> bool:
        """Return True for a class, which is made before it is called; a partial of one is the class with arguments."""
        return inspect.isclass(self.inmost)

    @property
    def fixed(self) -> Mapping[str, Any]:
        """Return the arguments by name that a partial has given already; others may still be given in their place."""
        return self.build.keywords if isinstance(self.build, functools.partial) else {}

    @property
    def doc(self) -> str:
        return docstring(self.inmost)

    @property
    def summary(self) -> str:
        """Return the first sentence of the docstring."""
        return self.doc.split("\n\n")[0].replace("\n", " ")

    @property
    def is_of_a_program(self) -> bool:
        """Return True if a notebook or a script has made it or handed it over, so that no other process finds it."""
        return self.code is None and (is_of_a_program(self.name) or is_of_this_process(self.build))

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
        if self.is_class:
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

"""Checks the arguments of one owner, a section or a component, and fills in the defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..registry.arguments import Argument
from ..registry.handed import Reference
from .limits import MAX_PROBLEMS
from .nodes import Node, join
from .other_names import other_name
from .problems import DEFAULT, SHOWN, ConfigError, Origin, Problem, shorten, suggestion
from .values import check, expected_text

_HINTS = {
    "log.every": "rows are written by steps, so that a resumed run writes the same ones; `log.lines` may be a time",
    "eval.every": "evaluations are counted in steps or epochs, so that a resumed run makes the same ones",
}


@dataclass(frozen=True)
class Owner:
    """Whose arguments they are.

    Args:
        label: as messages have it: `optimizer 'mom'`.
        path: its key path.
        arguments: what it takes.
        noun: what messages call one of them.
        is_open: whether it takes any other name as well.
        left_out: arguments that get no default here.
        place: what to point at when an argument is missing.
    """

    label: str
    path: str
    arguments: tuple[Argument, ...]
    noun: str = "argument"
    is_open: bool = False
    left_out: frozenset[str] = frozenset()
    place: Node | None = None


class Filler:
    """Collects problems and origins while values are checked.

    Args:
        problems: gets what is wrong.
    """

    def __init__(self, problems: list[Problem]):
        self.problems = problems
        self.origins: dict[str, Origin] = {}
        self.key_paths: dict[str, None] = {}  # the key paths of all arguments there are, given or not, in order

    def nested(self, node: Node, kind: str, many: bool, path: str) -> Any:
        """Return the component, or components, that an argument names."""
        raise NotImplementedError

    def note(self, origin: Origin, key: str, code: str, message: str, hint: str | None = None) -> None:
        """Add a problem.

        Raises:
            ConfigError: it is one too many.
        """
        self.problems.append(Problem(origin, key, code, message, hint))
        if len(self.problems) >= MAX_PROBLEMS:
            raise ConfigError(self.problems)

    def suggestion(self, name: str, known: Iterable[str], otherwise: str) -> str:
        """Return a hint at the known name that was probably meant, unless there are more problems than are shown."""
        return suggestion(name, known if len(self.problems) < SHOWN else (), otherwise) or otherwise

    def fill(self, owner: Owner, nodes: Mapping[str, Node]) -> dict[str, Any]:
        """Return all arguments, those that are wrong left out; null stands for the default."""
        known = {argument.name: argument for argument in owner.arguments}
        values: dict[str, Any] = {}
        self.key_paths |= dict.fromkeys(join(owner.path, name) for name in known)
        for name, argument in known.items():
            node = nodes.get(name)
            if node is not None and node.value is not None:
                self._take(values, argument, node, owner)
            elif argument.required:
                self._miss(argument, node, owner)
            elif name not in owner.left_out:
                self.origins[join(owner.path, name)] = node.origin if node is not None else DEFAULT
                values[name] = self.default(argument, join(owner.path, name))
        for name, node in nodes.items():
            if name in known:
                continue
            if not owner.is_open:
                self._refuse(name, node, owner)
            elif node.value is not None:
                self._take(values, Argument(name, Any), node, owner)
        return values

    def remember(self, node: Node, path: str) -> None:
        """Keep the places of a value and of everything inside it."""
        for key, inner in node.walk(path):
            self.origins.setdefault(key, inner.origin)

    def _take(self, values: dict[str, Any], argument: Argument, node: Node, owner: Owner) -> None:
        before, path = len(self.problems), join(owner.path, argument.name)
        self.remember(node, path)
        if argument.nested:
            value = self.nested(node, *argument.nested, path)
        elif handed := next((each for each in node.walk(path) if isinstance(each[1].value, Reference)), None):
            message = f"expected {expected_text(argument.annotation)}, got a class or function"
            self.note(handed[1].origin, handed[0], "invalid-value", message, "only components may be handed over")
            return
        else:
            value, mistakes = check(argument.accepted, node.plain)
            for mistake in mistakes:
                self._locate(node, path, mistake.path, mistake.message, mistake.hint or _HINTS.get(path))
        if len(self.problems) == before:
            values[argument.name] = value

    def default(self, argument: Argument, path: str) -> Any:
        """Return a default in the form that a given value would have."""
        default = argument.default
        if default is None:
            return None
        if argument.nested:
            kind, many = argument.nested
            names = default if many and isinstance(default, list | tuple) else (default,)
            if not all(isinstance(name, str) for name in names):
                return default
            nodes = [Node(name, DEFAULT) for name in names]
            return self.nested(Node(nodes, DEFAULT) if many else nodes[0], kind, many, path)
        value, mistakes = check(argument.annotation, list(default) if isinstance(default, tuple) else default)
        return default if mistakes else value

    def _miss(self, argument: Argument, node: Node | None, owner: Owner) -> None:
        place = node or owner.place
        if argument.name not in owner.left_out and place is not None:
            message = f"{owner.label} needs the argument '{argument.name}': {expected_text(argument.annotation)}"
            self.note(place.origin, join(owner.path, argument.name), "missing", message)

    def _refuse(self, name: str, node: Node, owner: Owner) -> None:
        known = [argument.name for argument in owner.arguments]
        otherwise = f"known: {shorten(', '.join(known), 200) or 'none'}"
        hint = other_name(name) or self.suggestion(name, known, otherwise)
        message = f"{owner.label} has no {owner.noun} '{shorten(name)}'"
        self.note(node.key or node.origin, join(owner.path, shorten(name)), f"unknown-{owner.noun}", message, hint)

    def _locate(self, node: Node, path: str, steps: Iterable[int | str], message: str, hint: str | None) -> None:
        for step in steps:
            node, path = node.value[step], join(path, step)
        self.note(node.origin, path, "invalid-value", message, hint)

"""Turns nodes into sections and components: names looked up, arguments checked, defaults filled in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from ..arguments import Argument, signature_of
from ..errors import OptrunError, UsageError, nearest
from ..registry import Component, Registry
from ..user_code import absolute_reference, is_code_reference
from .nodes import Node, join
from .problems import DEFAULT, Origin, Problem, shorten
from .sections import ComponentConfig, GroupConfig, arguments_of, left_to_build
from .values import check, expected_text, value_text

_COMPONENT_FIELDS = {field.name for field in dataclasses.fields(ComponentConfig)}
_HINTS = {
    "data.workers": "the data stays in memory, where workers would only cost time",
    "log.every": "rows are written by steps, so that a resumed run writes the same ones; `log.lines` may be a time",
    "eval.every": "evaluations are counted in steps or epochs, so that a resumed run makes the same ones",
}


class Resolver:
    """Resolves the nodes of one configuration.

    Args:
        registries: by kind.
        trusted: see `user_code.load_object`.
        problems: gets what is wrong.
    """

    def __init__(self, registries: Mapping[str, Registry], trusted: Mapping[str, str] | None, problems: list[Problem]):
        self.registries = registries
        self.trusted = trusted
        self.problems = problems
        self.origins: dict[str, Origin] = {}

    def section(self, cls: type[Any], node: Node | None, path: str) -> Any:
        """Return a section without a component, or None when something in it is wrong."""
        before = len(self.problems)
        if node is None or node.value is None:
            return cls()
        if not isinstance(node.value, dict):
            known = ", ".join(signature_of(cls, 0).names())
            self.note(
                node.origin, path, "invalid-value", f"expected a mapping of {known}, got {value_text(node.plain)}"
            )
            return None
        values = self._arguments(signature_of(cls, 0).arguments, node.value, path, f"section '{path}'")
        return cls(**values) if len(self.problems) == before else None

    def component(
        self, node: Node, kind: str, path: str, cls: type[ComponentConfig] = ComponentConfig
    ) -> ComponentConfig | None:
        """Return the component that `node` names, or None when something in it is wrong."""
        before = len(self.problems)
        given = self._mapping_of(node, kind, path)
        component = self._look_up(given["name"], kind, join(path, "name")) if given else None
        if given is None or component is None:
            return None
        common = [argument for argument in signature_of(cls, 0).arguments if argument.name not in _COMPONENT_FIELDS]
        groups = given.pop("groups", None) if any(argument.name == "groups" for argument in common) else None
        common = [argument for argument in common if argument.name != "groups"]
        name_node = given.pop("name")
        commons = {argument.name: given.pop(argument.name) for argument in common if argument.name in given}
        extra = self._arguments(common, commons, path, f"section '{path}'")
        arguments = arguments_of(component)
        args = self._arguments(arguments, given, path, f"{kind} '{name_node.value}'", component, name_node)
        if groups is not None and groups.value is not None:
            extra["groups"] = self._groups(groups, arguments, path, f"{kind} '{name_node.value}'", component)
        elif cls is not ComponentConfig and "groups" in {field.name for field in dataclasses.fields(cls)}:
            self.origins[join(path, "groups")] = DEFAULT
        if len(self.problems) > before:
            return None
        self._ask_component(component, args, given, name_node, path)
        name = name_node.value
        if is_code_reference(name):
            name = absolute_reference(name, name_node.origin.folder)
        was_given = frozenset(key for key, child in given.items() if child.value is not None)
        return cls(name, args, path, component, was_given, **extra) if len(self.problems) == before else None

    def components(self, node: Node | None, kind: str, path: str) -> tuple[ComponentConfig, ...]:
        """Return a list of components, without those that are wrong."""
        if node is None or node.value is None:
            self.origins[path] = DEFAULT
            return ()
        if not isinstance(node.value, list):
            got = value_text(node.plain)
            hint = f"write [{node.origin.text}]" if isinstance(node.value, str | dict) and node.origin.text else None
            self.note(node.origin, path, "invalid-value", f"expected a list of {kind}s, got {got}", hint)
            return ()
        found = [self.component(item, kind, join(path, position)) for position, item in enumerate(node.value)]
        return tuple(component for component in found if component is not None)

    def value(self, argument: Argument, node: Node, path: str) -> tuple[Any, bool]:
        """Return an argument's value, and whether it is right."""
        before = len(self.problems)
        if argument.nested:
            kind, many = argument.nested
            nested = self.components if many else self.component
            return nested(node, kind, path), len(self.problems) == before
        result, mistakes = check(argument.annotation, node.plain)
        for mistake in mistakes:
            self._locate(node, path, mistake.path, mistake.message, mistake.hint or _HINTS.get(path))
        return result, not mistakes

    def note(self, origin: Origin, key: str, code: str, message: str, hint: str | None = None) -> None:
        self.problems.append(Problem(origin, key, code, message, hint))

    def _mapping_of(self, node: Node, kind: str, path: str) -> dict[str, Node] | None:
        """Return the keys of a component, `name` certainly among them."""
        if isinstance(node.value, str):
            return {"name": Node(node.value, node.origin)}
        if not isinstance(node.value, dict):
            message = f"expected the name of {_a(kind)}, or a mapping with a name, got {value_text(node.plain)}"
            self.note(node.origin, path, "invalid-value", message)
            return None
        name = node.value.get("name")
        if name is None or name.value is None:
            message, hint = f"no name: which {kind}?", self._known(kind)
            self.note((name or node).origin, path, "missing", message, hint)
            return None
        if not isinstance(name.value, str):
            message = f"expected the name of {_a(kind)}, got {value_text(name.plain)}"
            self.note(name.origin, join(path, "name"), "invalid-value", message)
            return None
        return dict(node.value)

    def _look_up(self, node: Node, kind: str, path: str) -> Component | None:
        registry = self.registries.get(kind)
        try:
            if registry is None:
                raise UsageError(f"there are no {kind}s here")
            if is_code_reference(node.value) or node.value in registry.names():
                component = registry.get(node.value, node.origin.folder, self.trusted)
                component.signature  # noqa: B018 - may raise, and is cached
                self.origins[path] = node.origin
                return component
        except (OptrunError, OSError, TypeError, ValueError) as error:
            self.note(node.origin, path, "unknown-name", str(error))
            return None
        guess = nearest(node.value, registry.names())
        hint = f"did you mean '{guess}'?" if guess else self._known(kind)
        self.note(node.origin, path, "unknown-name", f"no {kind} named '{shorten(node.value)}'", hint)
        return None

    def _known(self, kind: str) -> str:
        names = self.registries[kind].names() if kind in self.registries else []
        return f"known: {shorten(', '.join(names), 200) or 'none'}"

    def _arguments(
        self,
        arguments: Iterable[Argument],
        nodes: Mapping[str, Node],
        path: str,
        owner: str,
        component: Component | None = None,
        place: Node | None = None,
    ) -> dict[str, Any]:
        """Check all arguments of one owner and fill in the defaults; null stands for the default."""
        known = {argument.name: argument for argument in arguments}
        is_open = component is not None and component.signature.open
        built = left_to_build(component) if component is not None else frozenset()
        values: dict[str, Any] = {}
        for name, node in nodes.items():
            if name not in known and not is_open:
                self._unknown(node, name, known, path, owner)
        for name, argument in known.items():
            key, node = join(path, name), nodes.get(name)
            if node is not None and node.value is not None:
                value, right = self.value(argument, node, key)
                self._remember(node, key)
                if right:
                    values[name] = value
            elif name in built:
                continue
            elif not argument.required:
                self.origins[key] = node.origin if node is not None else DEFAULT
                values[name] = self._default(argument, key)
            elif place is not None:
                message = f"{owner} needs the argument '{name}': {expected_text(argument.annotation)}"
                self.note((node or place).origin, key, "missing", message)
        for name, node in nodes.items():
            if name not in known and is_open and node.value is not None:
                values[name], right = self.value(Argument(name, Any), node, join(path, name))
                self._remember(node, join(path, name))
        return values

    def _default(self, argument: Argument, path: str) -> Any:
        """Return a default in the form that a given value would have."""
        if argument.default is None:
            return None
        if argument.nested:
            return self._nested_default(argument, path)
        plain = list(argument.default) if isinstance(argument.default, tuple) else argument.default
        value, mistakes = check(argument.annotation, plain)
        return argument.default if mistakes else value

    def _nested_default(self, argument: Argument, path: str) -> Any:
        assert argument.nested is not None
        kind, many = argument.nested
        names = argument.default if many and isinstance(argument.default, list | tuple) else (argument.default,)
        if not all(isinstance(name, str) for name in names):
            return argument.default
        nodes = [Node(name, DEFAULT) for name in names]
        return self.components(Node(nodes, DEFAULT), kind, path) if many else self.component(nodes[0], kind, path)

    def _groups(
        self, node: Node, arguments: Iterable[Argument], path: str, owner: str, component: Component
    ) -> tuple[GroupConfig, ...]:
        path = join(path, "groups")
        self._remember(node, path)
        if not isinstance(node.value, list):
            message = f"expected a list such as [{{match: '*.bias', weight_decay: 0}}], got {value_text(node.plain)}"
            self.note(node.origin, path, "invalid-value", message)
            return ()
        found = [
            self._group(item, list(arguments), join(path, position), owner, component)
            for position, item in enumerate(node.value)
        ]
        return tuple(group for group in found if group is not None)

    def _group(
        self, node: Node, arguments: list[Argument], path: str, owner: str, component: Component
    ) -> GroupConfig | None:
        if not isinstance(node.value, dict) or "match" not in node.value:
            message = "a group needs `match`: a pattern of parameter names such as '*.bias', or a list of these"
            self.note(node.origin, path, "missing", message)
            return None
        match = node.value["match"]
        patterns = [match.value] if isinstance(match.value, str) else match.plain
        if not isinstance(patterns, list) or not patterns or not all(isinstance(p, str) and p for p in patterns):
            message = f"expected a pattern such as '*.bias', or a list of these, got {value_text(match.plain)}"
            self.note(match.origin, join(path, "match"), "invalid-value", message)
            return None
        given = {name: child for name, child in node.value.items() if name != "match" and child.value is not None}
        own = [dataclasses.replace(argument) for argument in arguments if argument.name in given]
        unknown = {name: child for name, child in given.items() if name not in {argument.name for argument in own}}
        if not component.signature.open:
            for name, child in unknown.items():
                self._unknown(child, name, {argument.name: argument for argument in arguments}, path, owner)
        args = self._arguments(own, {name: given[name] for name in given if name not in unknown}, path, owner)
        if component.signature.open:
            args.update({name: child.plain for name, child in unknown.items()})
        return GroupConfig(tuple(patterns), args)

    def _ask_component(
        self, component: Component, args: dict[str, Any], nodes: Mapping[str, Node], place: Node, path: str
    ) -> None:
        """Let the component say what no single range can: that two arguments do not fit together."""
        if (ask := component.facts.get("check")) is not None:
            for name, message in ask(args):
                node = nodes.get(name)
                origin = node.origin if node is not None else place.origin
                self.note(origin, join(path, name), "invalid-value", message)

    def _unknown(self, node: Node, name: str, known: Mapping[str, Argument], path: str, owner: str) -> None:
        code, noun = ("unknown-key", "key") if owner.startswith("section") else ("unknown-argument", "argument")
        guess = nearest(name, known)
        hint = f"did you mean '{guess}'?" if guess else f"known: {shorten(', '.join(known), 200) or 'none'}"
        message = f"{owner} has no {noun} '{shorten(name)}'"
        self.note(node.key or node.origin, join(path, shorten(name)), code, message, hint)

    def _locate(self, node: Node, path: str, steps: Iterable[int | str], message: str, hint: str | None) -> None:
        for step in steps:
            node, path = node.value[step], join(path, step)
        self.note(node.origin, path, "invalid-value", message, hint)

    def _remember(self, node: Node, path: str) -> None:
        for key, inner in node.walk(path):
            self.origins.setdefault(key, inner.origin)


def _a(noun: str) -> str:
    return noun if noun == "data" else f"{'an' if noun[0] in 'aou' else 'a'} {noun}"

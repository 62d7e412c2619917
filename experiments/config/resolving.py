"""Turns nodes into sections and components: names looked up, arguments checked, defaults filled in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from ..errors import OptrunError, UsageError
from ..registry import Component, Registry
from ..registry.arguments import fields_of
from ..registry.handed import Reference
from ..registry.permissions import KnownCode, Permission, RunCode, permission_in
from ..registry.user_code import absolute_reference, is_code_reference
from .filling import Filler, Owner
from .limits import MAX_COMPONENTS
from .nodes import Node, join
from .paths import input_files, place_of_defaults, placed
from .problems import DEFAULT, Problem, shorten
from .sections import ComponentConfig, GroupConfig, LogConfig, MetricConfig, arguments_of, left_to_build
from .values import value_text

#: Functions of the user's own, for what calls one; optrun has none to name.
_FUNCTIONS = Registry("function", "", given=1)

_COMPONENT_FIELDS = {field.name for field in dataclasses.fields(ComponentConfig)}


class Resolver(Filler):
    """Resolves the nodes of one configuration.

    Args:
        registries: by kind.
        trusted: see `user_code.load_object`.
        problems: gets what is wrong.
    """

    def __init__(
        self,
        registries: Mapping[str, Registry],
        trusted: Mapping[str, str] | Permission | None,
        problems: list[Problem],
    ):
        super().__init__(problems)
        self.registries = registries
        self.trusted = RunCode(trusted) if isinstance(trusted, Mapping) else trusted
        self._known = KnownCode()

    def section(self, cls: type[Any], node: Node | None, path: str) -> Any:
        """Return a section without a component, or None when something in it is wrong."""
        before = len(self.problems)
        arguments = fields_of(cls)
        if cls is LogConfig and node is not None and isinstance(node.value, dict) and "to" in node.value:
            places = self._row_places(node.value["to"])
            arguments = tuple(replace(each, annotation=places) if each.name == "to" else each for each in arguments)
        owner = Owner(f"section '{path}'", path, arguments, "key")
        if node is not None and node.value is not None and not isinstance(node.value, dict):
            known = ", ".join(argument.name for argument in owner.arguments)
            message = f"expected a mapping of {known}, got {value_text(node.plain)}"
            self.note(node.origin, path, "invalid-value", message)
            return None
        values = self.fill(owner, node.value if node is not None and node.value is not None else {})
        return cls(**values) if len(self.problems) == before else None

    def component(
        self, node: Node, kind: str, path: str, cls: type[ComponentConfig] = ComponentConfig
    ) -> ComponentConfig | None:
        """Return the component that `node` names, or None when something in it is wrong."""
        before = len(self.problems)
        nodes = self._mapping_of(node, kind, path)
        if nodes is None:
            return None
        name = nodes.pop("name")
        component = self._look_up(name, kind, join(path, "name"))
        if component is None:
            return None
        flavor = nodes.get("flavor")
        if flavor is not None and isinstance(flavor.value, str) and flavor.value in component.variants:
            component = component.of_flavor(flavor.value)  # another flavor is refused with the other arguments
        owner = Owner(
            label=f"{kind} '{name.value}'",
            path=path,
            arguments=arguments_of(component),
            is_open=component.signature.open,
            left_out=left_to_build(component) | ({"lr"} if kind == "optimizer" and "." in path else set()),
            place=name,
        )
        common = self._common(cls, nodes, owner)
        before_args = len(self.problems)
        args = self.fill(owner, nodes)
        for each, mark in input_files(component).items():
            if each in args:
                is_given = each in nodes and nodes[each].value is not None
                stands = nodes[each] if is_given else Node(None, place_of_defaults(component))
                args[each] = placed(args[each], stands, mark)
        if len(self.problems) == before_args:
            self._ask(component, args, nodes, owner)
        if len(self.problems) > before:
            return None
        fixed = component.fixed.keys() & args.keys()
        given = frozenset(key for key, child in nodes.items() if child.value is not None) | fixed
        self.origins |= {join(path, each): name.origin for each in fixed if each not in nodes}
        return cls(_absolute(name, component), args, path, component, given, **common)

    def components(self, node: Node | None, kind: str, path: str) -> tuple[ComponentConfig, ...]:
        """Return a list of components, without those that are wrong."""
        if node is None or node.value is None:
            self.origins[path] = DEFAULT if node is None else node.origin
            return ()
        if not isinstance(node.value, list):
            got = value_text(node.plain)
            hint = f"write [{node.origin.text}]" if isinstance(node.value, str | dict) and node.origin.text else None
            self.note(node.origin, path, "invalid-value", f"expected a list of {kind}s, got {got}", hint)
            return ()
        if len(node.value) > MAX_COMPONENTS:
            message = f"at most {MAX_COMPONENTS} {kind}s, got {len(node.value)}"
            self.note(node.origin, path, "limit", message)
            return ()
        cls = MetricConfig if kind == "metric" else ComponentConfig
        found = [self.component(item, kind, join(path, position), cls) for position, item in enumerate(node.value)]
        return tuple(component for component in found if component is not None)

    def nested(self, node: Node, kind: str, many: bool, path: str) -> Any:
        return self.components(node, kind, path) if many else self.component(node, kind, path)

    def known(self, kind: str) -> str:
        """Return a hint that lists the names of a kind."""
        names = self.registries[kind].names() if kind in self.registries else []
        return f"known: {shorten(', '.join(names), 200) or 'none'}"

    def _row_places(self, node: Node) -> Any:
        """Return the type of `log.to`: a list of the places that hooks write rows to."""
        wanted = [name for name in node.plain if isinstance(name, str)] if isinstance(node.value, list) else []
        try:
            hooks = self.registries["hook"].offering("log_to", wanted)
        except UsageError as error:
            self.note(node.origin, "log.to", "unknown-name", str(error))
            hooks = {}
        # those with a trigger of their own first
        names = sorted(hooks, key=lambda name: ("every" not in hooks[name].signature.names(), name))
        return tuple[Literal[("jsonl", *names)], ...]  # type: ignore[valid-type]

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
            self.note((name or node).origin, path, "missing", f"no name: which {kind}?", self.known(kind))
            return None
        if not isinstance(name.value, str):
            message = f"expected the name of {_a(kind)}, got {value_text(name.plain)}"
            self.note(name.origin, join(path, "name"), "invalid-value", message)
            return None
        return dict(node.value)

    def _look_up(self, node: Node, kind: str, path: str) -> Component | None:
        registry = _FUNCTIONS if kind == _FUNCTIONS.kind else self.registries.get(kind)
        try:
            if registry is None:
                raise UsageError(f"there are no {kind}s here")
            if registry is _FUNCTIONS and not is_code_reference(node.value):
                raise UsageError(f"'{shorten(node.value)}' names no function: write `./file.py:name` or `pkg.mod:name`")
            if is_code_reference(node.value) or node.value in registry.names():
                folder = node.origin.folder
                component = registry.get(node.value, folder, self.trusted or permission_in(folder, self._known))
                _ = component.signature  # which Python may be unable to read
                self.origins[path] = node.origin
                return component
        except (OptrunError, OSError, TypeError, ValueError) as error:
            self.note(node.origin, path, "unknown-name", str(error))
            return None
        if (origin := registry.missing(node.value)) is not None:
            self.note(node.origin, path, "unknown-name", origin)
            return None
        hint = self.suggestion(node.value, registry.names(), self.known(kind))
        self.note(node.origin, path, "unknown-name", f"no {kind} named '{shorten(node.value)}'", hint)
        return None

    def _common(self, cls: type[ComponentConfig], nodes: dict[str, Node], owner: Owner) -> dict[str, Any]:
        """Take the keys that do not depend on the name out of `nodes`, and return their values."""
        own = {argument.name for argument in owner.arguments}  # a component's own argument goes first
        arguments = tuple(each for each in fields_of(cls) if each.name not in _COMPONENT_FIELDS | own)
        common = {each.name: nodes.pop(each.name) for each in arguments if each.name in nodes}
        groups = common.pop("groups", None)
        section = Owner(f"section '{owner.path}'", owner.path, arguments, "key")
        values = self.fill(section, common)
        if groups is not None and groups.value is not None:
            values["groups"] = self._groups(groups, replace(owner, path=join(owner.path, "groups")))
        return values

    def _groups(self, node: Node, owner: Owner) -> tuple[GroupConfig, ...]:
        self.origins[owner.path] = node.origin
        self.remember(node, owner.path)
        if not isinstance(node.value, list):
            message = f"expected a list such as [{{match: '*.bias', weight_decay: 0}}], got {value_text(node.plain)}"
            self.note(node.origin, owner.path, "invalid-value", message)
            return ()
        items = enumerate(node.value)
        found = [self._group(item, replace(owner, path=join(owner.path, at))) for at, item in items]
        return tuple(group for group in found if group is not None)

    def _group(self, node: Node, owner: Owner) -> GroupConfig | None:
        if not isinstance(node.value, dict) or "match" not in node.value:
            message = "a group needs `match`: a pattern of parameter names such as '*.bias', or a list of these"
            self.note(node.origin, owner.path, "missing", message)
            return None
        match = node.value["match"]
        patterns = [match.value] if isinstance(match.value, str) else match.plain
        if not isinstance(patterns, list) or not patterns or not all(isinstance(p, str) and p for p in patterns):
            message = f"expected a pattern such as '*.bias', or a list of these, got {value_text(match.plain)}"
            self.note(match.origin, join(owner.path, "match"), "invalid-value", message)
            return None
        if (flavor := node.value.get("flavor")) is not None and flavor.value is not None:
            message = "all groups share the optimizer's flavor: set it beside the name"
            self.note(flavor.origin, join(owner.path, "flavor"), "invalid-value", message)
            return None
        nodes = {name: child for name, child in node.value.items() if name != "match" and child.value is not None}
        not_given = frozenset(argument.name for argument in owner.arguments if argument.name not in nodes)
        return GroupConfig(tuple(patterns), self.fill(replace(owner, left_out=not_given), nodes))

    def _ask(self, component: Component, args: dict[str, Any], nodes: Mapping[str, Node], owner: Owner) -> None:
        """Let the component say what no single range can: that two arguments do not fit together."""
        assert owner.place is not None
        for name, message in component.facts.get("check", lambda args: [])(args):
            self.note(nodes.get(name, owner.place).origin, join(owner.path, name), "invalid-value", message)


def _absolute(name: Node, component: Component) -> str:
    if isinstance(name.value, Reference):  # which may be that of a registered class or function
        return component.name
    return absolute_reference(name.value, name.origin.folder) if is_code_reference(name.value) else name.value


def _a(noun: str) -> str:
    return noun if noun == "data" else f"{'an' if noun[0] in 'aou' else 'a'} {noun}"

"""Lays one configuration over another: mappings merge, lists and scalars replace, null stands for the default.

A component (a mapping with a `name`) whose name changes loses its old arguments, which belong to the old name; the keys
that its section has whatever the name, such as `data.batch_size`, stay.
"""

from __future__ import annotations

from dataclasses import fields, replace

from .nodes import Node
from .sections import COMPONENT_SECTIONS, ComponentConfig

#: The keys of each section that do not depend on the name of its component.
_COMMON = {
    name: {field.name for field in fields(section)} - {field.name for field in fields(ComponentConfig)}
    for name, section in COMPONENT_SECTIONS.items()
}


def merge(base: Node, over: Node, path: tuple[str, ...] = ()) -> Node:
    """Lay `over` over `base`; each value that is replaced stays behind as its successor's `origin.was`."""
    if len(path) > 1 or (len(path) == 1 and path[0] in COMPONENT_SECTIONS):
        base, over = _as_components(base, over, certain=len(path) == 1)
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return Node(over.value, replace(over.origin, was=base.origin), over.key or base.key)
    children = dict(base.value)
    if path and _name(over) and _name(base) and _name(over) != _name(base):
        kept = {"name", *(_COMMON.get(path[0], ()) if len(path) == 1 else ())}
        children = {key: node for key, node in children.items() if key in kept}
    for key, node in over.value.items():
        children[key] = merge(children[key], node, (*path, key)) if key in children else node
    local = base if over.origin.kind == "override" else over  # a bare key on the command line is no place to point at
    return Node(children, local.origin, local.key or base.key)


def _as_components(base: Node, over: Node, certain: bool) -> tuple[Node, Node]:
    """Write a bare name as `{name: …}` where the other side is a component, certainly or by its looks."""
    if isinstance(base.value, str) and isinstance(over.value, dict):
        base = named(base)
    elif isinstance(over.value, str) and isinstance(base.value, dict) and (certain or "name" in base.value):
        over = named(over)
    return base, over


def named(node: Node) -> Node:
    """Return `{name: X}` for the bare name X."""
    return Node({"name": Node(node.value, node.origin, node.key)}, node.origin, node.key)


def _name(node: Node) -> object:
    name = node.value.get("name")
    return name.value if name is not None else None

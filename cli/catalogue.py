"""The components and presets that can be named, and how one is described."""

from __future__ import annotations

import inspect
from typing import Any

from ..experiments.errors import UsageError, nearest

_PRESETS = "preset"


def kinds(wanted: str | None) -> list[str]:
    """Return the kinds that `wanted` means: one, or all for None.

    Raises:
        UsageError: there is no such kind.
    """
    from ..experiments.experiment import REGISTRIES

    known = [*REGISTRIES, _PRESETS]
    if wanted is None:
        return known
    for kind in known:
        if wanted in (kind, f"{kind}s", f"{kind[:-1]}ies") or (kind == "loss" and wanted == "losses"):
            return [kind]
    if wanted in ("datasets", "configs"):
        return ["data" if wanted == "datasets" else _PRESETS]
    guess = nearest(wanted, known)
    raise UsageError(f"no kind '{wanted}'.{f' Did you mean {guess}?' if guess else ''} Kinds: {', '.join(known)}")


def entries(kind: str) -> list[dict[str, str]]:
    """Return name and summary of everything of a kind."""
    if kind == _PRESETS:
        return [{"name": name, "summary": _first_comment(text)} for name, text in _presets().items()]
    from ..experiments.experiment import REGISTRIES

    registry = REGISTRIES[kind]
    return [{"name": name, "summary": registry.get(name).summary} for name in registry.names()]


def find(reference: str) -> Any:
    """Return the component that `KIND/NAME`, or a NAME that only one kind has, means.

    Raises:
        UsageError: none or several do.
    """
    from ..experiments.experiment import REGISTRIES

    kind, slash, name = reference.partition("/")
    if slash and not reference.startswith("."):
        return REGISTRIES[_one_kind(kind)].get(name)
    found = [registry.get(reference) for registry in REGISTRIES.values() if reference in registry.names()]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"'{reference}' is several things: {', '.join(f'{c.kind}/{c.name}' for c in found)}")
    names = [name for registry in REGISTRIES.values() for name in registry.names()]
    guess = nearest(reference, names)
    raise UsageError(f"nothing is called '{reference}'.{f' Did you mean {guess}?' if guess else ''} See `optrun list`")


def arguments(component: Any) -> list[dict[str, Any]]:
    """Return a component's arguments: name, what is allowed, default, meaning."""
    from ..experiments.arguments import type_text

    meanings = _meanings(component.doc)
    return [
        {
            "name": argument.name,
            "type": type_text(argument.annotation),
            "required": argument.required,
            "default": _plain(argument.default),
            "meaning": meanings.get(argument.name, ""),
        }
        for argument in component.signature.arguments
    ]


def paste_ready(component: Any) -> str:
    """Return YAML for a configuration, with every argument at its default."""
    from ..experiments.config.dump import flow

    filled = {"input_shape", "num_outputs", "num_classes"}
    shown = [argument for argument in component.signature.arguments if argument.name not in filled]
    args = {argument.name: "..." if argument.required else _plain(argument.default) for argument in shown}
    spec = flow({"name": component.name, **args})
    place = {"augmentation": "data", "metric": "metrics", "update": "updates", "hook": "hooks"}.get(component.kind)
    if component.kind == "augmentation":
        return f"data: {{augment: [{spec}]}}"
    return f"{place}: [{spec}]" if place else f"{component.kind}: {spec}"


def formula_and_text(component: Any) -> list[str]:
    """Return the docstring up to its arguments, as lines."""
    return component.doc.split("\nArgs:")[0].split("\nRaises:")[0].rstrip().splitlines()


def _one_kind(kind: str) -> str:
    (found,) = kinds(kind)
    if found == _PRESETS:
        raise UsageError("a preset is shown by `optrun config NAME`")
    return found


def _meanings(doc: str) -> dict[str, str]:
    """Read the `Args:` block of a docstring."""
    found: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc(doc.partition("\nArgs:\n")[2]).splitlines():
        if not line.strip() or (not line.startswith(" ") and ":" not in line):
            break
        if line.startswith(" ") and name:
            found[name] += f" {line.strip()}"
        else:
            name, _, text = line.partition(":")
            if name in ("Raises", "Returns"):
                break
            found[name.strip()] = text.strip()
    return found


def _plain(value: Any) -> Any:
    """Return a default as it would be written in YAML."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value if isinstance(value, int | float | str | bool | dict | type(None)) else str(value)


def _presets() -> dict[str, str]:
    from importlib import resources

    folder = resources.files(f"{(__package__ or '').rpartition('.')[0]}.configs")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return {file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8") for file in files}


def _first_comment(text: str) -> str:
    first = text.splitlines()[0] if text else ""
    return first.lstrip("# ").strip() if first.startswith("#") else ""

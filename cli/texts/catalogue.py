"""The components and presets that can be named, and how one is described."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...experiments.components.hooks.hook import Every, Hook
from ...experiments.components.registries import REGISTRIES
from ...experiments.components.updates import Update
from ...experiments.config.lengths import Interval
from ...experiments.config.sections import arguments_of
from ...experiments.config.targets import names_in, preset_folder
from ...experiments.config.yaml_text import flow, to_yaml
from ...experiments.errors import UsageError, nearest
from ...experiments.registry.arguments import type_text
from ...experiments.registry.user_code import load_object
from ...experiments.system.docstrings import docstring

if TYPE_CHECKING:
    from ...experiments.registry.arguments import Argument
    from ...experiments.registry.component import Component
    from ...experiments.registry.registry import Registry

_PRESETS = "preset"
_WIDEST_LINE = 76  # of YAML in flow style
_FILLED_BY_DATA = {"input_shape", "num_outputs", "num_classes"}
_SECTIONS = {"metric": "metrics", "update": "updates", "hook": "hooks"}  # those that hold lists
_GIVEN = {  # what optrun gives to a function of the user's own tells its kind
    ("params",): "optimizer",
    ("step",): "schedule",
    ("outputs", "targets"): "loss",
}


def entries(wanted: str | None) -> dict[str, list[dict[str, str]]]:
    """Return name and summary of what there is, by kind.

    Args:
        wanted: a kind, singular or plural; a file of the user's own; or None for all kinds.

    Raises:
        UsageError: there is no such kind or file.
    """
    if wanted is not None and wanted.partition(":")[0].endswith(".py"):
        return _entries_of_file(wanted)
    known = [*REGISTRIES, _PRESETS]
    chosen = known if wanted is None else [_kind(wanted, known)]
    return {kind: _presets() if kind == _PRESETS else _entries(REGISTRIES[kind]) for kind in chosen}


def find(reference: str) -> Component:
    """Return the component that `KIND/NAME`, or a NAME that only one kind has, means.

    Raises:
        UsageError: none or several do.
    """
    kind, slash, name = reference.partition("/")
    is_kind = bool(slash) and "." not in kind and ":" not in kind and kind != ""
    if is_kind:
        if (kind := _kind(kind, [*REGISTRIES, _PRESETS])) == _PRESETS:
            raise UsageError(f"a preset is shown by `optrun config {name}`")
        return REGISTRIES[kind].get(name)
    if ":" in reference:
        return _find_code(reference)
    found = [registry.get(reference) for registry in REGISTRIES.values() if reference in registry.names()]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"'{reference}' is several things: {', '.join(f'{c.kind}/{c.name}' for c in found)}")
    names = [name for registry in REGISTRIES.values() for name in registry.names()]
    guess = nearest(reference, names)
    raise UsageError(f"nothing is called '{reference}'.{f' Did you mean {guess}?' if guess else ''} See `optrun list`")


def arguments(component: Component) -> list[dict[str, Any]]:
    """Return a component's arguments: name, what is allowed, default, meaning."""
    meanings = {"flavor": "which of the rules that share the name.", **_meanings(component.doc)}
    return [
        {
            "name": argument.name,
            "type": type_text(argument.annotation),
            "required": argument.required,
            "default": _plain(argument.default),
            "default_yaml": "from the data" if argument.name in _FILLED_BY_DATA else flow(_plain(argument.default)),
            "meaning": meanings.get(argument.name, ""),
        }
        for argument in arguments_of(component)
    ]


def paste_ready(component: Component) -> str:
    """Return YAML for a configuration: every argument with its default, or with an example where it has none."""
    examples = component.facts.get("example", {})
    shown = [a for a in component.signature.arguments if a.name not in {*_FILLED_BY_DATA, "flavor"}]
    values = {a.name: examples.get(a.name, _example(a) if a.required else _plain(a.default)) for a in shown}
    values = {name: value for name, value in values.items() if value is not None}
    other = component.flavor not in list(component.variants)[:1]  # the first is what the name alone means
    spec = {"name": component.name, **({"flavor": component.flavor} if other and component.flavor else {}), **values}
    if component.kind == "augmentation":
        return f"data: {{augment: [{flow(spec)}]}}"
    if component.kind in _SECTIONS:
        return f"{_SECTIONS[component.kind]}: [{flow(spec)}]"
    short = f"{component.kind}: {flow(spec)}"
    return short if len(short) <= _WIDEST_LINE else to_yaml({component.kind: spec}).rstrip()


def body_of(doc: str) -> str:
    """Return a docstring up to its first section: what it does, with the formula."""
    return re.split(r"\n(?:Args|Raises|Returns|Attributes|Source):", doc)[0].rstrip()


def _kind(wanted: str, known: list[str]) -> str:
    plurals = {f"{kind}s": kind for kind in known} | {"losses": "loss", "datasets": "data", "configs": _PRESETS}
    if wanted in known or wanted in plurals:
        return wanted if wanted in known else plurals[wanted]
    guess = nearest(wanted, known)
    raise UsageError(f"no kind '{wanted}'.{f' Did you mean {guess}?' if guess else ''} Kinds: {', '.join(known)}")


def _entries(registry: Registry) -> list[dict[str, str]]:
    return [{"name": name, "summary": registry.get(name).summary} for name in registry.names()]


def _entries_of_file(reference: str) -> dict[str, list[dict[str, str]]]:
    """Return what a file of the user's own defines, by kind; a name after a colon picks one thing."""
    file, _, only = reference.partition(":")
    module = importlib.import_module(load_object(f"{file}:__name__", Path())[0])
    found: dict[str, list[dict[str, str]]] = {}
    for name, value in vars(module).items():
        own = getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
        kind = _kind_of(value) if own and only in ("", name) else None
        if kind is not None:
            summary = docstring(value).split("\n\n")[0].replace("\n", " ")
            found.setdefault(kind, []).append({"name": f"{file}:{name}", "summary": summary})
    if not found:
        raise UsageError(f"{reference} defines nothing that a configuration can name")
    return found


def _find_code(reference: str) -> Component:
    kind = _kind_of(load_object(reference, Path())[0])
    if kind is None:
        raise UsageError(f"what kind of thing is {reference}? Say so: optimizer/{reference}, model/{reference}, …")
    return REGISTRIES[kind].get(reference)


def _kind_of(value: Any) -> str | None:
    """Return the kind of component that an object is, by its base class or by the parameters that come first."""
    if inspect.isclass(value):
        bases = {torch.nn.Module: "model", torch.optim.Optimizer: "optimizer", Hook: "hook", Update: "update"}
        return next((kind for base, kind in bases.items() if issubclass(value, base)), None)
    if not inspect.isfunction(value):
        return None
    names = tuple(inspect.signature(value).parameters)
    return next((kind for first, kind in _GIVEN.items() if names[: len(first)] == first), None)


def _example(argument: Argument) -> Any:
    """Return something to put where there is no default: the simplest component, or dots."""
    kind, many = argument.nested or ("", False)
    simplest = {"schedule": "constant"}.get(kind, "...")
    return [simplest] if many else simplest


def _meanings(doc: str) -> dict[str, str]:
    """Read the `Args:` block of a docstring."""
    found: dict[str, str] = {}
    name = ""
    block = re.split(r"\n(?:Raises|Returns|Source):", doc.partition("\nArgs:\n")[2])[0]
    for line in inspect.cleandoc(f"\n{block}").splitlines():  # cleandoc has rules of its own for the first line
        if line.startswith(" ") and name:
            found[name] += f" {line.strip()}"
        elif ":" in line:
            name, _, text = line.partition(":")
            found[name] = text.strip()
    return found


def _plain(value: Any) -> Any:
    """Return a default as it would be written in YAML."""
    if isinstance(value, Every):
        ((unit, amount),) = [(unit, amount) for unit, amount in vars(value).items() if amount is not None]
        return str(Interval(amount, unit))
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value if isinstance(value, int | float | str | bool | dict | type(None)) else str(value)


def _presets() -> list[dict[str, str]]:
    folder = preset_folder()
    texts = {name: (folder / f"{name}.yaml").read_text(encoding="utf-8") for name in names_in(folder)}
    return [{"name": name, "summary": _first_comment(text)} for name, text in texts.items()]


def _first_comment(text: str) -> str:
    first = text.partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""

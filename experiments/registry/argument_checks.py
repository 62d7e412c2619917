"""Components looked up, and their arguments checked, before they are called: what all `make_…` functions do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError, nearest
from .adapters import adapter_of
from .arguments import Argument, type_text
from .component import Component
from .registry import Registry


def component_of(registry: Registry, name: str | Component, base: Path = Path()) -> Component:
    """Return the component called `name`; one that has been looked up already is handed back."""
    return name if isinstance(name, Component) else registry.get(name, base)


def check_arguments(component: Component, args: Mapping[str, Any], also: Collection[str] = ()) -> None:
    """Refuse unknown names, missing arguments, and values that the annotations do not allow.

    What no configuration file can hold (a tensor, a function, an object) is left to the component.

    Args:
        component: what is about to be called.
        args: its arguments by name.
        also: names that the caller takes itself, listed among the known ones.

    Raises:
        UsageError: the first thing that is wrong.
    """
    label = f"{component.kind} '{component.name}'"
    signature = component.signature
    by_name = {argument.name: argument for argument in signature.arguments}
    for name, value in args.items():
        if name in by_name:
            _check_value(label, by_name[name], value)
        elif not signature.open:
            known = [*by_name, *also]
            guess = nearest(name, known)
            hint = f" Did you mean '{guess}'?" if guess else ""
            raise UsageError(f"{label} has no argument '{name}'.{hint} It takes: {', '.join(known) or 'none'}")
    missing = [argument.name for argument in signature.arguments if argument.required and argument.name not in args]
    if missing:
        raise UsageError(f"{label} needs {' and '.join(missing)}")


def bound_component(registry: Registry, name: str | Component, base: Path, args: Mapping[str, Any]) -> Any:
    """Return a loss, metric or augmentation with its arguments checked and in place.

    Raises:
        UsageError: an unknown name, or an unknown or impossible argument.
    """
    component = component_of(registry, name, base)
    check_arguments(component, args)
    return component.bind(**args)


def _check_value(label: str, argument: Argument, value: Any) -> None:
    adapter = adapter_of(argument.accepted) if argument.nested is None and _is_plain(value) else None
    if adapter is None:
        return
    from pydantic import ValidationError

    try:
        adapter.validate_python(value)
    except (ValidationError, OverflowError) as error:
        found = error.errors(include_url=False) if isinstance(error, ValidationError) else []
        own = found[0].get("ctx", {}).get("error") if len(found) == 1 else None  # of a type of ours, such as Length
        if own is not None:
            raise UsageError(f"{label}: {argument.name}: {own}") from error
        expected = type_text(argument.accepted)
        raise UsageError(f"{label}: {argument.name} must be {expected}, got {value!r}") from error


def _is_plain(value: Any) -> bool:
    """Return True for what a configuration file can hold."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, bool | int | float | str)

"""The part of a description that only optimizers have: the state that they keep, and flavors side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...experiments.config.yaml_text import flow
from ...experiments.errors import UsageError
from ...experiments.report.tables.table import aligned
from ..terminal.console import filled
from .catalogue import arguments, paste_ready

if TYPE_CHECKING:
    from ...experiments.registry.component import Component

_NONE = "—"
_ROUNDING = 1e-7  # what rounding hyperparameters to single precision changes in weights of order 1


def facts_of(found: Component, alone: bool) -> dict[str, Any]:
    """Return what `optrun describe` says of an optimizer beyond what it says of any component.

    Args:
        found: the component.
        alone: whether to leave out the comparison with the other flavors of its name.
    """
    from ...experiments.studies.optimizer_probe import flavor_differences, kept_state  # with torch and the training

    facts: dict[str, Any] = {}
    try:
        facts["state"] = kept_state(found)
    except UsageError as error:  # one of the user's own, for example, that is for another kind of network
        facts |= {"state": None, "state_unknown": str(error)}
    if found.variants and not alone:
        facts["flavors"] = {
            flavor: {
                "text": variant.doc,
                "arguments": arguments(variant),
                "state": kept_state(variant),
                "source": variant.source,
                "facts": dict(variant.facts),
                "yaml": paste_ready(variant),
            }
            for flavor, variant in found.variants.items()
        }
        facts["probe"] = flavor_differences(found)
    return facts


def state_lines(described: dict[str, Any]) -> list[str]:
    """Return the lines on the state that one optimizer keeps."""
    if described["state"] is None:
        return [f"State  {described['state_unknown']}"]
    if not described["state"]:
        return ["State  none"]
    starts = {each["name"]: f"at first {each['start']}" if each["start"] else "" for each in described["state"]}
    rows = [(f"  {each['name']}", each["shape"], starts[each["name"]]) for each in described["state"]]
    return ["State of each parameter", *aligned(rows)]


def comparison_lines(described: dict[str, Any]) -> list[str]:
    """Return the lines that hold the flavors against each other: defaults, state, and how far they part."""
    flavors = described["flavors"]
    return [
        *_side_by_side("Defaults", {name: _defaults(flavor) for name, flavor in flavors.items()}),
        "",
        *_side_by_side("State at first", {name: _state(flavor) for name, flavor in flavors.items()}),
        "",
        *_parting(described["probe"]),
    ]


def _defaults(flavor: dict[str, Any]) -> dict[str, str]:
    defaults = {each["name"]: each["default_yaml"] for each in flavor["arguments"] if each["name"] != "flavor"}
    return {**defaults, "centre lr": f"{flavor['facts']['centre_lr']:g}"}


def _state(flavor: dict[str, Any]) -> dict[str, str]:
    scalar = {True: " (scalar)", False: ""}
    return {each["name"]: (each["start"] or "?") + scalar[each["shape"] == "scalar"] for each in flavor["state"]}


def _side_by_side(title: str, columns: dict[str, dict[str, str]]) -> list[str]:
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    rows = [(f"  {name}", *(column.get(name, _NONE) for column in columns.values())) for name in names]
    return aligned([(title, *columns), *rows]) if rows else [f"{title}  none"]


def _parting(probe: dict[str, Any]) -> list[str]:
    """Return how far the results of the flavors differ, and whether by their rules or by their defaults."""
    own, equal = probe["own_defaults"], probe["equal_arguments"]
    settings = ", ".join(f"{name} {flow(value)}" for name, value in probe["equal"].items())
    rows = [
        (f"  {flavor}", f"{own[flavor]:.2g}", f"{equal[flavor]:.2g}", _verdict(own[flavor], equal[flavor]))
        for flavor in own
    ]
    return [
        *filled(
            f"Distance to {probe['reference']}: the largest difference of a weight after {probe['steps']} steps from "
            f"the same weights, by the same gradients, at lr {probe['lr']:g}",
            break_on_hyphens=True,
        ),
        *aligned([("", "own defaults", "equal arguments", ""), *rows]),
        *filled(f"  equal: {settings}", indent=9, break_on_hyphens=True),
    ]


def _verdict(own: float, equal: float) -> str:
    if own < _ROUNDING:
        return "one rule, up to rounding"
    if equal < _ROUNDING:
        return "one rule up to rounding, other defaults"
    return "another rule" if own < 2 * equal else "another rule, and other defaults"

"""The values of a configuration listed with the places that they come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .configuration import Config
from .problems import shorten
from .yaml_text import flow


def origins_text(config: Config) -> str:
    """Return one line for each value: `optimizer.lr: 0.2   # command line (was 0.1, configs/mom.yaml:2)`."""
    return "\n".join(_origin_lines(config, config.to_dict(), "")) + "\n"


def _origin_lines(config: Config, values: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, value in values.items():
        here = f"{path}.{key}" if path else key
        if isinstance(value, dict) and value:
            yield from _origin_lines(config, value, here)
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            yield from _origin_lines(config, {str(position): item for position, item in enumerate(value)}, here)
        else:
            yield f"{here}: {flow(value)}   # {_place_text(config, here)}"


def _place_text(config: Config, path: str) -> str:
    origin = config.origins.get(path)
    while origin is None and path:
        path = path.rpartition(".")[0]
        origin = config.origins.get(path)
    if origin is None:
        return "default"
    via = f" (via extends of {origin.via})" if origin.via else ""
    was = f" (was {shorten(origin.was.text)}, {origin.was.place})" if origin.was and origin.was.text else ""
    return f"{origin.place}{via}{was}"

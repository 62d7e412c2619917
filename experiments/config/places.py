"""The place to point at: what the user wrote last, where a value, a component or several keys are wrong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .problems import DEFAULT, Origin


def layer(origin: Origin) -> int:
    """Return how near to the user's hand a value was written: command line, own file, what that extends, default."""
    if origin.kind == "default":
        return 0
    if origin.kind == "override":
        return 3
    return 2 if origin.via is None else 1


def place(origins: Mapping[str, Origin], path: str, root: Origin) -> Origin:
    """Return the place of a key, or of the nearest key around it that has one.

    That of a component is the place of its name, or of an argument, where that was written nearer to the user's hand.

    Args:
        origins: of all values.
        path: of the key.
        root: the place of the whole file.
    """
    inside = [origin for key, origin in origins.items() if key.startswith(f"{path}.")]
    while path and origins.get(path, DEFAULT).kind == "default":
        path = path.rpartition(".")[0]
    own = origins.get(path, root)
    return max([own, *inside], key=layer)


def deciding(origins: Mapping[str, Origin], keys: Sequence[str], root: Origin) -> str:
    """Return the key that was written nearest to the user's hand, of several that are wrong together.

    Args:
        origins: of all values.
        keys: those of which one is to be pointed at first.
        root: the place of the whole file.
    """
    return max(keys, key=lambda key: layer(_written(origins, key, root)))


def elsewhere(origins: Mapping[str, Origin], keys: Sequence[str], but: str) -> str:
    """Return the other keys with their places, in brackets, as far as they were written anywhere; else nothing."""
    found = {key: origins[key].place for key in keys if key != but and layer(origins.get(key, DEFAULT))}
    return f" ({', '.join(f'{key}: {where}' for key, where in found.items())})" if found else ""


def _written(origins: Mapping[str, Origin], key: str, root: Origin) -> Origin:
    """Return the place of what was written at a key or inside of it; the default where nothing was."""
    inside = [origin for each, origin in origins.items() if each == key or each.startswith(f"{key}.")]
    return max(inside, key=layer, default=DEFAULT)

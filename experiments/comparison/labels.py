"""Labels: what sets an entry apart from the others, in a word or two, where its name does not say it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..config.changes import changed_keys, look_up
from .entry import Entry

_FIRST = ("optimizer", "schedule", "model", "loss", "data", "init", "updates", "train")  # what is named first
_SHORT = {"weight_decay": "wd", "label_smoothing": "smoothing", "batch_size": "batch"}
OF_A_RUN = ("name", "seed", "checkpoint", "log")  # sections in which the runs of one entry may differ
_MOST_PARTS, _LONGEST = 3, 32


def labels_of(entries: Sequence[Entry], ignored: Collection[str] = ()) -> list[str]:
    """Return what tables and figures call the entries: the names that users chose; for others what sets them apart.

    What most entries have is not said: of three files of which one changes the schedule and one the weight decay, the
    labels are the name of the first, `cosine` and `wd 0.01`; of two files with two rates, `lr 0.1` and `lr 0.2`. A name
    stays where there is nothing to say, or too much; all of them where two would have the same label.

    Args:
        entries: of a comparison.
        ignored: keys that say nothing, such as a rate that will be tuned.
    """
    names = [entry.name for entry in entries]
    if sum(not entry.named for entry in entries) < 2:
        return names
    plain = [entry.config.to_dict() for entry in entries]
    keys = _telling_keys(plain, ignored)
    found = [(not entry.named and _label(plain, keys, i)) or entry.name for i, entry in enumerate(entries)]
    new = {label for label, name in zip(found, names, strict=True) if label != name}
    return found if len(set(found)) == len(found) and new.isdisjoint(names) else names


def _telling_keys(plain: Sequence[Mapping[str, Any]], ignored: Collection[str]) -> list[str]:
    """Return the keys in which the configurations differ, the most telling first."""
    keys: dict[str, None] = {}
    for other in plain[1:]:
        keys |= dict.fromkeys(change.key for change in changed_keys(plain[0], other))

    def rank(key: str) -> tuple[int, bool]:
        section = key.partition(".")[0]
        return _FIRST.index(section) if section in _FIRST else len(_FIRST), not key.endswith(".name")

    told = [key for key in keys if key not in ignored and key.partition(".")[0] not in OF_A_RUN]
    return sorted(told, key=rank)


def _label(plain: Sequence[Mapping[str, Any]], keys: Sequence[str], index: int) -> str:
    """Return in what one configuration differs from what most have; empty for nothing, and where it would be long."""
    parts: list[str] = []
    for key in keys:
        name = f"{key.rpartition('.')[0]}.name"
        others = plain
        if name in keys and key != name:  # told only beside others of the same component
            others = [other for other in plain if look_up(other, name) == look_up(plain[index], name)]
        value = look_up(plain[index], key)
        alike = sum(look_up(other, key) == value for other in others)
        if 2 * alike <= len(others) and (part := _part(key, value)):
            parts.append(part)
    label = " + ".join(parts)
    return label if len(parts) <= _MOST_PARTS and len(label) <= _LONGEST else ""


def _absent(key: str) -> str:
    """Say that a component is not there: `no augment` for `data.augment.0.name`; nothing where others of it are."""
    *owner, place = key.split(".")[:-1]
    if not place.isdecimal():
        return f"no {place}"
    return f"no {owner[-1]}" if place == "0" else ""


def _part(key: str, value: Any) -> str:
    last = key.rpartition(".")[2]
    if last == "name":
        return str(value).rpartition(":")[2] if value is not None else _absent(key)
    word = _SHORT.get(last, last)
    if value is None:
        return f"no {word}"
    if isinstance(value, bool):
        return word if value else f"no {word}"
    return f"{word} {value:g}" if isinstance(value, float) else f"{word} {value}".replace("'", "")

"""One contender of a comparison: its configuration, where that comes from, and the rate that its grid is centred on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..config import Config
from ..config.changes import changed_keys, look_up
from ..errors import UsageError
from .placing import LEARNING_RATE, absolute_rates, largest_rate


@dataclass(frozen=True)
class Entry:
    """One contender.

    Args:
        name: unique in the comparison.
        target: where its configuration comes from, in words.
        config: with the overrides in it; its seed is replaced in each run.
        overrides: `key=value` as the user gave them for this entry and for all.
        runs: for an entry that was made of finished runs: their folders by seed.
        shipped: it is a preset of this program, or an optimizer on one: nobody chose its problem.
        named: the user chose its name; else its label says what sets it apart.
        has_own_rate: an override gives the rate that a grid is centred on.
        label: what tables and figures call it.
    """

    name: str
    target: str
    config: Config
    overrides: tuple[str, ...] = ()
    runs: Mapping[int, Path] = field(default_factory=dict)
    shipped: bool = False
    named: bool = True
    has_own_rate: bool = False
    label: str = ""

    def centre(self) -> tuple[float, str]:
        """Return the learning rate that a grid is centred on, and where it comes from.

        Raises:
            UsageError: neither the optimizer nor the user names one.
        """
        args = self.config.optimizer.args
        if self.has_own_rate and "lr" in args:
            return float(args["lr"]), "the command line"
        facts = self.config.optimizer.component.facts
        if "centre_lr" in facts:
            return float(facts["centre_lr"]), str(facts.get("centre_source", "registered with the optimizer"))
        if "lr" in self.config.optimizer.given:
            return float(args["lr"]), f"the configuration of {self.name}"
        if absolute := absolute_rates(self.config):
            return largest_rate(absolute), f"the largest rate in the schedule of {self.name}"
        raise UsageError(
            f"{self.name}: optimizer '{self.config.optimizer.name}' has no registered centre for a grid of rates: give "
            f"{self.name}:{LEARNING_RATE}=…, or use --no-tune (in Python `tune=None`)"
        )

    def with_target(self, target: float) -> Entry:
        """Return the same entry, its runs timed to a value of their validation metric."""
        changed = replace(self.config, eval=replace(self.config.eval, target=target))
        return replace(self, config=changed)


def of_config(name: str, target: str, config: Config, overrides: Sequence[str], **more: Any) -> Entry:
    """Return an entry with a configuration; the arguments are those of `Entry`."""
    said = config.origins.get(LEARNING_RATE)
    given = said is not None and said.kind == "override"
    by_user = given and any(each.partition("=")[0] in ("optimizer", LEARNING_RATE) for each in overrides)
    return Entry(name, target, config, tuple(overrides), has_own_rate=by_user, **more)


def differences(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """List the keys in which the entries' configurations differ, with each entry's value."""
    plain = {entry.name: entry.config.to_dict() for entry in entries}
    first = entries[0].name
    keys: dict[str, None] = {}
    for entry in entries[1:]:
        keys |= dict.fromkeys(change.key for change in changed_keys(plain[first], plain[entry.name]))
    keys.pop("seed", None)  # which each run has from the plan
    return [{"key": key, "values": {name: look_up(values, key) for name, values in plain.items()}} for key in keys]

"""`--optimizers`: the user's own problem, several optimizers."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence

from ..components.registries import REGISTRIES
from ..config.overrides import numbered
from ..errors import UsageError, unknown_name
from ..training.load import load_config
from .entries import Target, is_optimizer, make_each, names_a_run
from .entry import Entry, of_config
from .placing import at_its_centre, own_optimizer

OPTION = "--optimizers"


def entries_of_optimizers(
    targets: Sequence[Target],
    optimizers: Sequence[str],
    overrides: Sequence[str],
    is_comparison: bool,
    *,
    ignored: Sequence[str] = (),
) -> list[Entry]:
    """Return an entry for each optimizer on the problem of one target, its own optimizer first.

    A target's own optimizer that is named as well is one entry, with the settings that the target gives it.

    Args:
        targets: one file, preset or configuration: the problem.
        optimizers: names.
        overrides: as in `compare`; they are for entries by the names of their optimizers.
        is_comparison: the target is a file with entries.
        ignored: keys that labels do not speak of.

    Raises:
        UsageError: not one target, or one that is no configuration; no such optimizer; one twice.
        ConfigError: an optimizer does not fit into the configuration.
    """
    if len(targets) != 1 or is_comparison or names_a_run(targets[0]):
        raise UsageError(
            f"{OPTION} takes one configuration, whose problem it is: optrun compare mine.yaml {OPTION} adam,mom (in "
            'Python `compare("mine.yaml", optimizers=["adam", "mom"])`)'
        )
    (target,) = targets
    where = target if isinstance(target, str) else "the configuration given"
    _check(optimizers)
    own = own_optimizer(lambda more: load_config(target, list(more)))
    own_names = [own.name] if own is not None else []
    wanted = [*own_names, *(name for name in optimizers if name not in own_names)]
    names = numbered(map(_name, wanted))

    def make(name: str, given: tuple[str, ...]) -> Entry:
        optimizer = wanted[names.index(name)]
        if optimizer in own_names:
            return of_config(name, f"{where}, its own optimizer", load_config(target, list(given)), given)
        placed = f"optimizer={json.dumps(optimizer)}"
        config = at_its_centre(lambda more: load_config(target, [placed, *more]), own, given)
        if _name(config.optimizer.name) != _name(optimizer):
            raise UsageError(f"an override replaces the optimizer, which {OPTION} names: leave out one of the two")
        return of_config(name, f"{optimizer} on {where}", config, given)

    return make_each(names, overrides, make, ignored=ignored)


def command_for_optimizers(targets: Sequence[Target], entries: Sequence[Entry], overrides: Sequence[str]) -> str:
    """Return the command that puts optimizers among the targets on the problem of the user's own; empty for none.

    Where that is a configuration in Python, it is a call.
    """
    own = [target for target, entry in zip(targets, entries, strict=False) if not entry.shipped]
    theirs = [str(target) for target, entry in zip(targets, entries, strict=False) if entry.shipped]
    theirs = [name.removeprefix("preset:") for name in theirs]
    if len(own) != 1 or not theirs or not all(map(is_optimizer, theirs)):
        return ""
    (target,) = own
    if isinstance(target, Mapping):
        more = f"{json.dumps(list(overrides))}, " if overrides else ""
        return f"compare({{…}}, {more}optimizers={json.dumps(list(dict.fromkeys(theirs)))})"
    if names_a_run(target):
        return ""
    return shlex.join(["optrun", "compare", target, OPTION, ",".join(dict.fromkeys(theirs)), *overrides])


def _check(optimizers: Sequence[str]) -> None:
    known = REGISTRIES["optimizer"].names()
    if isinstance(optimizers, str) or not optimizers:
        raise UsageError(f"{OPTION}: give the names of optimizers, got {optimizers!r}")
    for name in optimizers:
        if not isinstance(name, str) or not is_optimizer(name):
            missing = REGISTRIES["optimizer"].missing(str(name))
            raise UsageError(f"{OPTION}: {missing or unknown_name('optimizer', str(name), known)}")
        if list(optimizers).count(name) > 1:
            raise UsageError(f"{OPTION}: {name} is named twice")


def _name(optimizer: str) -> str:
    """Return what an entry is called: `lion` for `po/lion`, `Mine` for `./mine.py:Mine`."""
    return optimizer.rpartition(":")[2].rpartition("/")[2]

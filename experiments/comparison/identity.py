"""Digests that name runs and groups, the same for what is the same, so that nothing is done twice.

A digest is taken over what decides the bits of a result: the configuration, user code, data, torch's version, threads,
and `NUMERICS`, which stands for this program's own part in them. This program's version has no part: a new one finds
the runs, groups and looks of the ones before it.

Of a configuration all values count that version 0.1.0 had; of those that came later, whose names
`known_to_0_1.json` does not list, only what differs from the defaults. So a new option changes no digest of those who
do not use it, and a default of 0.1.0's that changes does change them, as it should, since the bits change with it. A
later option's default that changes needs a new `NUMERICS` instead.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import json
import os
from collections.abc import Collection, Iterator, Mapping
from importlib import resources
from typing import Any

import torch

from ..components.registries import REGISTRIES
from ..config import ComponentConfig, Config
from ..config.changes import look_up
from ..config.defaults import owners
from ..config.paths import moved, name_in
from ..registry.object_digest import object_digest
from ..system.environment import NUMERICS
from ..training.attempt import BATCHED as BATCHED
from ..training.record import init_sha256, local_components
from ..training.step.compiled.reasons import has_compiler

_PACKAGE = __name__.partition(".")[0]
PROCESSES = "processes"  #: The engine that trains each run in a process of its own; BATCHED trains many at once.
COMPILED = "batched, compiled"  #: And so does this one, by graphs that are compiled whatever configurations say.
_OWN = ("name", "seed", "optimizer", "schedule")  # sections in which runs may differ that are trained at once
IRRELEVANT = ("name", "checkpoint")  # keys that change no bit of a result


def problem_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration, as plain data, that runs which are trained at once have in common."""
    return {name: value for name, value in config.items() if name not in _OWN}


def group_digest(facts: list[Any]) -> str:
    """Return the six hexadecimal digits at the end of a group's name."""
    return _digest(facts if NUMERICS == 1 else [*facts, NUMERICS])[:6]


def run_key(config: Config, plain: Mapping[str, Any], data_sha256: str, engine: str = PROCESSES) -> str:
    """Return the SHA-256 of all that determines the result of a run.

    Args:
        config: of the entry.
        plain: the run's own configuration, which differs from it in seed and settings.
        data_sha256: of the examples.
        engine: that trains it.

    Raises:
        UnhashableError: a component that a script or a notebook has registered depends on something without a digest.
    """
    code = {name_in(config.project, path): digest for path, digest in config.reached.files.items()}
    facts = _facts(config, counted(config, plain), code, data_sha256)
    if engine != PROCESSES:
        facts["engine"] = engine
    if changed := _changed_bits(config):
        facts["since"] = changed
    packages = {name: version for name, version in config.reached.packages.items() if name != "torch"}
    if packages:
        facts["packages"] = packages
    if made_here := local_components(config):
        facts["objects"] = [[part.kind, part.name, object_digest(part.build)] for part in made_here]
    return _digest(facts)


def key_before_0_3(config: Config, plain: Mapping[str, Any], data_sha256: str) -> str | None:
    """Return the key that a run of the user's code had before its imports counted; None where that may be another run.

    It had the files that the configuration names, by absolute path, and nothing of what they import.
    """
    codes = [part.component.code for part in config.components()]
    named = {code.path: code.sha256 for code in codes if code is not None}
    is_same = named == config.reached.files and not config.reached.packages.keys() - {"torch", "numpy"}
    if not named or not is_same or local_components(config) or NUMERICS != 1:
        return None
    return _digest(_facts(config, counted_before_0_3(config, plain), named, data_sha256))


def _changed_bits(config: Config) -> list[str]:
    """Return what version 0.3 does otherwise and this configuration may meet, which is too rare to raise `NUMERICS`.

    Batch norm layers count their updates for themselves: that is the same where each step reaches each layer once, as
    it does in all models of ours, and where no statistics are taken over. The parameters of a loss are trained: of
    those losses that may have some, modules of the user's, nobody knows before they are made. Compiled is a whole step,
    and was the forward pass alone; without a compiler it is none, and `auto` goes by that as well.
    """
    grouped = [part for part in config.updates if part.name in ("batch_norm", "tf_batch_norm")]
    is_warm = config.init is not None and any(part.args["zero_debias"] for part in grouped)
    changed = ["counts of layers"] if is_warm or (grouped and not _is_ours(config.model)) else []
    build = config.loss.component.inmost
    if inspect.isclass(build) and issubclass(build, torch.nn.Module) and not _is_ours(config.loss):
        changed.append("parameters of the loss")
    if config.train.compile:
        changed.append("whole steps are compiled" if has_compiler() else "there is no compiler")
    return changed


def _facts(config: Config, values: Mapping[str, Any], code: Mapping[str, str], data_sha256: str) -> dict[str, Any]:
    return {
        "config": {name: value for name, value in values.items() if name not in IRRELEVANT},
        "code": code,
        "data": data_sha256,
        "init": init_sha256(config),
        "optrun": "0.1.0" if NUMERICS == 1 else NUMERICS,  # 0.1.0 had its version there
        "torch": torch.__version__,
        "threads": [os.environ.get("OPTRUN_THREADS"), os.cpu_count()],
    }


def counted(config: Config, plain: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the part of a configuration that digests are taken over; files have their names within the project.

    Args:
        config: whose values are compared with the defaults.
        plain: a variant of it as plain data, by default itself; what it sets otherwise counts.
    """
    return moved(counted_before_0_3(config, plain), functools.partial(name_in, config.project))


def counted_before_0_3(config: Config, plain: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the same with the absolute paths of files, which decided in earlier versions."""
    whole = config.to_dict()
    kept = copy.deepcopy(whole if plain is None else dict(plain))
    for path, name in _later_defaults(config):
        place = look_up(kept, path)  # nothing where it is inside of what has gone already
        if place and name in place and place[name] == look_up(whole, f"{path}.{name}"):
            del place[name]
    known = _known_to_0_1()["keys"]
    return {key: value for key, value in kept.items() if key in known or value not in (None, [], {})}


def _later_defaults(config: Config) -> Iterator[tuple[str, str]]:
    """Yield path and name of each value that no configuration of version 0.1.0 had, and that is the default."""
    known = _known_to_0_1()
    for owner in owners(config):
        if owner.part is None:
            listed: Collection[str] = known["sections"].get(owner.path, ())
        else:  # a later component of ours has no older digests; one from elsewhere always counted whole
            whole = () if _is_ours(owner.part) else owner.values
            listed = known.get(owner.part.component.kind, {}).get(owner.part.name, whole)
        if not all(each.name in listed for each in owner.arguments):
            yield from ((owner.path, name) for name in owner.defaults(REGISTRIES) if name not in listed)


def _is_ours(part: ComponentConfig) -> bool:
    module, registry = getattr(part.component.build, "__module__", None) or "", REGISTRIES.get(part.component.kind)
    if registry is None or part.name.startswith(tuple(registry.extras)):
        return False
    return module.startswith(f"{_PACKAGE}.")


@functools.cache
def _known_to_0_1() -> dict[str, Any]:
    """Return the names that a configuration of 0.1.0 could have: `keys`, those in `sections`, arguments by kind."""
    return json.loads(resources.files(__name__.rpartition(".")[0]).joinpath("known_to_0_1.json").read_text())


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

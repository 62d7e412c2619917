"""The generators that examples may draw from: found, seeded for each example, and noticed when they are drawn from."""

from __future__ import annotations

import functools
import random
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...system import generators
from ...system.user_files import is_users

_DEPTH = 6  # of attributes in which generators of a data set's own are looked for
_MOST_ITEMS = 64  # of a list in which they are
_KINDS = (torch.Generator, random.Random, np.random.RandomState, np.random.Generator)
_PLAIN = (str, bytes, int, float, torch.Tensor, np.ndarray, type(None))

Seeder = Callable[[int], object]


class ExampleGenerators:
    """The generators that examples may draw from, in this process.

    Those of Python and numpy take 5 to 20 µs to seed, so they are seeded from the first batch on that draws from them.
    Torch's is always seeded (1 µs), since nobody can see whether it is needed: `torch.initial_seed()` reads the seed
    and draws nothing, and `torch.random.fork_rng()` puts back what was drawn.

    Args:
        owners: of generators of their own, which are always seeded too.
    """

    def __init__(self, *owners: Any):
        self._unseeded: dict[generators.Watched, Seeder] = {
            generators.of_python(): random.seed,
            generators.of_numpy(): lambda key: np.random.seed(key & 0xFFFFFFFF),
        }
        self._seeders: list[Seeder] = [torch.default_generator.manual_seed]
        for place, generator in enumerate(own_generators(*owners)):
            self._seeders.append(functools.partial(_seed_own, generator, 0x9E3779B97F4A7C15 * (place + 1)))

    @property
    def seed(self) -> Seeder:
        """Return the function that seeds those which are to be seeded."""
        return self._seeders[0] if len(self._seeders) == 1 else self._seed_all

    def unseeded(self) -> dict[generators.Watched, generators.Snapshot]:
        """Return where those are that are not seeded."""
        return {generator: generator.snapshot() for generator in self._unseeded}

    def have_moved(self, since: dict[generators.Watched, generators.Snapshot]) -> bool:
        """Return True if one that was not seeded has been drawn from; it is seeded from now on.

        Args:
            since: where they were; those that have not moved are taken out when none has.
        """
        moved = [generator for generator in self._unseeded if generator.has_moved(since[generator])]
        self._seeders += [self._unseeded.pop(generator) for generator in moved]
        if not moved:
            for generator in self._unseeded:
                del since[generator]
        return bool(moved)

    def _seed_all(self, key: int) -> None:
        for seed in self._seeders:
            seed(key)


def _seed_own(generator: Any, added: int, key: int) -> None:
    key = (key + added) % 2**63
    if isinstance(generator, torch.Generator):
        generator.manual_seed(key)
    elif isinstance(generator, random.Random):
        generator.seed(key)
    elif isinstance(generator, np.random.RandomState):
        generator.seed(key & 0xFFFFFFFF)
    else:
        bits = generator.bit_generator
        bits.state = type(bits)(key).state


def own_generators(*owners: Any) -> Iterator[Any]:
    """Yield the generators that objects keep, in what they consist of or in the modules of their code, each once."""
    seen: set[int] = set()
    waiting = [(owner, 0) for owner in owners]
    while waiting:
        value, level = waiting.pop(0)
        if id(value) in seen or level > _DEPTH:
            continue
        seen.add(id(value))
        if isinstance(value, _KINDS):
            if value is not torch.default_generator:
                yield value
            continue
        waiting += [(each, level + 1) for each in _parts(value) if not isinstance(each, _PLAIN)]


def _parts(value: Any) -> list[Any]:
    """Return what may keep a generator in an object; of its own code nothing is run."""
    if isinstance(value, type | types.ModuleType):
        return []
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        items = value.values() if isinstance(value, Mapping) else value
        return list(items) if len(value) <= _MOST_ITEMS else []
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, types.MethodType):
        return [value.__self__]
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if _has_contents(cell)]
        return [*cells, *_in_module_of(value)]
    methods = [each for kind in type(value).__mro__ for each in vars(kind).values()]
    of_code = (each for method in methods if isinstance(method, types.FunctionType) for each in _in_module_of(method))
    return [*getattr(value, "__dict__", {}).values(), *of_code]


def _in_module_of(function: types.FunctionType) -> list[Any]:
    """Return the generators among the globals of a function of the user's own."""
    if not is_users(Path(function.__code__.co_filename)):
        return []
    return [each for each in function.__globals__.values() if isinstance(each, _KINDS)]


def _has_contents(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 (it is asked for)
    except ValueError:
        return False
    return True

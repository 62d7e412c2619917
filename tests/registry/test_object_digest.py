"""The digest of what a notebook or a script made changes with all that its code can see, and with nothing else."""

from __future__ import annotations

import collections
import functools
import io
import random
import subprocess
import sys
import threading
import types

import numpy as np
import pytest
import torch

from optrun.experiments.registry.object_digest import UnhashableError, object_digest

SOURCE = """
import functools
import torch
from torch import nn

SCALE = 1.0
TABLE = {"a": [1, 2], "b": {3}}

def helper(x, by=2):
    return x * SCALE

class Base(nn.Module):
    width = 3

    @property
    def area(self): return self.width ** 2

    @staticmethod
    def twice(x): return 2 * x

class Net(Base):
    def __init__(self, hidden=8):
        super().__init__()
        self.layer = nn.Linear(hidden, hidden)

    def forward(self, x):
        def inner(y):
            return helper(y) + TABLE["a"][0]
        return torch.relu(inner(self.layer(x)))

def make(depth):
    return lambda x: Net(depth)
made = make(4)
"""


def run(source: str, name: str = "Net", **values: object) -> object:
    """Return what a cell of a notebook defines: a module that nobody can import."""
    cell = types.ModuleType("__main__")
    vars(cell).update(values)
    exec(compile(source, "cell", "exec", dont_inherit=True), vars(cell))
    return vars(cell)[name]


def test_the_same_code_has_the_same_digest_wherever_it_stands():
    moved = "# a comment\n\n\n" + SOURCE.replace("class Net(Base):", "class Net(Base):  # the same")
    assert object_digest(run(SOURCE)) == object_digest(run(SOURCE)) == object_digest(run(moved))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("hidden=8", "hidden=9"),
        ("torch.relu", "torch.tanh"),
        ("self.layer = nn", "self.line = nn"),
        ("SCALE = 1.0", "SCALE = 1"),
        ("SCALE = 1.0", "SCALE = 1.5"),
        ("x * SCALE", "x + SCALE"),
        ("by=2", "by=3"),
        ("[1, 2]", "[2, 1]"),
        ("{3}", "{4}"),
        ("width = 3", "width = 4"),
        ("self.width ** 2", "self.width ** 3"),
        ("2 * x", "3 * x"),
        ("(Base)", "(Base, dict)"),
        ('TABLE["a"][0]', 'TABLE["a"][1]'),
    ],
)
def test_another_digest(old, new):
    assert old in SOURCE
    assert object_digest(run(SOURCE)) != object_digest(run(SOURCE.replace(old, new)))


def test_a_closure_counts_by_its_values():
    four, five = (run(SOURCE.replace("make(4)", f"make({depth})"), "made") for depth in (4, 5))
    assert object_digest(four) != object_digest(five)
    assert object_digest(four) == object_digest(run(SOURCE, "made"))


def test_what_is_not_used_does_not_count():
    one, two = (run(f"def f(x): return x\nother = {value}", "f") for value in (1, 2))
    assert object_digest(one) == object_digest(two)


VALUES = [
    (np.arange(3), np.arange(1, 4)),
    (np.arange(3), np.arange(3.0)),
    (torch.zeros(2, 3), torch.zeros(3, 2)),
    (torch.tensor([0.0]), torch.tensor([-0.0])),
    (torch.float32, torch.bfloat16),
    (torch.device("cpu"), torch.device("meta")),
    (collections.deque([1]), collections.deque([2])),
    (random.Random(1), random.Random(2)),
    (np.random.default_rng(1), np.random.default_rng(2)),
    (functools.partial(print, 1), functools.partial(print, 2)),
    (functools.lru_cache(lambda: 1), functools.lru_cache(lambda: 2)),
    (types.SimpleNamespace(a=1), types.SimpleNamespace(a=2)),
    (torch.optim.SGD, torch.optim.Adam),
    (torch.relu, torch.tanh),
    ([].append, {}.update),
    ({1: 2, 3: 4}, {1: 2, 3: 5}),
    (1, True),
    (1.0, 1),
    ("a", b"a"),
    (["ab", "c"], ["a", "bc"]),
    ([[1], 2], [[1, 2]]),
    (None, ...),
]


@pytest.mark.parametrize(("one", "two"), VALUES)
def test_globals_count_by_their_values(one, two):
    first, again, other = (run("def f(): return VALUE", "f", VALUE=value) for value in (one, one, two))
    assert object_digest(first) == object_digest(again) != object_digest(other)


def test_generators_of_torch_count_by_their_state():
    made = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2)]
    first, again, other = (object_digest(run("def f(): return G", "f", G=generator)) for generator in made)
    assert first == again != other


def test_an_optimizer_is_the_same_after_torch_has_given_it_the_step_of_its_base():
    class Base(torch.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {})

        def step(self, closure=None):
            return None

    made = type("Mine", (Base,), {"__module__": "__main__"})
    before = object_digest(made)
    made([torch.nn.Parameter(torch.zeros(1))])
    assert "step" in vars(made)
    assert object_digest(made) == before
    made.step = lambda self, closure=None: 0.0
    assert object_digest(made) != before


def test_an_optimizer_is_the_same_after_torch_has_wrapped_its_step():
    """torch replaces `step` of a class when it first makes an optimizer of it."""
    source = """
import torch
class Mine(torch.optim.SGD):
    def step(self, closure=None):
        return super().step(closure)
"""
    made = run(source, "Mine")
    before = object_digest(made)
    made([torch.zeros(1, requires_grad=True)], lr=0.1)
    assert getattr(vars(made)["step"], "hooked", False)
    assert object_digest(made) == before


def test_circles_end():
    values: list[object] = [1]
    values.append(values)
    assert object_digest(run("def f(): return f, V", "f", V=values))


@pytest.mark.parametrize(
    "value",
    [threading.Lock(), io.TextIOWrapper(io.BytesIO()), (n for n in [1]), [{"deep": threading.Lock()}], np.array([{}])],
    ids=["lock", "file", "generator", "inside", "objects"],
)
def test_what_has_no_digest_is_named(value):
    with pytest.raises(UnhashableError, match=r"^f\.HANDLE.* is a"):
        object_digest(run("def f(): return HANDLE", "f", HANDLE=value))


def test_another_process_finds_the_same_digest():
    code = (
        "from optrun.experiments.registry.object_digest import object_digest\n" + SOURCE + "\nprint(object_digest(Net))"
    )
    done = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == object_digest(run(SOURCE))

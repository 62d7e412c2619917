"""Classes and functions that Python hands over: their names, and where they are found."""

from __future__ import annotations

import functools
import importlib
import sys
import types
from pathlib import Path

import pytest
import torch

from optrun.experiments.errors import UsageError
from optrun.experiments.registry import handed
from optrun.experiments.registry.handed import Reference, find, hand_over

MINE = """
import torch

class Net(torch.nn.Linear):
    class Inner:
        pass
    def __init__(self):
        super().__init__(4, 3)

def rate(step):
    return 1.0

def made(value):
    def inner(step):
        return value
    return inner
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Import a file that lies beside the program."""
    monkeypatch.syspath_prepend(tmp_path)
    Path("handed_mine.py").write_text(MINE)
    importlib.invalidate_caches()
    yield importlib.import_module("handed_mine")
    sys.modules.pop("handed_mine", None)


@pytest.fixture
def cell(monkeypatch):
    """Run MINE as a notebook's cell would."""

    def run(text=MINE):
        exec(compile(text, "<cell>", "exec", dont_inherit=True), vars(program))
        return program

    program = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", program)
    monkeypatch.setattr(handed, "_held", {})
    return run


def test_what_a_file_defines_has_the_name_that_a_configuration_gives_it(mine, tmp_path):
    assert hand_over(mine.Net) == f"{tmp_path / 'handed_mine.py'}:Net"
    assert hand_over(mine.rate) == f"{tmp_path / 'handed_mine.py'}:rate"
    found = find(hand_over(mine.Net))
    assert found.build is mine.Net
    assert found.code.path == str(tmp_path / "handed_mine.py")
    assert find(str(hand_over(mine.Net))) is None  # as text it is found by importing it


def test_what_lies_in_a_package_has_its_name(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    Path("handed_package").mkdir()
    Path("handed_package/__init__.py").write_text("")
    Path("handed_package/nets.py").write_text(MINE)
    nets = importlib.import_module("handed_package.nets")
    assert hand_over(nets.Net) == "handed_package.nets:Net"
    assert hand_over(torch.optim.SGD) == "torch.optim.sgd:SGD"


def test_what_a_cell_defines_is_found_as_it_is_defined_now(cell):
    first = cell().Net
    name = hand_over(first)
    assert name == "__main__:Net"
    assert isinstance(name, Reference)
    assert find(name).build is find(str(name)).build is first
    second = cell().Net
    assert find("__main__:Net").build is second is not first
    assert hand_over(first).startswith("__main__:Net@")  # which has lost its name


def test_what_has_no_name_of_its_own_is_told_apart_by_its_digest(cell):
    program = cell()
    made = program.made
    names = [hand_over(each) for each in (made(1), made(2), made(1), functools.partial(made, 1), program.Net.Inner)]
    assert [name.partition("@")[0] for name in names] == [
        f"__main__:{name}" for name in ["inner", "inner", "inner", "made", "Inner"]
    ]
    assert names[0] == names[2] != names[1]
    tensors = [hand_over(made(torch.full((2,), value))) for value in (0.0, 0.0, 1.0)]
    assert tensors[0] == tensors[1] != tensors[2]
    assert find(str(names[1])).build(0) == 2
    assert hand_over(cell().made(1)) == names[0]  # in another session too


def test_a_function_of_a_file_that_is_not_at_its_top(mine):
    assert hand_over(mine.made(1)).startswith("__main__:inner@")
    assert find(hand_over(mine.made(1))).modules == ("handed_mine",)  # whose file is recorded


def test_what_this_program_does_not_define(cell):
    cell("")
    with pytest.raises(UsageError, match="'Net' is of a notebook or program, and no file: define it there again"):
        find("__main__:Net")
    with pytest.raises(UsageError, match=r"'inner@01234567' .* hand it over there again"):
        find("__main__:inner@01234567")


@pytest.mark.parametrize("name", ["os", "join", "nothing", "number", "borrowed"])
def test_only_what_the_program_defines_itself_is_found_in_it(cell, name):
    cell("import os\nfrom os.path import join\nfrom collections import OrderedDict as borrowed\nnumber = 3")
    with pytest.raises(UsageError, match="is of a notebook or program"):
        find(f"__main__:{name}")


def test_a_closure_over_what_has_no_digest(cell):
    with Path("open").open("w") as file, pytest.raises(UsageError, match=r"no digest.*define it at the top"):
        hand_over(cell().made(file))


def test_a_file_that_has_changed_since_it_was_imported(mine, monkeypatch):
    monkeypatch.setattr("optrun.experiments.registry.handed.is_stale", lambda path, digest: False)  # nothing says so
    Path("handed_mine.py").write_text(MINE.replace("return 1.0", "return 2.0"))
    with pytest.raises(UsageError, match=r"handed_mine\.py has changed since this process imported it"):
        hand_over(mine.rate)
    Path("handed_mine.py").write_text(MINE.replace("4, 3", "4, 5"))
    with pytest.raises(UsageError, match=r"handed_mine\.py has changed since this process imported it"):
        hand_over(mine.Net)

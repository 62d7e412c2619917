"""What a code reference may name: components of their kind, and what the user's own files define; nothing else is run.

The truth of a refusal is that no module is imported and no function called; of an acceptance, the object itself.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

from optrun.experiments.components.registries import REGISTRIES
from optrun.experiments.config.resolving import _FUNCTIONS
from optrun.experiments.errors import UsageError

KINDS = {**REGISTRIES, "function": _FUNCTIONS}

#: Functions and classes that are no components, of Python, of torch and of packages that are installed.
HARMFUL = [
    "os:system", "subprocess:run", "builtins:eval", "shutil:rmtree", "pickle:loads", "importlib:import_module",
    "functools:partial", "os.path.os:system", "antigravity:geohash", "this:d", "runpy:run_path", "ctypes:CDLL",
    "torch:load", "torch.hub:load", "torch.hub:load_state_dict_from_url", "torch.jit:load", "torch:os", "torch:compile",
    "torch.serialization:os", "torch.utils.cpp_extension:load", "torch.utils.cpp_extension:_run_ninja_build",
    "torch.package:PackageImporter", "torch.multiprocessing:spawn", "torch.utils.data:DataLoader", "torch:classes",
    "numpy:load", "numpy:fromfile", "numpy:vectorize", "numpy:ndarray", "numpy.lib.npyio:DataSource", "joblib:load",
    "sklearn.datasets:fetch_openml", "yaml:unsafe_load", "yaml:UnsafeLoader", "click:Command", "click:edit",
    "pip.__main__:main", "pip:main", "pytest.__main__:main", "_pytest.pytester:Pytester", "matplotlib:use",
    "rich:print",
    "optrun.experiments.system.storage:remove", "optrun.experiments.system.storage:System", "optrun.cli.app:run",
    "optrun.cli.__main__:main", "optrun.experiments.run_directory.group_dir:trash",
]  # fmt: skip

#: What a file of the user's has from elsewhere.
TAKEN = """\
import functools, os, shutil, subprocess
from functools import partial
from os import system
from pathlib import Path
from shutil import rmtree as remove
from subprocess import *
from torch.hub import load
run_it = partial(subprocess.run, shell=True)
alias = os.system
evaluated = eval
opener = open
getter = "".join
"""
NAMES = ["functools", "os", "system", "Path", "remove", "run", "Popen", "load", "partial", "run_it", "alias",
         "evaluated", "opener", "getter", "__builtins__", "__loader__", "__spec__"]  # fmt: skip

OWN = """\
import functools
import torch
from torch import nn
from torch.nn import Linear as Line

class Net(nn.Module): ...
class Plain: ...
def function(a, b=1): return (a, b)
half = functools.partial(function, b=2)
cached = functools.lru_cache(function)
def into(what):
    return lambda given: what
@into(torch.nn.functional.mse_loss)
def decorated(): ...
@torch.no_grad()
def quiet(): ...
instance = Line(1, 1)
class Called:
    def __call__(self, *args): ...
called = Called()
if True:
    def branch(): ...
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return a folder of installed packages, whose modules are forgotten afterwards."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    for registry in KINDS.values():  # what was found in the folder
        registry.__dict__.pop("_entry_points", None)


def install(folder: Path, name: str, code: str, requires: str = "", entry_points: str = "") -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(code)
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{needs}")
    (info / "top_level.txt").write_text(f"{name}\n")
    (info / "entry_points.txt").write_text(entry_points)
    from optrun.experiments.registry import kinds

    kinds._by_top_level.cache_clear()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_component_is_refused(kind):
    for name in HARMFUL:
        with pytest.raises(UsageError) as caught:
            KINDS[kind].get(name)
        assert name.partition(":")[0].partition(".")[0] in str(caught.value), str(caught.value)


def test_nothing_is_imported_to_find_that_out(site):
    """Each of these would leave a mark when it is imported."""
    mark = f"open({str(site / 'executed')!r}, 'w').close()\n"
    install(site, "nt_function", mark + "def f(): ...\n", "torch>=2")
    install(site, "nt_class", mark + "class C: ...\n")
    install(site, "nt_near", mark + "class C: ...\n", "torchvision")
    install(site, "nt_lazy", mark + "def __getattr__(name): return int\n", "torch")
    install(site, "nt_outer", mark + "from os import system\nfrom nt_function import f\n", "torch")
    (site / "nt_outer" / "__main__.py").write_text(mark + "class C: ...\n")
    for name in ("nt_function:f", "nt_class:C", "nt_near:C", "nt_lazy:C", "nt_outer:system", "nt_outer:f",
                 "nt_outer.__main__:C", f"{site}/nt_class/__init__.py:C"):  # fmt: skip
        for registry in KINDS.values():
            with pytest.raises(UsageError):
                registry.get(name)
    assert not (site / "executed").exists()
    assert not [name for name in sys.modules if name.startswith("nt_")]


def test_classes_of_their_kind_are_taken_from_packages_that_build_on_torch(site):
    code = "import torch\nfrom .deep import *\nfrom .deep import Net as Other\nclass Plain: ...\n"
    install(site, "nt_good", code, 'torch>=2.0; extra == "all"')
    deep = "import torch\nclass Net(torch.nn.Module): ...\nclass Sgd(torch.optim.SGD): ...\n"
    (site / "nt_good" / "deep.py").write_text(deep)
    for name in ("nt_good:Net", "nt_good:Other", "nt_good.deep:Net"):
        assert KINDS["model"].get(name).build is importlib.import_module("nt_good.deep").Net
        with pytest.raises(UsageError, match=r"is no subclass of torch's Optimizer, and comes from 'nt_good\.deep'"):
            KINDS["optimizer"].get(name)
    assert KINDS["optimizer"].get("nt_good:Sgd").build.__name__ == "Sgd"
    with pytest.raises(UsageError, match="write a class or function of your own around it"):
        KINDS["model"].get("nt_good:Plain")
    with pytest.raises(UsageError):
        KINDS["schedule"].get("nt_good:Net")  # nothing that is installed is a schedule, unless it is registered
    assert KINDS["model"].get("torch.nn:Linear").build is torch.nn.Linear
    assert KINDS["optimizer"].get("torch.optim:SGD").build is torch.optim.SGD


def test_what_a_package_registers_or_offers_may_be_named(site):
    code = (
        "from optrun.experiments.components.schedules import register_schedule\n"
        "@register_schedule('nt_registered')\ndef registered(step): return 1.0\ndef other(step): return 1.0\n"
        "def offered(step): return 1.0\n"
    )
    install(site, "nt_offers", code, "", "[optrun.schedule]\nnt_offered = nt_offers:offered\n")
    registry = KINDS["schedule"]
    registry.__dict__.pop("_entry_points", None)
    try:
        assert registry.get("nt_offers:registered").build(0) == 1.0
        assert registry.get("nt_offers:offered").build(0) == 1.0
        with pytest.raises(UsageError, match="comes from 'nt_offers', no file of your own"):
            registry.get("nt_offers:other")
    finally:
        registry._components.pop("nt_registered", None)
    cosine = registry.get("cosine").build
    assert registry.get(f"{cosine.__module__}:{cosine.__name__}").build is cosine


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_own_file_has_from_elsewhere_is_refused(kind, tmp_path):
    (tmp_path / "mine.py").write_text(TAKEN)
    for name in NAMES:
        with pytest.raises(UsageError, match=r"no file of your own: write|not a function or class"):
            KINDS[kind].get(f"./mine.py:{name}", tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_own_file_defines_is_taken(kind, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    for name in ("Net", "Plain", "function", "half", "cached", "decorated", "quiet", "called", "branch"):
        assert callable(KINDS[kind].get(f"./own.py:{name}", tmp_path).build)
    if kind in ("model", "loss"):
        assert KINDS[kind].get("./own.py:Line", tmp_path).build is torch.nn.Linear
        assert KINDS[kind].get("./own.py:instance", tmp_path).build.in_features == 1

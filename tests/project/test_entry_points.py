"""Components of other packages: entry points in the groups `optrun.KIND`."""

from __future__ import annotations

import sys

import pytest

from optrun.experiments.errors import UsageError
from optrun.experiments.registry import Registry

TINY = """\
import torch

class Tiny(torch.optim.SGD):
    '''Descend along the gradient.'''

    def __init__(self, params, lr: float = 0.25):
        super().__init__(params, lr=lr)
"""


def distribution(folder, name, code, **points):
    """Write what an installed package leaves behind: a module and its metadata."""
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{point} = {value}" for point, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[optrun.optimizer]", *lines, ""]))


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return a folder on sys.path, whose modules are forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    yield folder
    for path in folder.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture
def registry(site):
    (site / "house_of_components.py").write_text("__path__ = []\n")
    return Registry("optimizer", "house_of_components", given=1)


def test_names_are_listed_without_importing(site, registry):
    distribution(site, "tiny", "raise RuntimeError('imported')", tiny="tiny:Tiny")
    assert registry.names() == ["tiny"]
    assert "tiny" not in sys.modules


def test_a_component_is_loaded_when_it_is_asked_for(site, registry):
    distribution(site, "tiny", TINY, tiny="tiny:Tiny", other="tiny:Missing")
    component = registry.get("tiny")
    assert (component.build.__module__, component.build.__name__) == ("tiny", "Tiny")
    assert component.source == "tiny:Tiny"
    assert component.signature.names() == ["lr"]
    assert registry.get("tiny") is component
    assert registry.names() == ["other", "tiny"]


@pytest.mark.parametrize(
    ("code", "value", "phrase"),
    [
        ("raise RuntimeError('boom')", "bad:Bad", "fails when imported: RuntimeError: boom"),
        ("{}['key']", "bad:Bad", "fails when imported: KeyError: 'key'"),
        ("import sys; sys.exit('bye')", "bad:Bad", "fails when imported: SystemExit: bye"),
        ("import no_such_module_here", "bad:Bad", "fails when imported: ModuleNotFoundError"),
        ("", "bad:Bad", "fails when imported: AttributeError: module 'bad' has no attribute 'Bad'"),
        ("", "no_such_module_here:Bad", "fails when imported: ModuleNotFoundError"),
        ("Bad = 3", "bad:Bad", "is a int, not a function or class"),
        ("", "bad", "is a module, not a function or class"),
    ],
)
def test_a_broken_one_reports_itself_and_spares_the_others(site, registry, code, value, phrase):
    distribution(site, "bad", code, bad=value)
    distribution(site, "tiny", TINY, tiny="tiny:Tiny")
    for _ in range(2):
        with pytest.raises(UsageError) as caught:
            registry.get("bad")
        assert str(caught.value).startswith(f"optimizer 'bad' ({value}) {phrase}")
    assert registry.names() == ["bad", "tiny"]
    assert registry.get("tiny").name == "tiny"


def test_two_packages_with_one_name_are_an_error_that_names_both(site, registry):
    distribution(site, "first", "def build(params): ...", same="first:build")
    distribution(site, "second", "def build(params): ...", same="second:build")
    assert registry.names() == ["same"]
    for _ in range(2):
        with pytest.raises(UsageError, match=r"two optimizers are called 'same': (first.*second|second.*first)"):
            registry.get("same")


def test_a_package_may_not_take_the_name_of_one_of_ours(site, registry):
    registry.register("ours")(print)
    distribution(site, "taker", "def build(params): ...", ours="taker:build")
    with pytest.raises(UsageError, match=r"two optimizers are called 'ours': builtins\.print and taker\.build"):
        registry.get("ours")


def test_a_package_may_register_by_decorator_what_it_lists(site, registry, monkeypatch):
    code = """\
from house_of_components import registry

@registry.register("both", source="a paper", centre_lr=0.5)
def build(params, lr=0.5): ...
"""
    import house_of_components

    monkeypatch.setattr(house_of_components, "registry", registry, raising=False)
    distribution(site, "both", code, both="both:build")
    component = registry.get("both")
    assert (component.source, component.facts) == ("a paper", {"centre_lr": 0.5})


RUN = """\
from optrun.experiments.config import load
from optrun.experiments import build
from optrun.experiments.components.registries import REGISTRIES

assert "tiny" in REGISTRIES["optimizer"].names()
config = load("mom", ["optimizer=tiny", "train.epochs=1", "data.subset=100"], registries=REGISTRIES)
optimizer = build(config).train_op.optimizer
print(type(optimizer).__module__, type(optimizer).__name__, optimizer.param_groups[0]["lr"], flush=True)
"""
TRAIN = """
from optrun.cli.app import run

for name in ("tiny", "bad"):
    print(run(["train", "mom", f"optimizer={name}", "train.epochs=1", "data.subset=100", "--quiet"]), flush=True)
"""


MAIN = "from optrun.cli import main; main()"


def run(server, code, *args, **variables):
    process = server.new_python(code, *args, variables={name: str(value) for name, value in variables.items()})
    out, err = process.communicate(timeout=120)
    return process.returncode, out.decode(), err.decode()


def test_an_optimizer_of_another_package_trains(site, server):
    distribution(site, "tiny", TINY, tiny="tiny:Tiny", bad="no_such_module_here:Bad")
    status, out, err = run(server, RUN + TRAIN, PYTHONPATH=site)
    assert status == 0, err
    optimizer, trained, code, refused = out.splitlines()
    assert optimizer == "tiny Tiny 0.25"
    assert trained.startswith("mom-0001 done ")
    assert (code, refused) == ("0", "2")
    assert "optimizer 'bad' (no_such_module_here:Bad) fails when imported: ModuleNotFoundError" in err
    assert "Traceback" not in err


def test_a_plugin_from_the_environment_trains(site, server):
    register = "from optrun.experiments.components.optimizers import register_optimizer\n"
    (site / "tiny_plugin.py").write_text(
        register + TINY.replace("class Tiny", "@register_optimizer('tiny')\nclass Tiny")
    )
    code, out, err = run(server, RUN, PYTHONPATH=site, OPTRUN_PLUGINS="tiny_plugin")
    assert code == 0, err
    assert out == "tiny_plugin Tiny 0.25\n"
    code, _, err = run(server, MAIN, "train", "mom", PYTHONPATH=site, OPTRUN_PLUGINS="tiny_pluggin")
    assert code == 2
    assert "OPTRUN_PLUGINS: module 'tiny_pluggin' fails when imported: ModuleNotFoundError" in err
    assert "Traceback" not in err

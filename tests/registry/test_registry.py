from __future__ import annotations

import functools
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from optrun.experiments.errors import UsageError
from optrun.experiments.registry import Component, Registry
from optrun.experiments.registry.arguments import Argument, Positive


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a function that writes a package of components, and returns its registry."""
    names: list[str] = []

    def write(name: str, **modules: str) -> Registry:
        folder = tmp_path / name
        folder.mkdir()
        head = "from optrun.experiments.registry import Registry\nregistry = Registry('optimizer', __name__, given=1)\n"
        (folder / "__init__.py").write_text(head)
        for module, code in modules.items():
            (folder / f"{module}.py").write_text(code)
        names.append(name)
        importlib.invalidate_caches()
        return importlib.import_module(name).registry

    monkeypatch.syspath_prepend(tmp_path)
    yield write
    for loaded in [module for module in sys.modules if module.split(".")[0] in names]:
        del sys.modules[loaded]


ONE = "from . import registry\n@registry.register('{name}')\ndef {name}(params, lr=0.1): ...\n"


def test_the_scan_finds_every_module_of_the_folder_at_the_first_look_up(package):
    registry = package("scan_a", one=ONE.format(name="sgd"), two=ONE.format(name="adam"), notes="1 + 1\n")
    assert "scan_a.one" not in sys.modules
    assert registry.names() == ["adam", "sgd"]
    assert registry.get("sgd").build.__module__ == "scan_a.one"


def test_the_scan_finds_packages_inside_the_folder(package, tmp_path):
    registry = package("scan_b")
    (tmp_path / "scan_b" / "deep").mkdir()
    (tmp_path / "scan_b" / "deep" / "__init__.py").write_text("from .. import registry\nregistry.register('deep')(max)")
    assert registry.names() == ["deep"]


def test_a_module_that_looks_something_up_while_it_is_imported(package):
    code = "from . import registry\nseen = registry.names()\n" + ONE.format(name="b")
    registry = package("scan_c", a=ONE.format(name="a"), b=code)
    assert registry.names() == ["a", "b"]


def test_a_broken_module_is_an_error_every_time(package):
    registry = package("scan_d", a=ONE.format(name="a"), b="raise RuntimeError('broken')\n")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken"):
            registry.names()


@pytest.fixture
def registry(package):
    return package("empty")


def test_an_unknown_name_is_answered_with_the_nearest_and_all(registry):
    registry.register("adam")(print)
    registry.register("sgd")(print)
    with pytest.raises(UsageError, match=r"^no optimizer named 'adm'\. Did you mean 'adam'\? Known: adam, sgd$"):
        registry.get("adm")


def test_the_decorator_hands_its_function_back(registry):
    def build(params): ...

    assert registry.register("mine")(build) is build


def test_two_components_of_one_name_are_an_error_that_names_both(package):
    registry = package("clash", a=ONE.format(name="same"), b=ONE.format(name="same"))
    with pytest.raises(UsageError, match=r"^two optimizers are called 'same': clash\.a\.same and clash\.b\.same$"):
        registry.names()


def test_what_has_no_name_of_its_own_clashes_too(registry):
    registry.register("same")(functools.partial(print, sep=""))
    with pytest.raises(UsageError, match=r"two optimizers are called 'same': functools\.partial\(.*and builtins\.max"):
        registry.register("same")(max)


def test_one_function_may_have_two_names(registry):
    registry.register("a")(registry.register("b")(print))
    assert registry.get("a").build is registry.get("b").build


def test_a_module_that_runs_again_replaces_its_own(registry):
    def define(value):
        @registry.register("mine", source=f"paper {value}")
        def build(params):
            return value

        return build

    define(1)
    latest = define(2)
    assert registry.get("mine").build is latest
    assert registry.get("mine").source == "paper 2"


def test_a_file_that_was_changed_replaces_its_own(package, tmp_path):
    registry = package("changed")
    code = "from changed import registry\n@registry.register('mine')\ndef build(params):\n    return {}\n"
    for value in (1, 2):
        (tmp_path / "mine.py").write_text(code.format(value))
        registry.get("./mine.py:build", base=tmp_path)
        assert registry.get("mine").build(None) == value
    (tmp_path / "other.py").write_text(code.format(3))
    with pytest.raises(UsageError, match="two optimizers are called 'mine'"):
        registry.get("./other.py:build", base=tmp_path)


def test_facts_source_and_documentation(registry):
    @registry.register("documented", source="Polyak, 1964", centre_lr=0.1)
    def build(params, lr: Positive = 0.1):
        """Descend with momentum,
        as a heavy ball would.

        Args:
            lr: the rate.
        """

    component = registry.get("documented")
    assert component.source == "Polyak, 1964"
    assert component.facts == {"centre_lr": 0.1}
    assert component.summary == "Descend with momentum, as a heavy ball would."
    assert component.doc.splitlines()[-1] == "    lr: the rate."
    assert component.code is None
    assert component.signature.arguments == (Argument("lr", Positive, 0.1),)


def test_a_component_without_documentation_has_an_empty_one(registry):
    registry.register("bare")(lambda params: None)
    assert (registry.get("bare").doc, registry.get("bare").summary) == ("", "")


def smooth(outputs: Any, targets: Any, amount: float = 0.0) -> tuple[Any, ...]:
    return outputs, targets, amount


class Smooth:
    def __init__(self, amount: float = 0.0):
        self.amount = amount

    def __call__(self, outputs: Any, targets: Any) -> tuple[Any, ...]:
        return outputs, targets, self.amount


@pytest.mark.parametrize("build", [smooth, Smooth])
@pytest.mark.parametrize("kind", ["loss", "metric", "augmentation"])
def test_functions_and_classes_are_bound_alike(kind, build):
    component = Component(kind, "smooth", build, given=2)
    assert component.signature.arguments == (Argument("amount", float, 0.0),)
    assert component.bind()(1, 2) == (1, 2, 0.0)
    assert component.bind(amount=0.5)(1, 2) == (1, 2, 0.5)


def test_binding_nothing_to_a_function_is_the_function():
    assert Component("loss", "smooth", smooth, given=2).bind() is smooth


def test_make_calls_with_what_optrun_gives_first():
    class Descent:
        def __init__(self, params, lr: float = 0.1):
            self.params, self.lr = params, lr

    component = Component("optimizer", "descent", Descent, given=1)
    assert component.signature.names() == ["lr"]
    made = component.make([1], lr=0.5)
    assert (made.params, made.lr) == ([1], 0.5)


def test_open_signatures():
    assert Component("optimizer", "open", lambda params, lr=1, **rest: None, given=1).signature.open
    assert not Component("optimizer", "closed", lambda params, lr=1: None, given=1).signature.open


def test_partials_and_builtins_as_components():
    def build(params, lr: Positive, depth=1): ...

    assert Component("optimizer", "p", functools.partial(build, depth=2), given=1).signature.arguments == (
        Argument("lr", Positive, required=True),
        Argument("depth", Any, 2),
    )
    with pytest.raises(TypeError, match="no readable signature"):
        _ = Component("optimizer", "max", max, given=1).signature


def test_user_code_is_a_component_with_a_record(registry, tmp_path):
    (tmp_path / "mine.py").write_text("def descend(params, lr=0.1): return lr\nsettings = 3\n")
    component = registry.get("./mine.py:descend", base=tmp_path)
    assert (component.kind, component.name, component.given) == ("optimizer", "./mine.py:descend", 1)
    assert component.code is not None
    assert component.source == component.code.path == str(tmp_path / "mine.py")
    assert component.make(None, lr=3) == 3
    assert registry.names() == [], "it is not registered"
    with pytest.raises(UsageError, match=r"\./mine\.py:settings is a int, not a function or class"):
        registry.get("./mine.py:settings", base=tmp_path)


PLUGIN = "from {package} import registry\n@registry.register('{name}')\ndef build(params): ...\n"


def test_plugins_from_the_environment_register_themselves(package, tmp_path, monkeypatch):
    registry = package("with_plugins", own=ONE.format(name="own"))
    for name in ("plug_one", "plug_two"):
        (tmp_path / f"{name}.py").write_text(PLUGIN.format(package="with_plugins", name=name))
    monkeypatch.setenv("OPTRUN_PLUGINS", " plug_one , plug_two,,")
    assert registry.names() == ["own", "plug_one", "plug_two"]
    assert registry.get("plug_two").build.__module__ == "plug_two"


@pytest.mark.parametrize("value", ["", " ", ",", " , "])
def test_no_plugins(registry, monkeypatch, value):
    monkeypatch.setenv("OPTRUN_PLUGINS", value)
    assert registry.names() == []


@pytest.mark.parametrize(
    ("code", "phrase"),
    [
        (None, "ModuleNotFoundError: No module named 'plug_bad'"),
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def (:", "SyntaxError: "),
    ],
)
def test_a_plugin_that_fails_is_named_every_time(package, tmp_path, monkeypatch, code, phrase):
    registry = package("with_bad_plugin", own=ONE.format(name="own"))
    if code is not None:
        (tmp_path / "plug_bad.py").write_text(code)
    monkeypatch.setenv("OPTRUN_PLUGINS", "plug_bad")
    for look_up in (registry.names, lambda: registry.get("own")):
        with pytest.raises(UsageError, match=f"^OPTRUN_PLUGINS: module 'plug_bad' fails when imported: {phrase}"):
            look_up()


def test_a_plugin_may_not_take_a_name(package, tmp_path, monkeypatch):
    registry = package("taken", own=ONE.format(name="own"))
    (tmp_path / "plug_taker.py").write_text(PLUGIN.format(package="taken", name="own"))
    monkeypatch.setenv("OPTRUN_PLUGINS", "plug_taker")
    with pytest.raises(UsageError, match=r"two optimizers are called 'own': taken\.own\.own and plug_taker\.build"):
        registry.get("own")


def test_the_scan_does_not_depend_on_the_working_directory(package, tmp_path, monkeypatch):
    registry = package("anywhere", own=ONE.format(name="own"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert registry.get("own", base=Path("nowhere")).name == "own"


def flavored() -> Registry:
    registry = Registry("optimizer", "tests.nowhere", given=1, flavor="torch")
    registry._scanned = True  # there is no package behind it
    for name, flavor in (("two", "tf1"), ("two", None), ("one", None)):  # in any order

        def build(params, lr: Positive = 0.1, *, of=flavor):
            return params, lr, of

        build.__qualname__ = f"build_{name}_{flavor}"
        registry.register(name, flavor=flavor, source=f"{flavor}", centre=1)(build)
    return registry


def test_a_flavor_is_another_component_of_the_same_name():
    component = flavored().get("two")
    assert component.flavor == "torch"
    assert list(component.variants) == ["torch", "tf1"]
    other = component.of_flavor("tf1")
    assert (other.name, other.flavor, other.source) == ("two", "tf1", "tf1")
    assert other.of_flavor("torch").source == component.source == "None"
    assert component.of_flavor(None).source == "None"


def test_the_flavor_is_an_argument_that_the_builder_never_sees():
    component = flavored().get("two").of_flavor("tf1")
    assert component.signature.names() == ["lr", "of", "flavor"]
    assert component.signature.arguments[-1].default == "tf1"
    assert component.make([], lr=2.0, flavor="tf1") == ([], 2.0, "tf1")


def test_names_without_flavors_have_no_such_argument():
    component = flavored().get("one")
    assert component.variants == {}
    assert "flavor" not in component.signature.names()
    with pytest.raises(UsageError, match="'one' has no flavor 'tf1'; it has: none"):
        component.of_flavor("tf1")


def test_unknown_flavors_are_refused_and_taken_ones_too():
    registry = flavored()
    with pytest.raises(UsageError, match="'two' has no flavor 'tf2'; it has: torch, tf1"):
        registry.get("two").of_flavor("tf2")
    with pytest.raises(UsageError, match="two optimizers are called 'two' with flavor 'tf1'"):
        registry.register("two", flavor="tf1")(lambda params: params)

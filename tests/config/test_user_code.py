"""The user's own components in a config."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import pytest

from optrun.experiments.config import ConfigError
from optrun.experiments.config.lengths import Interval

from .small_registries import BASE

CODE = """\
from __future__ import annotations

class Watch:
    def __init__(self, path, every=None, depth: int = 3, mode="fast", *, limit: float = 0.5): ...

class Sloppy:
    def __init__(self, rate: int = 0.5, shape: float = None, build=print, far=float("inf"), many: tuple = (1, 2)): ...

class Everyday:
    def __init__(self, every: Undefined = 5): ...

def top(outputs, targets, k=3): ...

class Open:
    def __init__(self, lr: float = 0.1, **rest): ...
"""


@pytest.fixture
def code(folder):
    (folder / "mine").mkdir()
    path = folder / "mine" / "code.py"
    path.write_text(CODE)
    return path


def test_the_file_is_relative_to_the_naming_config(load, folder, code):
    (folder / "mine" / "base.yaml").write_text(BASE + "hooks: [{name: './code.py:Watch', path: a}]\n")
    (folder / "a.yaml").write_text("extends: mine/base\n")
    config = load("a.yaml")
    assert config.hooks[0].name == f"{code}:Watch"
    assert config.hooks[0].label == "Watch"
    own = {path: digest for path, digest in config.code_files.items() if Path(path).is_relative_to(folder)}
    assert own == {str(code): hashlib.sha256(code.read_bytes()).hexdigest()}
    assert config.to_dict()["hooks"] == [
        {"name": f"{code}:Watch", "path": "a", "every": None, "depth": 3, "mode": "fast", "limit": 0.5}
    ]


def test_an_override_is_relative_to_the_working_directory(load, code):
    assert load(BASE, "hooks=[{name: './mine/code.py:Watch', path: x}]").hooks[0].component.code.path == str(code)


def test_unannotated_arguments_take_anything_and_every_is_an_interval(load, code):
    text = BASE + "hooks: [{name: './mine/code.py:Watch', path: {a: [1, x]}, mode: 3, every: 10m}]\n"
    args = load(text).hooks[0].args
    assert args == {"path": {"a": [1, "x"]}, "every": Interval(600, "secs"), "depth": 3, "mode": 3, "limit": 0.5}


@pytest.mark.parametrize(
    ("args", "key", "phrase"),
    [
        ("path: x, depth: '3'", "hooks.0.depth", "expected an int, got '3'"),
        ("path: x, every: soon", "hooks.0.every", "an interval such as"),
        ("path: x, dept: 3", "hooks.0.dept", "no argument 'dept'"),
        ("depth: 3", "hooks.0.path", "needs the argument 'path'"),
        ("path: .nan", "hooks.0.path", "finite"),
    ],
)
def test_mistakes(load, code, args, key, phrase):
    with pytest.raises(ConfigError) as caught:
        load(BASE + f"hooks: [{{name: './mine/code.py:Watch', {args}}}]\n")
    assert caught.value.problems[0].key == key
    assert phrase in caught.value.problems[0].message


@pytest.mark.parametrize("name", ["Sloppy", "Everyday", "Open"])
def test_defaults_that_no_file_can_hold_stay_with_the_class(load, code, name):
    config = load(BASE + f"hooks: ['./mine/code.py:{name}']\n")
    again = load(config.to_yaml())
    assert again.to_dict() == config.to_dict()
    assert again.hooks[0].args == config.hooks[0].args


def test_open_signatures_keep_what_they_are_given(load, code):
    config = load(BASE + "hooks: [{name: './mine/code.py:Open', lr: 1, extra: [1, 2], more: {a: b}}]\n")
    assert config.hooks[0].args == {"lr": 1.0, "extra": [1, 2], "more": {"a": "b"}}
    assert load(config.to_yaml()).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("source", "phrase"),
    [
        ("raise RuntimeError('boom')", "fails when imported: RuntimeError: boom"),
        ("import no_such_module_at_all", "fails when imported: ModuleNotFoundError"),
        ("def broken(:", "fails when imported: SyntaxError"),
        ("Hook = 3", "is a int, not a function or class"),
        ("Hok = print", "Did you mean 'Hok'?"),
        ("Hook = dict.update", ""),
    ],
)
def test_code_that_does_not_work(load, folder, source, phrase):
    (folder / "bad.py").write_text(source)
    with pytest.raises(ConfigError) as caught:
        load(BASE + "hooks: ['./bad.py:Hook', 3]\n")
    assert phrase in str(caught.value)
    assert caught.value.problems[-1].key == "hooks.1"


def test_a_stored_config_loads_only_the_code_it_was_made_with(load, folder, code):
    config = load(BASE + "hooks: [{name: './mine/code.py:Watch', path: x}]\n")
    stored = config.to_yaml()
    assert load(stored, trusted=config.code_files).to_dict() == config.to_dict()
    with pytest.raises(ConfigError, match="--allow-code"):
        load(stored, trusted={})
    code.write_text(CODE + "# changed\n")
    with pytest.raises(ConfigError, match="has changed since"):
        load(stored, trusted=config.code_files)
    assert load(stored).code_files != config.code_files


HASH_OF = {number: hashlib.sha256(f"NUMBER = {number}\n".encode()).hexdigest() for number in (1, 2)}


@pytest.fixture
def aside(load, folder, code, monkeypatch):
    """Return what a configuration's code imports from this file, in a function: its path and SHA-256."""
    monkeypatch.syspath_prepend(str(folder))
    code.write_text("class Watch:\n    def __init__(self):\n        import aside_of_watch\n")

    def found():
        files = load(BASE + "hooks: ['./mine/code.py:Watch']\n").code_files
        return {Path(path).relative_to(folder).as_posix(): digest for path, digest in files.items() if "aside" in path}

    return folder / "aside_of_watch.py", found


def test_an_edit_is_noticed_that_changes_neither_length_nor_time(aside):
    path, found = aside
    for number in (1, 2):
        path.write_text(f"NUMBER = {number}\n")
        os.utime(path, (1e9, 1e9))
        assert found() == {path.name: HASH_OF[number]}


def test_a_link_that_leads_elsewhere_is_noticed(aside):
    path, found = aside
    for number in (1, 2):
        (path.parent / f"aside_{number}.py").write_text(f"NUMBER = {number}\n")
        path.unlink(missing_ok=True)
        path.symlink_to(f"aside_{number}.py")
        assert found() == {f"aside_{number}.py": HASH_OF[number]}


def test_metrics_of_ones_own_are_called_by_their_label(load, code):
    for more in ([], ["eval.metric=val/top"]):
        assert load(BASE, "metrics=['./mine/code.py:top']", "eval.mode=max", *more).eval.metric == "val/top"
        with pytest.raises(ConfigError, match="nothing says whether more or less of 'val/top' is better"):
            load(BASE, "metrics=['./mine/code.py:top']", *more)


def test_configs_of_registered_components_can_be_pickled(load):
    config = load(BASE)
    assert pickle.loads(pickle.dumps(config)).to_dict() == config.to_dict()

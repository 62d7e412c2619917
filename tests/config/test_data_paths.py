"""Paths in arguments are relative to what names them: a file, one that it extends, the command line, Python, code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from optrun.experiments import load_config
from optrun.experiments.config.paths import files_read

CODE = """\
import os
from pathlib import Path, PurePath
from typing import Annotated
from optrun.experiments import DataPath

def data_path(file: DataPath): ...
def one(file: Path): ...
def pure(file: PurePath): ...
def like(file: os.PathLike): ...
def like_text(file: "os.PathLike[str]"): ...
def optional(file: Path | None = None): ...
def either(file: str | Path): ...
def many(file: list[Path]): ...
def pair(file: tuple[Path, Path]): ...
def named(file: dict[str, Path]): ...
def nested(file: dict[str, list[Path]]): ...
def path(path): ...
def default(file: Path = Path("t.csv")): ...
def defaults(file: tuple[Path, ...] = (Path("t.csv"),)): ...
def text_default(path: str = "t.csv"): ...
"""
REST = {"model": "logistic", "loss": "cross_entropy", "optimizer": {"name": "sgd", "lr": 0.1}, "train": {"steps": 1}}
VALUES: dict[str, Any] = {
    **dict.fromkeys(["data_path", "one", "pure", "like", "like_text", "optional", "either", "path"], "t.csv"),
    "many": ["t.csv"],
    "pair": ["t.csv", "t.csv"],
    "named": {"a": "t.csv"},
    "nested": {"a": ["t.csv"]},
}
DEFAULTS = ("default", "defaults", "text_default")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder: code and a configuration in `base`, one that extends it in `deep`; the shell is elsewhere."""
    for folder in ("base", "deep", "shell"):
        (tmp_path / folder).mkdir()
    (tmp_path / "base" / "mine.py").write_text(CODE)
    (tmp_path / "base" / "t.csv").write_text("1\n")
    monkeypatch.chdir(tmp_path / "shell")
    return tmp_path


def paths_in(value: Any) -> list[str]:
    if isinstance(value, dict | list | tuple):
        return [path for each in (value.values() if isinstance(value, dict) else value) for path in paths_in(each)]
    return [os.fspath(value)]


def written(project: Path, name: str, value: Any) -> Path:
    """Write a configuration beside the code, which gives `value` to the argument that takes files."""
    import json

    argument = {"path": "path"}.get(name, "file")
    given = {} if value is None else {argument: value}
    config = {"data": {"name": f"./mine.py:{name}", **given}, **REST}
    (project / "base" / "run.yaml").write_text(json.dumps(config))
    (project / "deep" / "run.yaml").write_text(json.dumps({"extends": "../base/run.yaml", "seed": 1}))
    return project / "base" / "run.yaml"


@pytest.mark.parametrize("name", VALUES)
def test_what_names_a_path_is_what_it_is_relative_to(name: str, project: Path) -> None:
    file, value = written(project, name, VALUES[name]), VALUES[name]
    beside = str(project / "base" / "t.csv")
    argument = "path" if name == "path" else "file"
    for target in (file, project / "deep" / "run.yaml"):
        found = load_config(target).data.args[argument]
        assert set(paths_in(found)) == {beside}
    here = str(project / "shell" / "t.csv")
    given = load_config(file, {f"data.{argument}": value}).data.args[argument]
    assert set(paths_in(given)) == {here}
    mapping = {"data": {"name": f"{project}/base/mine.py:{name}", argument: value}, **REST}
    assert set(paths_in(load_config(mapping).data.args[argument])) == {here}
    stored = project / "stored.yaml"
    stored.write_text(load_config(file).to_yaml())
    assert set(paths_in(load_config(stored).data.args[argument])) == {beside}


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_is_relative_to_the_code_that_has_it(name: str, project: Path) -> None:
    file = written(project, name, None)
    argument = "path" if name == "text_default" else "file"
    beside = str(project / "base" / "t.csv")
    for target in (file, project / "deep" / "run.yaml"):
        assert set(paths_in(load_config(target).data.args[argument])) == {beside}
    (project / "base" / "t.csv").rename(project / "shell" / "t.csv")  # where Python itself would look
    assert set(paths_in(load_config(file).data.args[argument])) == {str(project / "shell" / "t.csv")}


def test_each_path_of_a_mapping_is_relative_to_what_names_it(project: Path) -> None:
    written(project, "named", {"a": "t.csv", "b": "t.csv"})
    text = (project / "deep" / "run.yaml").read_text()
    (project / "deep" / "run.yaml").write_text(text[:-1] + ', "data": {"file": {"b": "u.csv"}}}')
    found = load_config(project / "deep" / "run.yaml", ["data.file.c=v.csv"])
    folders = {"a": "base/t.csv", "b": "deep/u.csv", "c": "shell/v.csv"}
    assert found.data.args["file"] == {name: project / path for name, path in folders.items()}
    assert set(files_read(found.data)) == {str(project / path) for path in folders.values()}


def test_nothing_is_no_path(project: Path) -> None:
    assert load_config(written(project, "path", "")).data.args["path"] == ""
    assert load_config(written(project, "optional", None)).data.args["file"] is None

"""Relative paths mean one thing while something runs; the process is left in its folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from optrun.experiments.errors import StorageError
from optrun.experiments.system.places import absolute, current_folder, folder_of, from_here, held_places, shown


def test_paths_stay_where_they_were_meant(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    with held_places():
        os.chdir("elsewhere")
        assert (current_folder(), absolute("runs")) == (tmp_path, tmp_path / "runs")
        assert (shown(absolute("runs") / "a"), from_here(tmp_path / "t.yaml")) == ("runs/a", "t.yaml")
        with held_places():  # the outer one counts
            assert absolute("b") == tmp_path / "b"
    assert Path.cwd() == tmp_path


def test_what_was_given_absolute_is_shown_so(tmp_path):
    assert shown(tmp_path / "given" / "a") == str(tmp_path / "given" / "a")


def test_a_block_may_leave_the_process_where_it_went(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    with held_places(come_back=False):
        os.chdir("elsewhere")
    assert Path.cwd() == tmp_path / "elsewhere" == current_folder()


@pytest.mark.parametrize(
    "name", ["OPTRUN_RUNS_DIR", "OPTRUN_DATA_DIR", "OPTRUN_STATE_DIR", "OPTRUN_COMPILED_DIR", "OPTRUN_CONFIG_PATH"]
)
def test_variables_that_name_folders_are_held_too(tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, "here")
    (tmp_path / "elsewhere").mkdir()
    with held_places():
        os.chdir("elsewhere")
        assert os.environ[name] == str(tmp_path / "here")
        assert folder_of(name) == tmp_path / "here"
    assert os.environ[name] == "here"


def test_a_folder_that_was_deleted_beneath_the_process_is_told(tmp_path):
    (tmp_path / "gone").mkdir()
    with pytest.raises(StorageError, match="changed to a folder that was deleted"), held_places():
        os.chdir("gone")
        os.rmdir(tmp_path / "gone")
        os.getcwd()
    assert Path.cwd() == tmp_path
    with pytest.raises(FileNotFoundError), held_places():
        (tmp_path / "no such file").read_text()


def test_imports_are_held_too(tmp_path, monkeypatch):
    for folder in ("elsewhere", "lib"):
        (tmp_path / folder).mkdir()
    hook = "__editable__.name.finder.__path_hook__"  # no path, though it stands there
    monkeypatch.setattr(sys, "path", ["", "lib", hook, *sys.path])
    with held_places():
        os.chdir("elsewhere")
        assert sys.path[:3] == [str(tmp_path), str(tmp_path / "lib"), hook]
    assert sys.path[:3] == ["", "lib", hook]


def test_a_folder_that_is_a_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("OPTRUN_RUNS_DIR", "file")
    with pytest.raises(StorageError, match="OPTRUN_RUNS_DIR=file: expected a folder, and this is a file"):
        folder_of("OPTRUN_RUNS_DIR")


def test_a_deleted_folder_is_named(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(StorageError, match="the current folder was deleted"), held_places():
        pass

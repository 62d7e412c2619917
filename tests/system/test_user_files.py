"""Which files are the user's own."""

import json
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import optrun.cli
import optrun.configs
from optrun.experiments.system import user_files
from optrun.experiments.system.user_files import is_installed, is_standard_library, is_users


@pytest.mark.parametrize(
    ("path", "users", "installed", "standard"),
    [
        (json.__file__, False, False, True),
        ("<frozen importlib._bootstrap>", False, False, True),
        (np.__file__, False, True, False),
        ("/opt/venv/lib/python3.12/site-packages/theirs/loss.py", False, True, False),
        ("/usr/lib/python3/dist-packages/theirs.py", False, True, False),
        (user_files.__file__, False, False, False),
        (optrun.cli.__file__, False, False, False),
        (optrun.configs.__file__, False, False, False),
        (__file__, True, False, False),
        ("/home/me/experiments/loss.py", True, False, False),  # a folder called as one of ours
        ("<string>", True, False, False),  # python -c
    ],
)
def test_whose_a_file_is(path, users, installed, standard):
    found = [test(Path(path)) for test in (is_users, is_installed, is_standard_library)]
    assert found == [users, installed, standard]


def test_pythons_own_files_are_known_by_both_names_where_a_link_leads_to_them(tmp_path, monkeypatch):
    (tmp_path / "python3").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "python3")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "link"))
    user_files._standard_folders.cache_clear()
    try:
        assert is_standard_library(tmp_path / "link/json.py")
        assert is_standard_library(tmp_path / "python3/json.py")
    finally:
        user_files._standard_folders.cache_clear()

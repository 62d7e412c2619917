"""Compiled code of one session lies in one folder, so that a graph is compiled once."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("compiled")
        os.chmod(folder, 0o700)
        patch.setenv("OPTRUN_COMPILED_DIR", str(folder))
        yield

"""What all tests share: one thread, a folder of their own, no settings from outside."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _own_place(tmp_path, monkeypatch):
    """Run each test in an empty folder, untouched by the caller's variables."""
    monkeypatch.chdir(tmp_path)
    for name in ("RUNS_DIR", "CONFIG_PATH", "DEVICE", "THREADS", "PLUGINS", "STYLE", "DEBUG", "DATA_DIR", "OFFLINE"):
        monkeypatch.delenv(f"OPTRUN_{name}", raising=False)
    for name in ("RANK", "WORLD_SIZE", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Use one thread: for models as small as those of the tests, two are slower."""
    import torch

    torch.set_num_threads(1)

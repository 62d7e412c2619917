"""What all tests share: all cores, one thread each, a folder of their own, no settings from outside."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

_MAX_WORKERS = 8  # each takes half a gigabyte

# What is compiled once need not be compiled again by each of a hundred interpreters, and by each worker.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """Use all cores; for one file, tests that are named, or with `-s`, start no workers."""
    is_one = any("::" in arg for arg in config.args) or [Path(arg).suffix for arg in config.args] == [".py"]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if is_one or config.option.capture == "no" else min(cores, _MAX_WORKERS)


@pytest.fixture(autouse=True)
def _own_place(tmp_path, monkeypatch):
    """Run each test in an empty folder, untouched by the caller's variables."""
    monkeypatch.chdir(tmp_path)
    for name in ("RUNS_DIR", "CONFIG_PATH", "DEVICE", "THREADS", "PLUGINS", "STYLE", "DEBUG", "DATA_DIR", "OFFLINE"):
        monkeypatch.delenv(f"OPTRUN_{name}", raising=False)
    for name in ("RANK", "WORLD_SIZE", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True, scope="session")
def _own_state(tmp_path_factory):
    """Remember which code was trained with in a folder of this session, in processes that tests start as well."""
    os.environ.pop("OPTRUN_STATE_DIR", None)
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Use one thread: for models as small as those of the tests, two are slower."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _no_wait_for_the_disk():
    """Leave out fsync, twenty calls a run: only a power cut would show it.

    tests/robustness cuts power, on recorded calls, in processes that know nothing of this.
    """
    from optrun.experiments.system.storage import System

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(System, "fsync", staticmethod(lambda descriptor: None))
        yield


@pytest.fixture(autouse=True, scope="session")
def _sigint_is_heard():
    """Hear SIGINT: a job that a script starts with `&` is to ignore it, and so would all that the tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _workers_are_forked():
    """Fork the workers of comparisons: new interpreters take seconds, and what they are like the command line tests."""
    import torch

    from optrun.experiments.comparison.workers import Workers

    # No GPU outlives a fork, and Python 3.12 and later warn of forks beside threads.
    if not torch.cuda.is_available() and sys.version_info < (3, 12):
        Workers.start_method = "fork"


@pytest.fixture(scope="session")
def server():
    """Fork from this; it is there once for all tests of a worker."""
    from .robustness.processes import ForkServer

    started = ForkServer()
    yield started
    started.close()

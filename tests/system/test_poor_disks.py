"""File systems that cannot flush, lock, or rename: what is lost is said, and work goes on with the user's word."""

from __future__ import annotations

import errno
import fcntl
import json
import os

import pytest

from optrun.experiments.run_directory.run_dir import RunDir
from optrun.experiments.system import locks, storage

from ..cli.conftest import folder, optrun  # noqa: F401  (fixtures)

NO_FLUSH = [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EIO]
NO_LOCKS = [errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL]
TRAIN = ("train", "tiny.yaml", "train={epochs: null, steps: 4}", "--name", "a")


@pytest.fixture(autouse=True)
def _not_warned_yet(monkeypatch):
    monkeypatch.setattr(storage, "_warned", False)
    monkeypatch.setattr(locks, "_warned", set())


def failing(code: int, only=None):
    def fail(descriptor, *args):
        if only is None or os.path.isdir(f"/proc/self/fd/{descriptor}") == (only == "folders"):
            raise OSError(code, os.strerror(code))

    return staticmethod(fail)


@pytest.mark.parametrize("code", NO_FLUSH, ids=errno.errorcode.get)
@pytest.mark.parametrize("only", ["folders", "files"])
def test_what_cannot_be_flushed_needs_the_users_word(optrun, folder, monkeypatch, code, only):  # noqa: F811
    monkeypatch.setattr(storage.System, "fsync", failing(code, only))
    refused = optrun(*TRAIN)
    assert refused.code == 74
    for said in (os.strerror(code), "a power cut could lose it", "optrun --no-fsync", "OPTRUN_NO_FSYNC=1"):
        assert said in refused.err, (said, refused)
    assert ("may be failing" in refused.err) == (code == errno.EIO)
    done = optrun("--no-fsync", *TRAIN)
    assert done.code == 0, done
    assert done.err.count("nothing is flushed to the disk in") == 1
    assert "OPTRUN_NO_FSYNC" not in os.environ
    monkeypatch.setenv("OPTRUN_NO_FSYNC", "1")
    assert optrun("resume", "a", "train.steps=6", "--allow-change").code == 0
    assert optrun("eval", "a").code == 0


def test_where_nothing_is_flushed_the_results_are_the_same(optrun, folder, monkeypatch):  # noqa: F811
    assert optrun(*TRAIN).code == 0
    monkeypatch.setattr(storage.System, "fsync", failing(errno.EINVAL))
    assert optrun("--no-fsync", *TRAIN[:-1], "b").code == 0
    final = [json.loads((folder / "runs" / run / "summary.json").read_text())["final"] for run in "ab"]
    assert final[0] == final[1]


@pytest.mark.parametrize("code", NO_LOCKS, ids=lambda code: f"{errno.errorcode[code]}")
def test_a_file_system_without_locks_needs_the_users_word(optrun, folder, monkeypatch, code):  # noqa: F811
    def fail(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", fail)
    refused = optrun(*TRAIN)
    assert refused.code == 74
    for said in ("no locks, which keep two processes", "optrun --no-lock", "OPTRUN_NO_LOCK=1", "OPTRUN_RUNS_DIR"):
        assert said in refused.err, (said, refused)
    done = optrun("--no-lock", *TRAIN)
    assert done.code == 0, done
    assert done.err.count("nothing keeps a second process from") == 1
    monkeypatch.setenv("OPTRUN_NO_LOCK", "yes")
    assert optrun("resume", "a", "train.steps=6", "--allow-change").code == 0
    for line in ("runs", "show a", "eval a", "rm a -y"):
        assert optrun(*line.split()).code == 0, line


def test_without_locks_a_process_of_this_machine_is_still_seen(optrun, folder, monkeypatch):  # noqa: F811
    monkeypatch.setenv("OPTRUN_NO_LOCK", "1")
    assert optrun(*TRAIN).code == 0
    run = RunDir(folder / "runs/a")
    status = run.read_json("status.json")
    run.write_json("status.json", {**status, "state": "running", "pid": os.getppid()})
    assert run.status()["state"] == "running"
    assert optrun("resume", "a").code == 73
    run.write_json("status.json", {**status, "state": "running", "pid": 2**22 + 1})
    assert run.status()["state"] == "interrupted"
    assert optrun("resume", "a").code == 0


@pytest.mark.parametrize("code", [errno.EEXIST, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_that_cannot_replace_files_is_named(optrun, folder, monkeypatch, code):  # noqa: F811
    def fail(old, new):
        raise OSError(code, os.strerror(code), str(old), None, str(new))

    monkeypatch.setattr(storage.System, "replace", staticmethod(fail))
    refused = optrun(*TRAIN)
    assert (refused.code, "cannot replace a file by renaming" in refused.err) == (74, True), refused
    assert not [name for name in os.listdir(folder / "runs/a") if name.startswith(".tmp")]

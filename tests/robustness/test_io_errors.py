"""A disk that refuses: every call fails once, and for good, and a file system is really full."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import subprocess
import threading

import pytest

from optrun.experiments import Every, SummaryHook
from optrun.experiments.errors import StorageError
from optrun.experiments.run_directory.run_dir import RunDir
from optrun.experiments.training.log_file import _LogFile
from optrun.experiments.training.session.saved_state import load_latest_state

from ..helpers import run_steps, small_train_op
from . import lives
from .sweep import Sweep, config, report

sample, slow = pytest.mark.sample, pytest.mark.slow
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES)


@pytest.fixture(scope="module")
def swept(server, fast_folder):
    """A run of few calls, each of another kind: two checkpoints, an old one deleted, evaluations, rows, a result."""
    return Sweep(server, fast_folder / "errors", config("sgd", steps=3, every=1))


def command(swept, root, **options):
    """Run `optrun train` in a child."""
    arguments = ["train", swept.target.name, "--name", "run", "--quiet"]
    life = {"folder": swept.folder, "arguments": arguments, "root": root, **options}
    return swept.server.run(lives.cli_life, **life)


def what_is_wrong(ended, root, saved=()):
    """Return what is wrong after a life whose disk failed, and which had saved these steps."""
    run, found, reports = RunDir(root / "run"), [], []
    if ended.code not in (0, 74):
        found.append(f"exit {ended.code}")
    if re.search(r'Traceback|Logging error|File "', ended.output):
        found.append("a traceback")
    if ended.code == 74 and "error:" not in ended.output:
        found.append("not a word")
    if ended.code == 0 and run.status().get("state") != "done":
        found.append(f"exit 0 of a run that is {run.status()}")
    state = load_latest_state(run.checkpoints_path, reports.append) if run.checkpoints_path.is_dir() else None
    if saved and (state is None or state.step < max(saved)):
        found.append(f"the checkpoint of step {max(saved)} is gone")
    return [f"{what}: {ended.output}" for what in [*found, *reports]]


@pytest.mark.parametrize("for_good", [False, True])
@pytest.mark.parametrize(
    ("stride", "finish_every"), [pytest.param(139, 2, marks=sample), pytest.param(1, 4, marks=slow)]
)
def test_a_call_that_fails_ends_the_run_with_74_and_costs_nothing(swept, stride, finish_every, for_good):
    names, found = swept.recording["names"], []
    cases = [(at, number) for at in range(1, len(names) + 1) for number in ERRORS][::stride]
    for count, (at, number) in enumerate(cases):
        root = swept.new_root()
        fault = {"at": at, "fault": "error", "errno": number, "for_good": for_good}
        ended = command(swept, root, fault=fault, reports=True)
        problems = what_is_wrong(ended, root, lives.saved_in(root))
        can_delete = not for_good or number == errno.ENOSPC
        if can_delete and (strays := [path.name for path in root.rglob(".tmp-*")]):
            problems.append(f"left lying about: {strays}")
        if count % finish_every == 0:
            problems += swept.finish(root)
        found += [f"{errno.errorcode[number]} at call {at} ({names[at - 1]}): {problem}" for problem in problems]
        shutil.rmtree(root)
    report(f"a call that fails {'for good' if for_good else 'once'}", len(cases), found)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=400", "optrun-test", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `mount`")
    if done.returncode:
        pytest.skip(f"may not mount: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], timeout=30, check=True)


@pytest.mark.parametrize("num_sizes", [pytest.param(4, marks=sample), pytest.param(40, marks=slow)])
def test_a_disk_that_is_really_full_costs_nothing(swept, small_disk, num_sizes):
    text = config("adam", steps=8).replace("1 step}", "1 step, to: [jsonl, tensorboard, csv]}")
    swept = Sweep(swept.server, swept.folder / f"full-{num_sizes}", text)
    used = size_of(swept.new_root, swept)
    found, ends = [], []
    for number in range(num_sizes):
        room = 4096 + used * number // num_sizes // 4096 * 4096
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - room))
        root = small_disk / "runs"
        root.mkdir()
        ended = command(swept, root)
        ends.append(ended.code)
        problems = what_is_wrong(ended, root)
        ballast.unlink()
        if strays := [path.name for path in root.rglob(".tmp-*")]:
            problems.append(f"left lying about: {strays}")
        problems += swept.finish(root)
        found += [f"{room} bytes free: {problem}" for problem in problems]
        shutil.rmtree(root)
    assert ends[0] == 74
    assert 74 in ends[len(ends) // 2 :]  # full in the middle of the run as well
    report("a full disk", len(ends), found)


def size_of(new_root, swept):
    """Return how many bytes, in whole pages, a run takes."""
    root = new_root()
    assert swept.live(root).code == 0
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in root.rglob("*") if path.is_file())


def test_event_files_that_the_disk_refuses_end_the_run_without_a_traceback(tmp_path, monkeypatch):
    """TensorBoard writes them in a thread of its own, whose traceback would come from nowhere."""
    from tensorboard.compat.tensorflow_stub.io import gfile

    def refuse(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = threading.excepthook
    monkeypatch.setattr(gfile.LocalFileSystem, "_write", refuse)
    hook = SummaryHook(log_dir=str(tmp_path), every=Every(steps=1))
    with pytest.raises(StorageError, match=rf"cannot write {tmp_path}: No space left on device.*free some space"):
        run_steps(small_train_op(), 3, hook)
    assert threading.excepthook is before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_log_that_the_disk_refuses_hides_no_other_error(capfd):
    handler = _LogFile("/dev/full")
    handler.emit(logging.makeLogRecord({"msg": "lost"}))
    assert capfd.readouterr().err == ""
    handler.emit(logging.makeLogRecord({"msg": "%d", "args": ("no number",)}))
    assert "TypeError" in capfd.readouterr().err  # a mistake of ours is still told
    handler.close()

import errno
import os
import subprocess
import sys

import pytest

from optrun.experiments.errors import StorageError
from optrun.experiments.system import storage
from optrun.experiments.system.append_file import AppendFile
from optrun.experiments.system.json_text import encode_json

CALLS = ("open", "write", "fsync", "close", "replace", "unlink", "truncate", "mkdir")


class Recorder:
    """Passes each call on, notes its name, and lets call number `fail_at` fail."""

    def __init__(self, monkeypatch, fail_at=None, number=errno.ENOSPC, torn=False):
        self.names = []
        for name in CALLS:
            monkeypatch.setattr(
                storage.system, name, self._wrap(name, getattr(storage.system, name), fail_at, number, torn)
            )

    def _wrap(self, name, call, fail_at, number, torn):
        def wrapped(*args):
            self.names.append(name)
            if len(self.names) == fail_at:
                if torn and name == "write":
                    call(args[0], bytes(args[1])[: len(args[1]) // 2])
                raise OSError(number, os.strerror(number))
            return call(*args)

        return wrapped


def run_child(code, *args):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, timeout=60, check=False
    )


def test_write_atomic_makes_exactly_the_calls_that_durability_needs_in_this_order(tmp_path, monkeypatch):
    calls = Recorder(monkeypatch)
    storage.write_atomic(tmp_path / "a", b"new")
    assert calls.names == ["open", "write", "fsync", "close", "replace", "open", "fsync", "close"]
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
def test_a_failure_of_any_call_leaves_the_old_file_or_the_new_one_and_nothing_beside_it(tmp_path, number, torn):
    for fail_at in range(1, 10):
        path = tmp_path / str(fail_at) / "file"
        path.parent.mkdir()
        path.write_bytes(b"old")
        with pytest.MonkeyPatch.context() as monkeypatch:
            calls = Recorder(monkeypatch, fail_at, number, torn)
            if fail_at == 9:  # all eight calls have failed once
                storage.write_atomic(path, b"the new content")
            else:
                with pytest.raises(StorageError, match=os.strerror(number)) as caught:
                    storage.write_atomic(path, b"the new content")
                assert str(path.parent) in str(caught.value)
        is_new = "replace" in calls.names[: fail_at - 1]
        assert path.read_bytes() == (b"the new content" if is_new else b"old")
        assert os.listdir(path.parent) == ["file"]


def test_pieces_are_written_one_after_the_other(tmp_path):
    storage.write_atomic(tmp_path / "a", iter([b"ab", memoryview(b""), bytearray(b"c"), memoryview(b"def")]))
    assert (tmp_path / "a").read_bytes() == b"abcdef"


def test_large_data_is_written_in_several_calls(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_MAX_WRITE", 3)
    storage.write_atomic(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_an_interrupt_while_writing_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(storage.system, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.write_atomic(tmp_path / "a", b"x")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_told_with_need_free_and_a_way_out(tmp_path, monkeypatch):
    Recorder(monkeypatch, fail_at=2)
    with pytest.raises(
        StorageError, match=r"needs 5 bytes, \d+ bytes free.*free some space.*OPTRUN_RUNS_DIR"
    ) as caught:
        storage.write_atomic(tmp_path / "a", b"12345")
    assert caught.value.exit_code == 74
    assert isinstance(caught.value.__cause__, OSError)


LIMITED = """
import resource, sys
from optrun.experiments.system import storage
from optrun.experiments.system.append_file import AppendFile
from optrun.experiments.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
path = sys.argv[1]
try:
    storage.write_atomic(path + "/a", b"x" * 5000)
except StorageError as error:
    print(error)
log = AppendFile(path + "/log")
log.append(b"y" * 900 + b"\\n")
try:
    log.append(b"z" * 900 + b"\\n")
except StorageError as error:
    print(error)
print(log.size)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limits on file sizes")
def test_a_real_limit_on_file_size_leaves_whole_rows_and_no_stray_file(tmp_path):
    child = run_child(LIMITED, tmp_path)
    first, second, size = child.stdout.splitlines()
    assert child.stderr == ""
    assert "ulimit -f" in first
    assert "ulimit -f" in second
    assert size == "901"
    assert os.listdir(tmp_path) == ["log"]
    assert (tmp_path / "log").read_bytes() == b"y" * 900 + b"\n"


def test_a_vanished_folder_is_not_made_again(tmp_path):
    with pytest.raises(storage.MissingFileError, match="is gone; is a disk no longer mounted"):
        storage.write_atomic(tmp_path / "gone" / "a", b"x")
    assert os.listdir(tmp_path) == []


def test_derived_files_are_whole_but_not_fsynced(tmp_path, monkeypatch):
    calls = Recorder(monkeypatch)
    storage.write_derived(tmp_path / "report.html", "ä\n")
    assert (tmp_path / "report.html").read_bytes() == b"\xc3\xa4\n"
    assert "fsync" not in calls.names


def test_each_row_is_one_write(tmp_path, monkeypatch):
    file = AppendFile(tmp_path / "log")
    calls = Recorder(monkeypatch)
    file.append(b"one\n")
    file.append(b"two\n")
    assert calls.names == ["write", "write"]
    assert file.read() == b"one\ntwo\n"
    assert file.size == 8


def test_a_short_write_is_completed(tmp_path, monkeypatch):
    file = AppendFile(tmp_path / "log")
    write = storage.system.write
    monkeypatch.setattr(storage.system, "write", lambda descriptor, data: write(descriptor, bytes(data)[:2]))
    file.append(b"12345\n")
    assert file.read() == b"12345\n"


def test_a_row_that_fails_half_way_is_taken_back(tmp_path):
    file = AppendFile(tmp_path / "log")
    file.append(b"kept\n")
    with pytest.MonkeyPatch.context() as monkeypatch:
        Recorder(monkeypatch, fail_at=1, torn=True)
        with pytest.raises(StorageError):
            file.append(b"lost lost lost\n")
    file.append(b"next\n")
    assert file.read() == b"kept\nnext\n"


def test_append_file_goes_on_where_it_was_and_truncates(tmp_path):
    first = AppendFile(tmp_path / "log")
    first.append(b"one\n")
    first.close()
    first.close()
    again = AppendFile(tmp_path / "log")
    assert again.size == 4
    again.append(b"two\n")
    again.truncate(4)
    again.append(b"six\n")
    again.sync()
    assert again.read() == b"one\nsix\n"
    with pytest.raises(ValueError, match="cannot truncate"):
        again.truncate(9)
    again.close()
    with pytest.raises(StorageError):
        again.append(b"late\n")


def test_missing_files_have_their_own_error(tmp_path):
    for call in (storage.read_bytes, storage.remove, lambda path: storage.rename(path, tmp_path / "b")):
        with pytest.raises(storage.MissingFileError, match="no-such"):
            call(tmp_path / "no-such")


def test_rename_replaces_and_remove_deletes(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    storage.rename(tmp_path / "a", tmp_path / "b")
    assert storage.read_bytes(tmp_path / "b") == b"a"
    storage.remove(tmp_path / "b")
    assert os.listdir(tmp_path) == []


def test_make_dir_says_who_made_it(tmp_path):
    assert storage.make_dir(tmp_path / "a" / "b" / "c") is True
    assert storage.make_dir(tmp_path / "a" / "b" / "c", exist_ok=True) is False
    with pytest.raises(StorageError, match="exists"):
        storage.make_dir(tmp_path / "a")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="exists"):
        storage.make_dir(tmp_path / "file", exist_ok=True)


def test_sweep_deletes_what_dead_processes_left_and_nothing_else(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    alive = os.getppid()
    for name in (f".tmp-{child.pid}-a", f".tmp-{os.getpid()}-b", f".tmp-{alive}-c", ".tmp-x-d", "tmp-1-e", "file"):
        (tmp_path / name).touch()
    assert storage.sweep_temporaries(tmp_path) == sorted([f".tmp-{child.pid}-a", f".tmp-{os.getpid()}-b"])
    assert sorted(os.listdir(tmp_path)) == sorted([f".tmp-{alive}-c", ".tmp-x-d", "tmp-1-e", "file"])


@pytest.mark.skipif(os.name == "nt", reason="os.kill ends processes on Windows")
def test_a_process_killed_between_write_and_rename_leaves_a_temporary_that_is_swept(tmp_path):
    code = (
        "import os, signal, sys\nfrom optrun.experiments.system import storage\n"
        "storage.system.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)\n"
        "storage.write_atomic(sys.argv[1] + '/a', b'new')"
    )
    (tmp_path / "a").write_bytes(b"old")
    assert run_child(code, tmp_path).returncode == -9
    assert len(os.listdir(tmp_path)) == 2
    assert len(storage.sweep_temporaries(tmp_path)) == 1
    assert (tmp_path / "a").read_bytes() == b"old"


def test_json_is_strict_and_exact():
    assert encode_json({"a": 0.1, "b": [float("nan"), float("-inf")], "c": "é"}) == (
        '{"a":0.1,"b":[null,null],"c":"é"}\n'.encode()
    )
    assert encode_json({"a": {"b": 1}}, indent=2) == b'{\n  "a": {\n    "b": 1\n  }\n}\n'


def test_json_takes_numbers_from_numpy_and_names_what_it_cannot_hold():
    np = pytest.importorskip("numpy")
    assert encode_json([np.float32(0.5), np.int64(3), np.float64("nan"), np.array(2)]) == b"[0.5,3,null,2]\n"
    with pytest.raises(TypeError, match=r"'a\.b\[1\]' is a set"):
        encode_json({"a": {"b": [1, {2}]}})

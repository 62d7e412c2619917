import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from optrun.experiments.errors import DataError, RunInUseError, StorageError, UsageError
from optrun.experiments.run_directory.checkpoint_files import checkpoint_name, list_checkpoints, parse_checkpoint_name
from optrun.experiments.run_directory.run_dir import RunDir, default_root
from optrun.experiments.system import storage
from optrun.experiments.system.places import shown


def test_numbers_go_up_and_gaps_stay(tmp_path):
    names = [RunDir.create(tmp_path / "runs", "mom").name for _ in range(3)]
    assert names == ["mom-0001", "mom-0002", "mom-0003"]
    (tmp_path / "runs" / "mom-0001").rmdir()
    (tmp_path / "runs" / "mom-0041").mkdir()
    (tmp_path / "runs" / "mom-lr-0099").mkdir()
    (tmp_path / "runs" / "mom-12").mkdir()
    assert RunDir.create(tmp_path / "runs", "mom").name == "mom-0042"
    (tmp_path / "runs" / "mom-9999").mkdir()
    assert RunDir.create(tmp_path / "runs", "mom").name == "mom-10000"
    assert RunDir.create(tmp_path / "runs", "mom").name == "mom-10001"


def test_processes_that_start_at_once_get_different_folders(tmp_path):
    code = (
        "import sys\nfrom optrun.experiments.run_directory.run_dir import RunDir\nsys.stdin.readline()\n"
        "print(*[RunDir.create(sys.argv[1], 'mom').name for _ in range(25)])"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    names = [name for process in processes for name in process.communicate(timeout=60)[0].split()]
    assert sorted(names) == [f"mom-{number:04d}" for number in range(1, 101)]


BAD_NAMES = [
    "", ".", "..", "a/b", "../x", "/etc", "a\\b", "-a", ".a", "_a", "a b", "a\n", "a\0", "ä", "a" * 65, "run:a", "@1",
    "~", "a*", "\u202ea", "a/../../b", "C:", "a.", "１",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_names_that_could_lead_elsewhere_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match="cannot name a run"):
        RunDir.named(tmp_path, name)
    with pytest.raises(UsageError, match="cannot name a run"):
        RunDir.create(tmp_path / "runs", name)
    assert os.listdir(tmp_path) == []


def test_a_stem_leaves_room_for_the_number(tmp_path):
    assert RunDir.create(tmp_path, "a" * 59).name == "a" * 59 + "-0001"
    with pytest.raises(UsageError, match="cannot name a run"):
        RunDir.create(tmp_path, "a" * 60)


def test_a_named_run_touches_nothing_until_it_is_locked(tmp_path):
    run = RunDir.named(tmp_path / "runs", "exp.1_a-B")
    assert not run.exists()
    assert run.status() == {}
    assert os.listdir(tmp_path) == []
    with run.lock():
        assert run.path == tmp_path / "runs" / "exp.1_a-B"
        assert run.path.is_dir()


def test_a_link_that_leads_out_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "x").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="leads out of"):
        RunDir.named(tmp_path / "runs", "x")


def test_a_second_process_cannot_lock_and_is_told_who_does(holder):
    run, process = holder
    status = json.loads((run.path / "status.json").read_text())
    before = {path: path.read_bytes() for path in run.path.iterdir()}
    with pytest.raises(RunInUseError) as caught, run.lock():
        pass
    assert caught.value.exit_code == 73
    for fact in (str(process.pid), status["host"], status["started"]):
        assert fact in str(caught.value)
    assert {path: path.read_bytes() for path in run.path.iterdir()} == before
    assert run.status() == status
    assert status["state"] == "running"


def test_the_lock_holds_within_one_process_too(tmp_path):
    run = RunDir(tmp_path / "a")
    with run.lock():
        run.set_status("running")
        with pytest.raises(RunInUseError, match=f"process {os.getpid()}"):
            RunDir(tmp_path / "a").acquire()
        assert RunDir(tmp_path / "a").status()["state"] == "running"
    with RunDir(tmp_path / "a").lock():
        pass


def test_a_holder_that_ends_leaves_its_own_word(holder):
    run, process = holder
    process.communicate("\n")
    assert run.status()["state"] == "done"
    assert run.status()["step"] == 9
    with run.lock():
        pass


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL on Windows")
def test_a_killed_holder_frees_the_folder_and_lists_as_interrupted(holder):
    run, process = holder
    assert run.status()["state"] == "running"
    process.send_signal(signal.SIGKILL)
    process.wait()
    status = run.status()
    assert status["state"] == "interrupted"
    assert status["step"] == 7
    assert status["pid"] == process.pid
    with run.lock():
        run.set_status("running", step=8)
        assert run.status()["state"] == "running"
        assert run.status()["pid"] == os.getpid()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_worker_does_not_keep_the_lock_of_its_killed_parent(tmp_path):
    code = (
        "import os, sys, time\nfrom optrun.experiments.run_directory.run_dir import RunDir\n"
        "run = RunDir(sys.argv[1])\nrun.acquire()\nrun.set_status('running')\n"
        "if os.fork() == 0:\n    print('held', flush=True)\n    sys.stdin.read()\n    os._exit(0)\n"
        "time.sleep(30)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "a")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    process.kill()
    process.wait()
    try:
        assert RunDir(tmp_path / "a").status()["state"] == "interrupted"
    finally:
        process.stdin.close()  # ends the worker
        process.stdout.close()


def test_of_many_processes_exactly_one_wins(tmp_path):
    code = (
        "import sys\nfrom optrun.experiments.run_directory.run_dir import RunDir, RunInUseError\n"
        "import filelock\nprint('ready', flush=True)\nsys.stdin.readline()\nrun = RunDir(sys.argv[1])\n"
        "try:\n    run.acquire()\nexcept RunInUseError as error:\n    print('lost', flush=True)\n"
        "else:\n    print('won', flush=True)\nsys.stdin.readline()"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "a")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.stdout.readline() for process in processes]
    for process in processes:
        process.communicate("\n")
    assert sorted(said) == ["lost\n"] * 5 + ["won\n"]


def test_a_process_that_only_looks_never_makes_the_owner_fail(tmp_path):
    code = (
        "import sys\nfrom optrun.experiments.run_directory.run_dir import RunDir\n"
        "run = RunDir(sys.argv[1])\nprint('ready', flush=True)\n"
        "for _ in range(2000): run.status()"
    )
    run = RunDir(tmp_path / "a")
    with run.lock():
        run.set_status("running")
    watcher = subprocess.Popen([sys.executable, "-c", code, str(run.path)], stdout=subprocess.PIPE, text=True)
    watcher.stdout.readline()
    for _ in range(50):
        with run.lock():
            pass
    watcher.kill()
    watcher.communicate()


def test_a_folder_that_is_held_for_an_instant_is_waited_for(tmp_path):
    first, second = RunDir(tmp_path / "a"), RunDir(tmp_path / "a")
    first.acquire()
    timer = threading.Timer(0.1, first.release)
    timer.start()
    second.acquire()
    timer.join()
    second.release()


def test_a_run_that_ends_between_two_looks_is_not_called_interrupted(tmp_path, monkeypatch):
    run = RunDir.create(tmp_path, "a")
    run.set_status("running")
    monkeypatch.setattr(RunDir, "_is_held", lambda self, status: (self.set_status("done"), False)[1])
    assert run.status()["state"] == "done"


def test_locking_sweeps_what_killed_processes_left(tmp_path):
    run = RunDir(tmp_path / "a")
    run.checkpoints_path.mkdir(parents=True)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for folder in (run.path, run.checkpoints_path):
        (folder / f".tmp-{dead.pid}-x").touch()
    with run.lock():
        assert sorted(os.listdir(run.path)) == [".lock", "checkpoints"]
        assert os.listdir(run.checkpoints_path) == []


def test_status_is_replaced_as_a_whole(tmp_path):
    run = RunDir.create(tmp_path, "a")
    run.set_status("running", step=3, message="x")
    run.set_status("diverged", step=4, loss=float("nan"))
    status = run.status()
    assert {key: status[key] for key in ("state", "step", "loss", "pid")} == {
        "state": "diverged", "step": 4, "loss": None, "pid": os.getpid(),
    }  # fmt: skip
    assert "message" not in status
    assert sorted(os.listdir(run.path)) == ["status.json"]


def test_running_without_a_lock_file_is_interrupted(tmp_path):
    run = RunDir.create(tmp_path, "a")
    run.set_status("running")
    assert run.status()["state"] == "interrupted"
    assert sorted(os.listdir(run.path)) == ["status.json"]  # a look leaves nothing


def test_json_and_config_are_written_and_read(tmp_path):
    run = RunDir.create(tmp_path, "a")
    assert run.read_json("summary.json") is None
    run.write_json("summary.json", {"best": {"value": 0.1}})
    assert run.read_json("summary.json") == {"best": {"value": 0.1}}
    run.write_config("name: größe\n")
    assert run.config_path.read_bytes() == "name: größe\n".encode()


@pytest.mark.parametrize("content", [b"", b"{", b"\0" * 50, b"[]", b"\xff", b"[" * 100_000])
def test_a_damaged_file_is_named(tmp_path, content):
    run = RunDir.create(tmp_path, "a")
    (run.path / "status.json").write_bytes(content)
    with pytest.raises(DataError, match=r"status\.json is damaged"):
        run.status()


def test_a_vanished_run_directory_is_not_made_again(tmp_path):
    run = RunDir.create(tmp_path, "a")
    run.path.rmdir()
    with pytest.raises(StorageError, match="is gone"):
        run.set_status("running")
    assert not run.path.exists()


def test_the_root_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("OPTRUN_RUNS_DIR", raising=False)
    assert default_root() == Path.cwd() / "runs"
    assert shown(default_root()) == "runs"  # as it was given, wherever the process goes meanwhile
    monkeypatch.setenv("OPTRUN_RUNS_DIR", "/data/runs")
    assert str(default_root()) == "/data/runs"


@pytest.mark.parametrize("step", [0, 300, 99_999_999, 10**12])
def test_checkpoint_names_read_back(step):
    assert parse_checkpoint_name(checkpoint_name(step, "0af" * 21 + "b")) == (step, "0af" * 21 + "b")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "step-1.safetensors",
        f"step-00000001-{'g' * 64}.safetensors",
        f"step-00000001-{'a' * 63}.safetensors",
        f"step-00000001-{'a' * 64}.safetensors.bad",
        f".tmp-1-step-00000001-{'a' * 64}.safetensors",
        f"step-0000000١-{'a' * 64}.safetensors",
    ],
    ids=ascii,
)
def test_other_names_are_no_checkpoints(name):
    assert parse_checkpoint_name(name) is None


def test_checkpoints_are_listed_by_step_not_by_name(tmp_path):
    for step in (100_000_000, 99_999_999, 5):
        (tmp_path / checkpoint_name(step, "a" * 64)).touch()
    (tmp_path / "other").touch()
    assert [file.step for file in list_checkpoints(tmp_path)] == [5, 99_999_999, 100_000_000]


def test_no_heavy_library_is_imported():
    code = (
        "import sys\nimport optrun.experiments.run_directory.lookup, optrun.experiments.run_directory.run\n"
        "print([name for name in ('torch', 'numpy', 'filelock', 'yaml', 'pydantic', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_run_of_someone_else_can_be_looked_at(tmp_path):
    run = RunDir.create(tmp_path, "a")
    with run.lock():
        run.set_status("running")
        (run.path / ".lock").chmod(0o444)
        run.path.chmod(0o555)
        try:
            assert run.status()["state"] == "running"
        finally:
            run.path.chmod(0o755)


def test_where_the_lock_cannot_be_tried_the_process_number_decides(tmp_path, monkeypatch):
    run = RunDir.create(tmp_path, "a")
    with run.lock():
        run.set_status("running")

    def refuse(path, patience_secs):
        with storage.explain("lock", path):
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("optrun.experiments.run_directory.run_dir._try_lock", refuse)
    assert run.status()["state"] == "running"  # this process is alive
    run.set_status("running", pid=2**30)
    assert run.status()["state"] == "interrupted"
    run.set_status("running", pid=2**30, host="another-machine")
    assert run.status()["state"] == "running"

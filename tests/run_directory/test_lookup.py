import time

import pytest

from optrun.experiments.errors import NothingMatchedError, UsageError
from optrun.experiments.run_directory.group_dir import trash
from optrun.experiments.run_directory.lookup import find_run, find_runs
from optrun.experiments.run_directory.run_dir import RunDir

STARTED = {
    "mom-0001": "2026-03-01T00:00:00",
    "mom-0002": "2026-01-01T00:00:00",
    "mom-0010": "2026-02-01T00:00:00",
    "adam": "2025-12-01T00:00:00",
    "lr-0001/mom-0001": "2026-04-01T00:00:00",
    "lr-0001/sgd-0001": "2025-01-01T00:00:00",
}


@pytest.fixture
def root(tmp_path):
    for name, started in STARTED.items():
        path = tmp_path / "runs" / name
        path.mkdir(parents=True)
        RunDir(path).set_status("done", started=started)
    (tmp_path / "runs" / "empty").mkdir()
    (tmp_path / "runs" / "file").touch()
    (tmp_path / "runs" / "a" / "b" / "c").mkdir(parents=True)
    RunDir(tmp_path / "runs" / "a" / "b" / "c").set_status("done")
    RunDir(tmp_path / "runs" / "adam").set_status("done", started=STARTED["adam"])
    return tmp_path / "runs"


def names(runs, root):
    return [run.path.relative_to(root).as_posix() for run in runs]


def test_runs_are_found_one_group_deep_in_natural_order(root):
    assert names(find_runs(root), root) == [
        "adam", "lr-0001/mom-0001", "lr-0001/sgd-0001", "mom-0001", "mom-0002", "mom-0010",
    ]  # fmt: skip


def test_what_is_in_the_trash_is_no_run(root):
    trash(root / "mom-0002")
    assert "mom-0002" not in names(find_runs(root), root)
    assert len(find_runs(root)) == 5


def test_no_root_means_no_runs(tmp_path, monkeypatch):
    assert find_runs(tmp_path / "none") == []
    monkeypatch.setenv("OPTRUN_RUNS_DIR", str(tmp_path / "none"))
    assert find_runs() == []
    with pytest.raises(NothingMatchedError, match="there are no runs in"):
        find_run("mom", tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("adam", "adam"),
        ("mom-0002", "mom-0002"),
        ("run:mom-0002", "mom-0002"),
        ("mom-001", "mom-0010"),
        ("sgd-", "lr-0001/sgd-0001"),
        ("lr-0001/mom-0001", "lr-0001/mom-0001"),
        ("run:lr-0001/mom-0001", "lr-0001/mom-0001"),
        ("lr-0001/mo", "lr-0001/mom-0001"),
        ("mom-0001", "mom-0001"),
        ("@1", "lr-0001/mom-0001"),
        ("@2", "mom-0001"),
        ("run:@6", "lr-0001/sgd-0001"),
    ],
)
def test_what_a_user_types_finds_the_run(root, text, name):
    assert find_run(text, root).path == root / name


def test_a_path_finds_a_run_wherever_it_is(root, tmp_path, monkeypatch):
    elsewhere = tmp_path / "old" / "thing"
    elsewhere.mkdir(parents=True)
    RunDir(elsewhere).set_status("done")
    assert find_run(str(elsewhere), root).path == elsewhere
    assert find_run(f"{elsewhere}/", root).name == "thing"
    monkeypatch.chdir(elsewhere)
    assert find_run(".", root).name == "thing"
    assert find_run("../thing", root).name == "thing"
    monkeypatch.chdir(tmp_path)
    assert find_run("runs/lr-0001/mom-0001", root).path.resolve() == root / "lr-0001" / "mom-0001"
    with pytest.raises(NothingMatchedError):
        find_run("run:./old/thing", root)


def test_several_matches_are_named(root):
    with pytest.raises(UsageError, match="'mom-' means 4 runs: lr-0001/mom-0001, mom-0001, mom-0002, mom-0010"):
        find_run("mom-", root)
    (root / "zz").mkdir()
    (root / "mom-0002").rename(root / "zz" / "sgd-0001")
    with pytest.raises(UsageError, match="means 2 runs: lr-0001/sgd-0001, zz/sgd-0001"):
        find_run("sgd-0001", root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mom", r"the beginning of a name needs 4 characters\)\. Nearest: "),
        ("adan", "Nearest: adam"),
        ("mom-0003", "Nearest: mom-00"),
        ("@7", "there are only 6 runs"),
        ("run:zzzzzzzz", r"`optrun runs` lists the 6 that there are"),
        ("./nowhere", "no run"),
        ("", "no run"),
    ],
)
def test_nothing_found_says_what_is_near(root, text, message):
    with pytest.raises(NothingMatchedError, match=message) as caught:
        find_run(text, root)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("text", ["@", "@0", "@-1", "@x", "@1x"])
def test_a_bad_number_is_a_usage_error(root, text):
    with pytest.raises(UsageError, match="`@1` is the latest"):
        find_run(text, root)


@pytest.mark.slow
def test_thousands_of_runs_are_found_quickly(tmp_path):
    for number in range(3000):
        path = tmp_path / f"g-{number // 100}" / f"mom-{number:04d}"
        path.mkdir(parents=True)
        (path / "status.json").write_text('{"state": "done", "started": "2026"}')
    begin = time.process_time()
    assert len(find_runs(tmp_path)) == 3000
    find_run("@1", tmp_path)
    assert time.process_time() - begin < 2

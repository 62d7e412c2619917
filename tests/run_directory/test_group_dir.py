"""A group's folder: who works in it, and the way into the trash."""

import os

import pytest

from optrun.experiments.errors import NothingMatchedError, RunInUseError, UsageError
from optrun.experiments.run_directory.group_dir import trash, working_in
from optrun.experiments.run_directory.run_dir import RunDir


def test_trash_keeps_everything_and_can_be_repeated(tmp_path):
    places = []
    for number in (1, 2):
        run = RunDir.named(tmp_path, "exp")
        with run.lock():
            run.write_json("summary.json", {"n": number})
        places.append(trash(run.path))
        assert not run.path.exists()
    assert places == [tmp_path / ".trash" / "exp-1", tmp_path / ".trash" / "exp-2"]
    assert [RunDir(place).read_json("summary.json") for place in places] == [{"n": 1}, {"n": 2}]


def test_who_waits_for_a_folder_that_goes_into_the_trash_gets_the_new_one_of_that_name(tmp_path):
    run = RunDir.named(tmp_path, "exp")
    with run.lock():
        run.set_status("done")
    with (run.path / ".lock").open() as old:  # as another process does that begins to wait
        trash(run.path)
        assert os.fstat(old.fileno()).st_nlink == 0  # which a waiting lock takes for "begin anew"
    with run.lock():
        assert not run.exists()


def test_trash_refuses_what_is_in_use_or_not_there(holder, tmp_path):
    run, _ = holder
    with pytest.raises(RunInUseError):
        trash(run.path)
    assert run.status()["state"] == "running"
    with pytest.raises(NothingMatchedError, match="no folder"):
        trash(tmp_path / "none")


def test_trash_refuses_a_link_and_leaves_what_it_means(tmp_path):
    run = RunDir.named(tmp_path, "exp")
    with run.lock():
        run.set_status("done")
    (tmp_path / "link").symlink_to("exp")
    with pytest.raises(UsageError, match=r"link is a link to .*exp: name that"):
        trash(tmp_path / "link")
    assert run.status()["state"] == "done"
    assert (tmp_path / "link").is_symlink()


def test_trash_refuses_a_group_in_which_a_run_is_in_use_or_that_is_held_itself(holder, tmp_path):
    run, process = holder
    group = tmp_path / "group"
    group.mkdir()
    run.path.rename(group / "mom-0001")
    with pytest.raises(RunInUseError, match="mom-0001"):
        trash(group)
    process.kill()
    process.wait()
    with working_in(group), pytest.raises(RunInUseError, match=f"group is in use by process {os.getpid()} on "):
        trash(group)
    with working_in(group):
        with working_in(group):
            pass
        with pytest.raises(RunInUseError):  # whoever began later has ended, and the first has not
            trash(group)
    (group / ".worker-1-0@here").touch()  # of one that was killed
    assert (trash(group) / "mom-0001/status.json").exists()

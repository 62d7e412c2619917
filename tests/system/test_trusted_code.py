"""The list of the user's own code: sets of files, by content, that were trained with on this machine."""

from __future__ import annotations

import hashlib
import logging

import pytest

from optrun.experiments.system import storage, trusted_code
from optrun.experiments.system.trusted_code import is_trusted, set_sha256, trust


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


A, B, C, D = map(digest, "abcd")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OPTRUN_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def test_files_are_trusted_together_or_not_at_all(folder):
    assert not is_trusted([A])
    trust([A, B])
    trust([C])
    assert all(map(is_trusted, ([A], [B], [A, B], [C], [A, A])))
    assert not any(map(is_trusted, ([A, C], [A, B, C], [D], [A, D], [""], ["../../etc/passwd"])))


def test_no_path_is_kept_and_a_set_is_written_once(folder):
    for _ in range(3):
        trust([B, A, B])
        trust([])
        trust(["no hash", "/a/path.py"])
    lines = (folder / "trusted-code.txt").read_text().splitlines()
    assert lines == [" ".join([set_sha256([A, B]), *sorted([A, B])])]
    assert lines[0].split()[0] == digest("\n".join(sorted([A, B])))


def test_damaged_lines_are_no_sets(folder):
    trust([A, B])
    file = folder / "trusted-code.txt"
    whole = file.read_bytes()
    for damaged in (whole[:-1] + f" {C}\n".encode(), whole[66:], whole[:190], b"\xff" + whole, whole.upper(), b"\0"):
        file.write_bytes(damaged)
        assert not is_trusted([A, B])
        assert not is_trusted([C])
    file.write_bytes(b"\xff\xfe nonsense\n" + whole)
    assert is_trusted([A, B])


def test_the_list_of_single_hashes_is_read_as_one_set_more(folder):
    (folder / "trusted-code").mkdir(parents=True)
    for name in (A, B, "note.txt"):
        (folder / "trusted-code" / name).touch()
    trust([C])
    assert is_trusted([A, B])
    assert is_trusted([C])
    assert not is_trusted([A, C])


def test_where_nothing_can_be_written_the_user_hears_what_follows(folder, monkeypatch, caplog):
    def fail(*args):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(storage.System, "mkdir", staticmethod(fail))
    with caplog.at_level(logging.WARNING, "optrun"):
        trust([A])
    assert "so other commands will ask for --allow-code" in caplog.text
    assert trusted_code.state_dir() == folder

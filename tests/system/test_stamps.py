"""Stamps: what counts as the same file, by its times and by its content."""

from __future__ import annotations

import hashlib
import os
import time

import pytest

from optrun.experiments.system import stamps
from optrun.experiments.system.stamps import Stamp, Times, look, names_sha256, stamp_of, times_of

LONG_AGO = 1_000_000_000 * 10**9


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("one\n")
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return path


def later() -> int:
    """Return a moment at which what is written now is settled."""
    return time.time_ns() + 10 * 10**9


def test_a_stamp_has_the_size_and_the_hash(file):
    stamp = stamp_of(file)
    assert stamp is not None
    assert (stamp.times.size, stamp.times.changed_ns) == (4, LONG_AGO)
    assert stamp.sha256 == hashlib.sha256(b"one\n").hexdigest()
    assert Stamp.of_list(stamp.as_list()) == stamp


def test_what_is_no_plain_file_has_none(tmp_path):
    assert stamp_of(tmp_path) is None
    assert stamp_of(tmp_path / "missing") is None
    assert times_of(tmp_path / "missing" / "below") is None


def test_a_settled_file_is_not_read(file, monkeypatch):
    stamp = stamp_of(file)
    monkeypatch.setattr(stamps, "file_sha256", lambda path: pytest.fail("it was read"))
    assert look(str(file), stamp, later()) == ("same", stamp)


def test_a_young_file_is_read(file):
    stamp = stamp_of(file)
    assert look(str(file), stamp, time.time_ns()) == ("touched", stamp)


def test_a_change_within_the_resolution_of_the_clock_is_found(file):
    stamp = stamp_of(file)
    file.write_text("two\n")
    os.utime(file, ns=(LONG_AGO, LONG_AGO))
    forged = Stamp(times_of(file), stamp.sha256)  # as if the clock had not moved on between the two contents
    assert look(str(file), forged, time.time_ns())[0] == "other"


def test_what_is_touched_is_the_same_at_other_times(file):
    stamp = stamp_of(file)
    os.utime(file, ns=(LONG_AGO, LONG_AGO + 1))
    found, now = look(str(file), stamp, later())
    assert found == "touched"
    assert (now.sha256, now.times.changed_ns) == (stamp.sha256, LONG_AGO + 1)


@pytest.mark.parametrize("text", ["two\n", "longer\n", ""])
def test_another_content_is_found_though_its_time_was_put_back(file, text):
    stamp = stamp_of(file)
    file.write_text(text)
    os.utime(file, ns=(LONG_AGO, LONG_AGO))
    assert look(str(file), stamp, later())[0] == "other"


def test_a_file_that_is_gone_is_another(file):
    stamp = stamp_of(file)
    file.unlink()
    assert look(str(file), stamp, later())[0] == "other"


def test_times_are_settled_two_seconds_later():
    times = Times(1, 10 * 10**9, 5 * 10**9)
    assert not times.is_settled(12 * 10**9)
    assert times.is_settled(12 * 10**9 + 1)
    assert not Times(1, 5 * 10**9, 10 * 10**9).is_settled(11 * 10**9)


def test_names_in_a_folder(tmp_path):
    (tmp_path / "runs").mkdir()
    before, importable = names_sha256(tmp_path), names_sha256(tmp_path, importable=True)
    (tmp_path / "notes.md").touch()
    assert names_sha256(tmp_path) != before
    assert names_sha256(tmp_path, importable=True) == importable
    (tmp_path / "__pycache__").mkdir()
    assert names_sha256(tmp_path, importable=True) == importable
    (tmp_path / "helper.py").touch()
    with_module = names_sha256(tmp_path, importable=True)
    (tmp_path / "package").mkdir()
    assert len({importable, with_module, names_sha256(tmp_path, importable=True)}) == 3
    assert names_sha256(tmp_path / "missing") is None

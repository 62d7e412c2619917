"""What is read during a block is known afterwards, whoever has read it."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from optrun.experiments.system.observed import looked_for, observing


def test_files_are_seen_by_whatever_means_they_are_read(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("1")
    np.save(tmp_path / "d.npy", np.zeros(3))
    with observing() as observed:
        (tmp_path / "a").read_text()
        with open(tmp_path / "b") as file:
            json.load(file)
        os.close(os.open(tmp_path / "c", os.O_RDONLY))
        np.load(tmp_path / "d.npy")
    (tmp_path / "a").read_text()
    assert {Path(path).name for path in observed.files} == {"a", "b", "c", "d.npy"}
    times, _ = observed.files[str(tmp_path / "a")]
    assert times.changed_ns == (tmp_path / "a").stat().st_mtime_ns


def test_a_relative_name_is_one_in_the_folder_of_the_process(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("1")
    monkeypatch.chdir(tmp_path)
    with observing() as observed:
        Path("a").read_text()
        looked_for("b")
    assert list(observed.files) == [str(tmp_path / "a")]
    assert observed.names == {str(tmp_path / "b"): ""}


def test_a_file_that_was_young_when_it_was_read_has_its_hash(tmp_path):
    (tmp_path / "young").write_text("1")
    with observing() as observed:
        (tmp_path / "young").read_text()
        (tmp_path / "young").write_text("2")
    # hashlib.sha256(b"1")
    first = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    assert observed.files[str(tmp_path / "young")][1] == first


def test_what_is_not_there_is_noted(tmp_path):
    with observing() as observed:
        assert not (tmp_path / "gone").exists()  # which opens nothing, and says nothing
        looked_for(tmp_path / "absent")
        looked_for(tmp_path)
        with pytest.raises(FileNotFoundError):
            (tmp_path / "missing").read_text()
    assert observed.names == {str(tmp_path / "absent"): "", str(tmp_path): "folder", str(tmp_path / "missing"): ""}


def test_what_the_process_itself_writes_is_none_of_it(tmp_path):
    with observing() as observed:
        (tmp_path / "own").write_text("1")
        (tmp_path / "own").read_text()
        os.close(os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT))
    assert observed.files == {}


def test_folders_that_are_listed(tmp_path):
    (tmp_path / "below").mkdir()
    with observing() as observed:
        list(os.walk(tmp_path))
    assert observed.folders == {str(tmp_path), str(tmp_path / "below")}


def test_the_network_is_a_doubt_and_a_socket_of_this_machine_is_none(tmp_path):
    with observing() as observed, socket.socket(socket.AF_UNIX) as there, socket.socket(socket.AF_UNIX) as here:
        there.bind(str(tmp_path / "socket"))
        there.listen()
        here.connect(str(tmp_path / "socket"))
    assert observed.doubts == set()
    with observing() as observed:
        socket.getaddrinfo("127.0.0.1", 80)
    assert observed.doubts == {"something was read from the network"}


def test_a_pipe_is_a_doubt(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with observing() as observed:
        os.close(os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK))
    assert observed.doubts == {f"{tmp_path / 'pipe'} is no plain file"}


def test_outside_of_a_block_nothing_is_noted(tmp_path):
    with observing() as observed:
        pass
    looked_for(tmp_path / "later")
    assert observed.names == {}

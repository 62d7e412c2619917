"""Downloads from a server on this machine: whole, resumed, cut, wrong, by hand, offline, and two at a time."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from optrun.experiments.errors import DataError, StorageError
from optrun.experiments.system import downloads
from optrun.experiments.system.downloads import data_dir, fetch, path_of, state_of
from optrun.experiments.system.public_files import PUBLIC_SETS, PublicFile

from .server import Server, serving

CONTENT = bytes(range(256)) * 4000  # about 1 MB: several pieces


@pytest.fixture(autouse=True)
def _quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTRUN_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(downloads, "_FIRST_DELAY_SECS", 0.001)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as state:
        yield state


def names(file: PublicFile) -> set[str]:
    return {path.name for path in path_of(file).parent.iterdir() if path.suffix != ".lock"}


def test_a_file_is_downloaded_once_and_reports_its_progress(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    file = server.publish("a.gz", CONTENT)
    seen: list[int] = []
    monkeypatch.setattr(downloads, "reporter", lambda which, received: seen.append(received))
    assert state_of(file) == "missing"
    path = fetch(file)
    assert path == data_dir() / "things" / "a.gz"
    assert path.read_bytes() == CONTENT
    assert seen == sorted(seen)
    assert seen[-1] == len(CONTENT)
    assert len(seen) >= 4
    assert fetch(file) == path
    assert server.asked == [("/a.gz", None)]
    assert names(file) == {"a.gz"}
    assert state_of(file) == "present"


@pytest.mark.parametrize("ranges", [True, False])
def test_cut_connections_are_resumed_where_they_broke_off(ranges: bool) -> None:
    with serving(ranges) as server:
        file = server.publish("a.gz", CONTENT)
        server.cuts = [300_000, 200_000]
        assert fetch(file).read_bytes() == CONTENT
        assert len(server.asked) == 3
        asked_from = [int(wanted.removeprefix("bytes=").rstrip("-")) for _, wanted in server.asked[1:] if wanted]
        assert asked_from == ([300_000, 500_000] if ranges else [300_000, 200_000]), "a server without ranges restarts"


def test_a_killed_download_goes_on_in_the_next_process(server: Server) -> None:
    file = server.publish("a.gz", CONTENT)
    part = path_of(file).with_name("a.gz.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:777])
    assert state_of(file) == "partial"
    assert fetch(file).read_bytes() == CONTENT
    assert server.asked == [("/a.gz", "bytes=777-")]


@pytest.mark.parametrize("left", [b"x" * 777, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 1)])
def test_a_part_of_another_file_is_thrown_away(server: Server, left: bytes) -> None:
    file = server.publish("a.gz", CONTENT)
    part = path_of(file).with_name("a.gz.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(left)
    assert fetch(file).read_bytes() == CONTENT
    assert names(file) == {"a.gz"}


def test_passing_faults_are_tried_again_and_lasting_ones_are_not(server: Server) -> None:
    file = server.publish("a.gz", CONTENT)
    server.answers = [503, 429, 500]
    assert fetch(file).read_bytes() == CONTENT
    assert len(server.asked) == 4
    gone = server.publish("b.gz", CONTENT)
    del server.files["/b.gz"]
    with pytest.raises(DataError, match="answers 404"):
        fetch(gone)
    assert len(server.asked) == 5


def test_it_gives_up_after_five_failures_in_a_row_and_says_how_to_help(server: Server) -> None:
    file = server.publish("a.gz", CONTENT)
    server.answers = [503] * 9
    with pytest.raises(DataError) as caught:
        fetch(file)
    assert len(server.asked) == 5
    for fact in ("a.gz", file.urls[0], file.sha256, f"{len(CONTENT)} bytes", str(path_of(file)), "503"):
        assert fact in str(caught.value)


def test_another_address_is_tried(server: Server) -> None:
    file = server.publish("a.gz", CONTENT)
    nobody = "http://127.0.0.1:9/a.gz"  # the discard port, where nothing listens
    both = PublicFile(file.folder, file.name, file.size, file.sha256, (nobody, *file.urls))
    assert fetch(both).read_bytes() == CONTENT


def test_a_file_of_another_size_or_content_is_refused(server: Server) -> None:
    file = server.publish("a.gz", CONTENT)
    server.files["/a.gz"] = CONTENT + b"!"
    with pytest.raises(DataError, match=f"has {len(CONTENT) + 1} bytes, expected {len(CONTENT)}"):
        fetch(file)
    changed = b"!" + CONTENT[1:]
    server.files["/a.gz"] = changed
    with pytest.raises(DataError, match=f"gives another file, SHA-256 {hashlib.sha256(changed).hexdigest()}"):
        fetch(file)
    assert names(file) == set(), "nothing wrong is kept"


def test_a_file_put_there_by_hand_is_verified_and_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTRUN_OFFLINE", "1")
    file = server.publish("a.gz", CONTENT)
    with pytest.raises(DataError, match="OPTRUN_OFFLINE forbids the network"):
        fetch(file)
    path = path_of(file)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert fetch(file) == path
    for wrong, found in ((CONTENT[1:], f"found {len(CONTENT) - 1} bytes"), (b"!" + CONTENT[1:], "found SHA-256 ")):
        path.write_bytes(wrong)
        with pytest.raises(DataError, match="is not the published file") as caught:
            fetch(file)
        assert found in str(caught.value)
        assert path.exists(), "it is the user's to delete"
    assert server.asked == []


FETCH = """
import sys
from optrun.experiments.system.downloads import fetch
from optrun.experiments.system.public_files import PublicFile
folder, name, size, sha256, *urls = sys.argv[1:]
fetch(PublicFile(folder, name, int(size), sha256, tuple(urls)))
"""


def test_two_processes_download_once(server: Server) -> None:
    file = server.publish("a.gz", CONTENT)
    command = [sys.executable, "-c", FETCH, file.folder, file.name, str(file.size), file.sha256, *file.urls]
    path_of(file).parent.mkdir(parents=True)
    with downloads.locked(path_of(file)):  # so that both find it taken
        others = [subprocess.Popen(command) for _ in range(2)]
        time.sleep(1.0)
    assert [other.wait(timeout=60) for other in others] == [0, 0]
    assert server.asked == [("/a.gz", None)]


def test_no_room_is_said_before_the_download(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    file = server.publish("a.gz", CONTENT)
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match=r"needs 1024000 bytes, 1000 bytes are free.*OPTRUN_DATA_DIR"):
        fetch(file)
    assert server.asked == []


def test_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert data_dir() == tmp_path / "data"
    monkeypatch.delenv("OPTRUN_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/big/cache")
    assert data_dir() == Path("/big/cache/optrun/data")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert data_dir() == Path.home() / ".cache/optrun/data"


def test_every_public_file_is_pinned() -> None:
    files = [file for public in PUBLIC_SETS.values() for file in public.files]
    assert len({file.sha256 for file in files}) == len(files) == 10
    for file in files:
        assert len(bytes.fromhex(file.sha256)) == 32
        assert file.urls[0].endswith(f"/{file.name}")

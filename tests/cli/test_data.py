"""`optrun data`, and downloads that a training needs, from a server on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from optrun.cli.terminal import downloading, live
from optrun.experiments.system import downloads

from ..components.data.server import Server, publish_cifar10, serving

RECIPE = """\
data:
  name: cifar10
  scaling: raw
  val: 0.25
  batch_size: 5
  augment: [{name: crop, padding: 2}, flip, standardise]
model: logistic
loss: cross_entropy
optimizer: {name: sgd, lr: 0.01}
train: {epochs: 1}
"""


@pytest.fixture(autouse=True)
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OPTRUN_DATA_DIR", str(folder / "data"))
    monkeypatch.setattr(downloads, "reporter", None)  # which commands set
    with serving() as state:
        publish_cifar10(monkeypatch, state)
        yield state


def test_the_list_says_what_is_where(optrun, folder):
    def where() -> str:
        (entry,) = optrun("data", "list", "cifar10", "--json").json["data"]
        return entry["where"]

    found = {entry["name"]: entry for entry in optrun("data", "--json").json["data"]}
    assert {name: found[name]["where"] for name in ("digits", "csv", "synthetic", "mnist", "text")} == {
        "digits": "bundled",
        "csv": "yours",
        "synthetic": "made",
        "mnist": "missing",
        "text": "bundled",
    }
    assert found["mnist"]["bytes"] == 11_594_722
    assert found["digits"]["bytes"] > 10_000
    lines = optrun("data").out.splitlines()
    assert len(lines) == len(found)
    assert max(map(len, lines)) <= 80
    assert where() == "missing"
    part = folder / "data" / "cifar10" / "cifar-10-binary.tar.gz.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"some")
    assert where() == "partial"
    part.rename(part.with_suffix(""))
    assert where() == "damaged"


def test_get_downloads_verifies_and_tells(optrun, server, folder):
    done = optrun("data", "get", "cifar10")
    assert done.code == 0
    path = folder / "data" / "cifar10" / "cifar-10-binary.tar.gz"
    assert done.out == f"{path}  verified\n"
    assert "downloading cifar-10-binary.tar.gz" in done.err
    assert "100%" in done.err
    assert "\x1b" not in done.err, "no cursor codes where no terminal is"
    assert optrun("data", "get", "cifar10").err == "", "it is here"
    assert len(server.asked) == 1
    assert optrun("data", "list", "cifar10", "--json").json["data"][0]["where"] == "downloaded"


def test_verify_finds_what_has_changed(optrun, folder):
    nothing = optrun("data", "verify")
    assert nothing.code == 5
    assert "nothing is downloaded" in nothing.err
    assert optrun("data", "get", "cifar10").code == 0
    assert optrun("data", "verify").code == 0
    path = folder / "data" / "cifar10" / "cifar-10-binary.tar.gz"
    path.write_bytes(b"!" + path.read_bytes()[1:])
    done = optrun("data", "verify", "--json")
    assert done.code == 4
    (entry,) = done.json["data"]
    assert entry["files"][0]["state"] == "damaged"
    assert "is not the published file" in done.err
    assert optrun("data", "verify", "mnist").code == 4, "asked for by name, it has to be there"


def test_what_cannot_be_got_is_said(optrun, monkeypatch):
    assert "data 'digits' is no download; these are: cifar10" in optrun("data", "get", "digits").err
    wrong = optrun("data", "get", "cifar")
    assert wrong.code == 2
    assert "no data named 'cifar'. Did you mean 'cifar10'?" in wrong.err
    assert "which one?" in optrun("data", "get").err
    monkeypatch.setenv("OPTRUN_OFFLINE", "1")
    offline = optrun("data", "get", "cifar10", "--json")
    assert offline.code == 4
    assert json.loads(offline.out)["exit_code"] == 4
    assert "save it as" in offline.err


def test_a_training_downloads_what_it_needs(optrun, server, folder):
    (folder / "recipe.yaml").write_text(RECIPE)
    done = optrun("train", "recipe.yaml", "--json")
    assert done.code == 0, done.err
    assert "downloading cifar-10-binary.tar.gz" in done.err
    assert len(server.asked) == 1
    again = optrun("train", "recipe.yaml", "--json")
    assert again.code == 0
    assert "downloading" not in again.err


def test_without_the_network_a_training_ends_with_4(optrun, folder, monkeypatch):
    monkeypatch.setenv("OPTRUN_OFFLINE", "1")
    (folder / "recipe.yaml").write_text(RECIPE)
    done = optrun("train", "recipe.yaml")
    assert done.code == 4
    assert "OPTRUN_OFFLINE forbids the network" in done.err
    assert not (folder / "runs").exists() or not list((folder / "runs").glob("recipe-*"))


def test_the_bar_moves_where_a_terminal_is(server, capsys, monkeypatch):
    monkeypatch.setattr(downloading, "is_live", lambda: True)
    monkeypatch.setattr(live, "LIVE_SECS", 0.0)
    monkeypatch.setattr(downloads, "_PIECE", 10_000)
    monkeypatch.setattr(downloads, "reporter", downloading.DownloadProgress())
    from optrun.experiments.system.public_files import PUBLIC_SETS

    downloads.fetch(PUBLIC_SETS["cifar10"].files[0])
    err = capsys.readouterr().err
    assert err.count("% ") >= 3
    assert "\x1b[" in err, "drawn over"

"""Examples in tar archives: found by their names, read by themselves, and refused where they are not whole."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from optrun.experiments import Batches, make_data, train
from optrun.experiments.components.data import LoadedBatches, LoadedData, split, tar_index
from optrun.experiments.errors import ArgumentsError, DataError
from optrun.experiments.system.patterns import expanded


@pytest.fixture(autouse=True)
def _own_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OPTRUN_DATA_DIR", str(tmp_path / "kept"))


def npy(array: Any, pickled: bool = False) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=pickled)
    return content.getvalue()


def png(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(array).save(content, "PNG")
    return content.getvalue()


def write(path: Path, files: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def numbers(size: int) -> torch.Tensor:
    return torch.rand(size, 3, generator=torch.Generator().manual_seed(0))


def shards(folder: Path, size: int = 30, count: int = 3) -> str:
    inputs = numbers(size).numpy()
    for shard in range(count):
        own = range(shard * size // count, (shard + 1) * size // count)
        files = [
            each
            for n in own
            for each in ((f"d/{n:04d}.x.npy", npy(inputs[n])), (f"d/{n:04d}.cls", f"{n % 2}\n".encode()))
        ]
        write(folder / f"part-{shard:03d}.tar", files)
    return str(folder / f"part-{{000..{count - 1:03d}}}.tar")


def loaded(path: Any, **args: Any) -> LoadedData:
    data = make_data("tar_shards", path=str(path), **{"inputs": "x.npy", "target": "cls", **args})
    assert isinstance(data, LoadedData)
    return data


def test_batches_are_those_of_the_same_data_in_memory(tmp_path):
    data = loaded(shards(tmp_path))
    assert (len(data), data.num_outputs, data.task, data.input_shape) == (30, 2, "classes", (3,))
    assert torch.equal(data.targets, torch.arange(30) % 2)
    parts = split(data)
    assert parts.sizes() == {"train": 18, "val": 6, "test": 6}
    batches = LoadedBatches(parts.train, batch_size=4, seed=3)
    rows = parts.train.positions
    memory = Batches(numbers(30)[rows], (torch.arange(30) % 2)[rows], batch_size=4, seed=3)
    for position in (0, 7, 2):
        mine, other = batches.batch(position), memory.batch(position)
        assert torch.equal(mine.inputs, other.inputs)
        assert torch.equal(mine.targets, other.targets)


def test_files_are_what_their_names_say(tmp_path):
    gray = np.arange(20, dtype=np.uint8).reshape(4, 5) * 10
    own = {"word": "b", "box": {"size": 3.5}, "ids": [4, 5]}
    one = [("1.png", png(gray)), ("1.txt", b"hello\n"), ("1.json", json.dumps(own).encode()), ("1.npy", npy(np.eye(2)))]
    two = [
        ("2.png", png(gray)),
        ("2.txt", b"bye"),
        ("2.json", json.dumps({**own, "word": "a"}).encode()),
        ("2.npy", npy(np.eye(2))),
    ]
    path = write(tmp_path / "a.tar", one + two)
    picture = loaded(path, inputs="png", target="json.word", color="gray").source[0]
    assert torch.equal(picture[0], torch.from_numpy(gray.astype(np.float32) / 255)[None])
    assert int(picture[1]) == 1  # a, b
    scaled = loaded(path, inputs="png", target="json.box.size", size=2)
    assert (scaled.input_shape, scaled.task, scaled.source[0][1].tolist()) == ((3, 2, 2), "values", [3.5])
    several = loaded(path, inputs=("txt", "npy", "json.ids"), target=None).source[1][0]
    assert (several["txt"], several["npy"].dtype, several["json.ids"].tolist()) == ("bye", torch.float32, [4, 5])
    assert loaded(path, inputs="npy", target="json.word", classes=("b", "a")).targets.tolist() == [0, 1]
    with pytest.raises(DataError, match=r"a.tar: the json.word of 2 is 'a', which is none of the classes"):
        loaded(path, inputs="npy", target="json.word", classes=("b",))


def test_parts_may_have_archives_of_their_own(tmp_path):
    shards(tmp_path)
    data = loaded(
        tmp_path / "part-000.tar", val_path=str(tmp_path / "part-001.tar"), test_path=str(tmp_path / "part-002.tar")
    )
    assert split(data).sizes() == {"train": 10, "val": 10, "test": 10}
    assert len(loaded(tmp_path)) == len(loaded(tmp_path / "part-*.tar")) == 30


def test_a_configuration_trains_on_them(tmp_path):
    given = {
        "data": {"name": "tar_shards", "path": shards(tmp_path), "inputs": "x.npy", "target": "cls", "batch_size": 6},
        "model": "logistic",
        "loss": "cross_entropy",
        "optimizer": {"name": "sgd", "lr": 0.1},
        "train": {"epochs": 1},
    }
    run = train(given, name="tar", root=tmp_path)
    assert run.summary["splits"] == {"train": 18, "val": 6, "test": 6}
    record = json.loads((run.path / "env.json").read_text())["data"]
    assert sorted(Path(name).name for name in record) == ["part-000.tar", "part-001.tar", "part-002.tar"]


GOOD = [("1.npy", npy(np.ones(3))), ("1.cls", b"0"), ("2.npy", npy(np.ones(3))), ("2.cls", b"1")]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (GOOD[:3], r"a.tar: 2 has no .cls"),
        ([*GOOD, ("2.cls", b"1")], r"a.tar has 2.cls twice"),
        ([*GOOD, ("1.json", b"{}")], r"a.tar: 1.json stands apart from the other files of 1"),
        ([*GOOD[:3], ("2.cls", b"one")], r"a.tar/2.cls cannot be read as cls"),
        ([], r"a.tar has no files"),
    ],
)
def test_examples_that_are_not_whole_are_refused(tmp_path, files, message):
    with pytest.raises(DataError, match=message):
        loaded(write(tmp_path / "a.tar", files), inputs="npy")


def test_nothing_pickled_and_nothing_unknown_is_read(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "went off"),)

    bomb = np.array([Bomb()], dtype=object)
    files = [
        ("1.pyd", pickle.dumps(Bomb())),
        ("1.pth", pickle.dumps(Bomb())),
        ("1.npy", npy(bomb, True)),
        ("1.xyz", b""),
    ]
    path = write(tmp_path / "a.tar", files)
    for ending, message in [
        ("pyd", r"a.tar/1.pyd is of a kind that may run code"),
        ("pth", r"a.tar/1.pth is of a kind that may run code"),
        ("npy", r"a.tar/1.npy cannot be read as npy"),
        ("xyz", r"a.tar/1.xyz: nothing reads .xyz"),
    ]:
        with pytest.raises(DataError, match=message):
            loaded(path, inputs=ending, target=None).source[0]
    assert not (tmp_path / "went off").exists()
    with pytest.raises(ArgumentsError, match=r"a.tar has no file that ends in .jpg: it has npy, pth, pyd, xyz"):
        loaded(path, inputs="jpg")


def test_damaged_archives_are_refused_wherever_they_are_cut_or_changed(tmp_path):
    content = write(tmp_path / "a.tar", GOOD).read_bytes()
    end = len(content.rstrip(b"\0"))
    end += -end % 512
    path = tmp_path / "b.tar"
    for cut in range(1, end + 1, 256):
        path.write_bytes(content[:cut])
        with pytest.raises(DataError, match=r"b.tar (is damaged|is cut off)"):
            tar_index.index_of(str(path))
    for header in range(0, end, 512):
        if content[header + 257 : header + 262] != b"ustar":
            continue
        for place in (header, header + 148, header + 130):
            changed = bytearray(content)
            changed[place] ^= 0xFF
            path.write_bytes(bytes(changed))
            with pytest.raises(DataError, match=r"b.tar is damaged"):
                tar_index.index_of(str(path))
    path.write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=r"b.tar is compressed \(gzip\)"):
        tar_index.index_of(str(path))
    with pytest.raises(DataError, match=r"no tar archive .*c.tar"):
        tar_index.index_of(str(tmp_path / "c.tar"))


def test_where_files_are_is_found_once_and_again_after_a_change(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tar", GOOD)
    before = loaded(path, inputs="npy")
    monkeypatch.setattr(tar_index, "_indexed", lambda *_: pytest.fail("looked for again"))
    assert len(loaded(path, inputs="npy")) == 2
    monkeypatch.undo()
    monkeypatch.setenv("OPTRUN_DATA_DIR", str(tmp_path / "kept"))
    write(path, GOOD[:2])
    assert len(loaded(path, inputs="npy")) == 1
    fresh = tar_index.ShardFiles(before.source._files.shards)
    with pytest.raises(DataError, match=r"a.tar has changed since"):
        fresh.read(0, 0, 1)


def test_patterns_are_those_of_a_shell():
    assert expanded("a-{008..011}.tar") == ["a-008.tar", "a-009.tar", "a-010.tar", "a-011.tar"]
    assert expanded("{a,b}{1..2}") == ["a1", "a2", "b1", "b2"]
    assert expanded("plain.tar") == ["plain.tar"]
    for wrong, message in (("a{3..1}", "goes down"), ("a{0..200000}", "more than"), ("{1..999}{1..999}", "998,001")):
        with pytest.raises(ValueError, match=message):
            expanded(wrong)

"""Files made by an enemy: checkpoints, run directories, archives, names. Nothing in them is executed, and nothing is
written outside of the runs; an audit hook in the process says so. What cannot be used is refused, never a bug.
"""

from __future__ import annotations

import copy
import gzip
import hashlib
import io
import json
import os
import pickle
import random
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ..helpers import in_turn
from . import watched
from .processes import ForkServer

TINY = """\
data: {name: gaussian_classes, num_examples: 60, batch_size: 20}
model: logistic
loss: cross_entropy
metrics: [accuracy]
optimizer: {name: mom, lr: 0.1}
train: {steps: 4}
checkpoint: {every: 2 steps}
log: {every: 1 steps}
"""
MAX_BYTES = 64 << 20
BUG = 70
EXECUTED = "import pathlib\npathlib.Path(__file__).with_name('executed').write_text('')\n"
SEED = 6


@pytest.fixture(scope="module")
def trained(server, tmp_path_factory) -> Path:
    """Return a folder with a finished run `good` and one that was stopped at step 2, `half`."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(TINY)
    for name, more in (("good", []), ("half", ["train.steps=2"])):
        done = call(server, folder, "train", "tiny.yaml", *more, "--name", name)
        assert done["code"] == 0, done
    status = json.loads((folder / "runs/half/status.json").read_text())
    (folder / "runs/half/status.json").write_text(json.dumps({**status, "state": "interrupted"}))
    return folder


@pytest.fixture
def place(trained, tmp_path) -> Path:
    """Return a copy of `trained`, beside which `outside` holds what must stay as it is."""
    shutil.copytree(trained, tmp_path / "work")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious.txt").write_text("precious\n")
    return tmp_path / "work"


def call(server: ForkServer, folder: Path, *args: str) -> dict[str, Any]:
    """Run a command line under watch; what it may write is the folder `runs`, and it may ask git."""
    may_write = [folder / "runs"]
    ended = server.run(watched.cli, folder=folder, args=args, may_write=may_write, **watched.LIMITS)
    assert ended.code == 0, f"{args}: {ended}"
    deeds = [deed for deed in ended.result["deeds"] if not deed.startswith("subprocess.Popen ('git'")]
    return {**ended.result, "deeds": deeds}


def check_harmless(answer: dict[str, Any], what: str) -> None:
    assert answer["deeds"] == [], f"{what}: {answer['deeds']}"
    assert "Traceback" not in answer["err"], f"{what}: {answer['err']}"
    assert answer["code"] != BUG, f"{what}: {answer['err']}"


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def header_of(table: Any, length: int | None = None) -> bytes:
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text


def optrun_header(sections: dict[str, str], facts: Any, *, step: int = 3, **more: Any) -> dict[str, Any]:
    header = {"format": 1, "step": step, "aliases": {}, "facts": facts, "sections": sections, **more}
    sha256 = hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()
    return {"__metadata__": {"optrun": json.dumps({**header, "sha256": sha256})}}


def tensor(begin: int, end: int, dtype: str = "F32", shape: list[Any] | None = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


class Evil:
    def __reduce__(self):
        return os.system, ("touch executed",)


def npz_of_pickles() -> bytes:
    out = io.BytesIO()
    np.savez(out, evil=np.array([Evil()], dtype=object))
    return out.getvalue()


def torch_pickle() -> bytes:
    import torch

    out = io.BytesIO()
    torch.save({"model": Evil()}, out)
    return out.getvalue()


def deep(opening: str, closing: str, depth: int) -> bytes:
    return (opening * depth + closing * depth).encode()


DATA = b"\0" * 16
CHECKPOINTS: dict[str, bytes | Callable[[], bytes]] = {
    "nothing": b"",
    "seven bytes": b"\1\0\0\0\0\0\0",
    "a header of 2**64 - 1 bytes": b"\xff" * 8 + b"{}",
    "a header of 2**63 bytes": (1 << 63).to_bytes(8, "little") + b"{}",
    "a header of 100 GB": (100 << 30).to_bytes(8, "little") + b"{}",
    "a header of 99 MB that is not there": (99 << 20).to_bytes(8, "little") + b"{}",
    "a header one byte too long": header_of(b"{}", 3),
    "a header of length 0": header_of(b""),
    "a header that is a list": header_of([]),
    "a header that is null": header_of(None),
    "a header that is no JSON": header_of(b"{'a': 1}"),
    "a header in UTF-16": header_of('{"a": 1}'.encode("utf-16")),
    "a header with invalid UTF-8": header_of(b'{"\xff": 1}'),
    "a JSON bomb of lists": header_of(deep("[", "]", 100_000)),
    "a JSON bomb of objects": header_of(deep('{"a":', "}", 100_000)),
    "a JSON bomb in the metadata": lambda: header_of({"__metadata__": {"optrun": deep("[", "]", 100_000).decode()}}),
    "metadata that is a list": header_of({"__metadata__": []}),
    "metadata that is a number": header_of({"__metadata__": {"optrun": 1}}),
    "no metadata": header_of({"model/a": tensor(0, 16)}) + DATA,
    "another program's metadata": header_of({"__metadata__": {"format": "pt"}, "a": tensor(0, 16)}) + DATA,
    "offsets that overlap": header_of({"model/a": tensor(0, 12), "model/b": tensor(8, 16)}) + DATA,
    "offsets with a hole": header_of({"model/a": tensor(0, 4), "model/b": tensor(12, 16)}) + DATA,
    "offsets backwards": header_of({"model/a": tensor(16, 0, shape=[4])}) + DATA,
    "negative offsets": header_of({"model/a": {"dtype": "F32", "shape": [4], "data_offsets": [-16, 0]}}) + DATA,
    "offsets beyond the end": header_of({"model/a": tensor(0, 1 << 40)}) + DATA,
    "offsets beyond all numbers": header_of(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,1e400]}}') + DATA,
    "offsets that are text": header_of(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":["0","16"]}}') + DATA,
    "a shape that multiplies to zero by overflow": header_of({"a": tensor(0, 16, shape=[1 << 32, 1 << 32])}) + DATA,
    "a negative shape": header_of({"a": tensor(0, 16, shape=[-2, -2])}) + DATA,
    "a shape of 10,000 dimensions": header_of({"a": tensor(0, 16, shape=[1] * 9_999 + [4])}) + DATA,
    "a type that is none": header_of({"a": tensor(0, 16, "F33", [4])}) + DATA,
    "a type of another width": header_of({"a": tensor(0, 16, "F64", [4])}) + DATA,
    "a type of half a byte": header_of({"a": tensor(0, 16, "F4", [32])}) + DATA,
    "a type that is an object": header_of(b'{"a":{"dtype":"O","shape":[2],"data_offsets":[0,16]}}') + DATA,
    "bytes after the end": header_of({"a": tensor(0, 16)}) + DATA + b"more",
    "a name twice": header_of(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":1}') + DATA,
    "a path as a name": lambda: signed({"model/../../../outside/x": DATA}),
    "an absolute path as a name": lambda: signed({"/etc/passwd": DATA}),
    "a name without a section": lambda: signed({"weight": DATA}),
    "a name with a NUL": lambda: signed({"model/a\0b": DATA}),
    "a name of 1 MB": lambda: signed({"model/" + "x" * (1 << 20): DATA}),
    "10,000 names": lambda: signed({f"model/{n}": b"\0\0\0\0" for n in range(10_000)}),
    "a name that is Python": lambda: signed({"model/__class__.__init__.__globals__": DATA}),
    "a pickle": lambda: pickle.dumps(Evil()),
    "a pickle behind a length": lambda: header_of(pickle.dumps(Evil())),
    "a torch.save": torch_pickle,
    "an .npz of pickles": npz_of_pickles,
    "a pickle in the metadata": lambda: header_of({"__metadata__": {"optrun": pickle.dumps(Evil()).decode("latin-1")}}),
    "a script": b"#!/bin/sh\ntouch executed\n",
    "a tar": lambda: tar_of({"x": b"y"}),
    "a gzip bomb": lambda: gzip.compress(b"\0" * (1 << 24)),
    "YAML": b"!!python/object/apply:os.system ['touch executed']\n",
    "a step that is text": header_of(optrun_header({}, {}, step="3")),
    "sections that are a list": header_of(optrun_header([], {})),
    "facts that are a list": header_of(optrun_header({}, [])),
    "aliases that are a list": header_of(optrun_header({}, {}, aliases=[])),
    "an alias of nothing": header_of(optrun_header({}, {}, aliases={"model/a": "model/b"})),
    "an alias of itself": header_of(optrun_header({}, {}, aliases={"model/a": "model/a"})),
    "an alias that is a list": header_of(optrun_header({}, {}, aliases={"model/a": ["model/b"]})),
    "a version that is a list": header_of(optrun_header({}, {}, format=[1])),
    "version true": header_of(optrun_header({}, {}, format=True, step=True)),
}  # fmt: skip
#: Checkpoints that verify, all hashes right, but hold a state that no run ever had.
FACTS: dict[str, Any] = {
    "nothing": {},
    "a state that is a list": {"state": [], "rows": {}, "spent": [0, 0]},
    "no rows": {"state": {}, "spent": [0, 0]},
    "rows that are text": {"state": {}, "rows": "x", "spent": [0, 0]},
    "rows beyond the end": {"state": {}, "rows": {"offset": 1 << 60, "sha256": "x"}, "spent": [0, 0]},
    "rows before the beginning": {"state": {}, "rows": {"offset": -5, "sha256": "x"}, "spent": [0, 0]},
    "no time": {"state": {}, "rows": {"offset": 0, "sha256": "x"}},
    "time that is text": {"state": {}, "rows": {"offset": 0, "sha256": "x"}, "spent": ["a", "b"]},
    "a tensor that is not there": {"state": {"model": {"$tensor": "model/none"}}, "rows": {}, "spent": [0, 0]},
    "a tensor named by a list": {"state": {"model": {"$tensor": []}}, "rows": {}, "spent": [0, 0]},
    "a kind that is none": {"state": {"model": {"$evil": 1}}, "rows": {}, "spent": [0, 0]},
    "a dict of lists": {"state": {"model": {"$dict": [[[1], 2]]}}, "rows": {}, "spent": [0, 0]},
    "a dict of numbers": {"state": {"model": {"$dict": 5}}, "rows": {}, "spent": [0, 0]},
    "a float that is none": {"state": {"model": {"$float": "x"}}, "rows": {}, "spent": [0, 0]},
    "a deep state": {"state": {"model": json.loads(deep("[", "]", 900))}, "rows": {}, "spent": [0, 0]},
    "a deep tuple": {"state": {"model": json.loads('{"$tuple":[' * 400 + "]}" * 400)}, "rows": {}, "spent": [0, 0]},
}


def signed(tensors: dict[str, bytes], facts: Any = None, **more: Any) -> bytes:
    """Return a whole checkpoint whose hashes are right: an enemy can count, too."""
    sections: dict[str, Any] = {}
    table: dict[str, Any] = {}
    end = 0
    for name in tensors:
        table[name] = tensor(end, end + len(tensors[name]))
        end += len(tensors[name])
    for name in sorted(tensors):
        digest = sections.setdefault(name.partition("/")[0], hashlib.sha256())
        digest.update(json.dumps([name, "F32", [len(tensors[name]) // 4]]).encode() + b"\n" + tensors[name])
    digests = {name: digest.hexdigest() for name, digest in sections.items()}
    return header_of({**optrun_header(digests, facts if facts is not None else {}, **more), **table}) + b"".join(
        tensors.values()
    )


def write_checkpoint(folder: Path, content: bytes, step: int = 3) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}-{hashlib.sha256(content).hexdigest()}.safetensors"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("signs_its_name", [True, False])
def test_hostile_checkpoints_are_refused(server, tmp_path, signs_its_name):
    files = []
    for content in CHECKPOINTS.values():
        path = write_checkpoint(tmp_path / str(len(files)), content() if callable(content) else content)
        files.append(path if signs_its_name else path.rename(path.with_name(f"step-00000003-{'0' * 64}.safetensors")))
    ended = server.run(watched.checkpoint_files, folder=tmp_path, files=files, may_write=[], **watched.LIMITS)
    assert ended.code == 0, ended
    verified = []
    for what, case in zip(CHECKPOINTS, ended.result, strict=True):
        assert "bug" not in case, f"{what}: {case['bug']}"
        assert case["deeds"] == [], f"{what}: {case['deeds']}"
        assert case["bytes"] < MAX_BYTES, f"{what}: {case['bytes'] >> 20} MiB"
        if "message" not in case:
            verified.append(what)
        else:
            assert "is damaged (" in case["message"] or "has format version" in case["message"], what
    # Whole files with odd names: the names mean nothing but entries of a dictionary.
    odd = {
        "a path as a name",
        "an absolute path as a name",
        "a name without a section",
        "a name with a NUL",
        "10,000 names",
    }
    odd |= {"a name of 1 MB", "a name that is Python"}
    assert set(verified) <= (odd if signs_its_name else set())
    assert not list(tmp_path.rglob("executed"))


@pytest.mark.parametrize(("what", "command"), in_turn(FACTS, ["resume", "eval"], others=pytest.mark.slow))
def test_whole_checkpoints_of_a_senseless_state_are_refused(server, place, what, command):
    shutil.rmtree(place / "runs/half/checkpoints")
    write_checkpoint(place / "runs/half/checkpoints", signed({"model/a": DATA}, FACTS[what]))
    more = ["train.steps=4", "--allow-change"] if command == "resume" else []
    answer = call(server, place, command, "half", *more)
    check_harmless(answer, what)
    assert answer["code"] == 4, answer["err"]
    assert snapshot(place.parent / "outside") == {str(place.parent / "outside/precious.txt"): b"precious\n"}


# ---- run directories -------------------------------------------------------------------------------------------------

_VALUES: list[Any] = [
    None, True, 5, -1, 1e308, 10**400, "x", "", "../../outside", "\x1b[2J\u202e", [], {}, [[]], [None],
    {"a": {"b": []}}, "os:system", 1 << 70,
]  # fmt: skip
_WHOLE: list[bytes] = [
    b"", b"\0" * 64, b"{", b"[]", b"null", b"5", b'"x"', b"{}", b"\xff\xfe{}", b"NaN", b'{"state": NaN}',
    b"[" * 200_000,
    deep('{"a":', "1}", 100_000).replace(b":}", b":1}"), b"9" * 100_000, b'{"a": ' + b"9" * 100_000 + b"}",
    b"!!python/object/apply:os.system ['touch executed']\n", pickle.dumps({"a": 1}), b"a: &a [*a]\n",
]  # fmt: skip
READERS = (["runs"], ["runs", "--json"], ["show", "half"], ["show", "half", "--json"], ["diff", "half", "good"])
WORKERS = (["resume", "half"], ["eval", "half"], ["report", "half", "-o", "runs/r.html"], ["rm", "half", "--dry-run"])
FILES = ("status.json", "summary.json", "env.json", "origins.json", "config.yaml", "metrics.jsonl")


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each value inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from paths_in(item, (*path, key))


def hostile_files(trained: Path) -> list[tuple[str, str, bytes]]:
    """Return (what, file, content) of hostile run directories: whole files, and each value of a JSON file replaced."""
    cases = [(f"{name} is {content[:40]!r}", name, content) for name in FILES for content in _WHOLE]
    for name in ("status.json", "summary.json", "env.json"):
        good = json.loads((trained / "runs/half" / name).read_text())
        for path in paths_in(good):
            for value in _VALUES:
                bad = copy.deepcopy(good)
                inner = bad
                for step in path[:-1]:
                    inner = inner[step]
                inner[path[-1]] = value
                cases.append(
                    (f"{name}: {'.'.join(map(str, path))} is {str(value)[:30]!r}", name, json.dumps(bad).encode())
                )
    rows = (trained / "runs/half/metrics.jsonl").read_bytes().splitlines(keepends=True)
    for key in json.loads(rows[0]):
        for value in _VALUES:
            row = json.dumps({**json.loads(rows[0]), key: value}).encode() + b"\n"
            cases.append((f"metrics.jsonl: {key} is {str(value)[:30]!r}", "metrics.jsonl", b"".join([row, *rows[1:]])))
    return cases


def check_hostile_files(
    server: ForkServer, place: Path, cases: list[tuple[str, str, bytes]], rng: random.Random
) -> int:
    before = snapshot(place.parent / "outside")
    num_calls = 0
    for what, name, content in cases:
        whole = (place / "runs/half" / name).read_bytes()
        (place / "runs/half" / name).write_bytes(content)
        for args in (rng.choice(READERS), rng.choice(WORKERS)):
            check_harmless(call(server, place, *args), f"{' '.join(args)} where {what}")
            num_calls += 1
        (place / "runs/half" / name).write_bytes(whole)
        shutil.rmtree(place / "runs/half")
        shutil.copytree(place / "half", place / "runs/half")
    assert snapshot(place.parent / "outside") == before
    assert not list(place.rglob("executed"))
    return num_calls


@pytest.fixture
def stocked(place) -> Path:
    shutil.copytree(place / "runs/half", place / "half")
    return place


@pytest.mark.sample
def test_hostile_run_directories_are_read_or_refused(server, trained, stocked):
    rng = random.Random(SEED)
    cases = rng.sample(hostile_files(trained), 30)
    assert check_hostile_files(server, stocked, cases, rng) == 60


@pytest.mark.slow
def test_all_hostile_run_directories_are_read_or_refused(server, trained, stocked):
    cases = hostile_files(trained)
    num_calls = check_hostile_files(server, stocked, cases, random.Random(SEED))
    sys.stdout.write(f"\n{num_calls} calls on {len(cases)} hostile run directories\n")


# ---- links, pipes, devices -------------------------------------------------------------------------------------------

#: What stands in a run directory in place of a file, by name.
LINKED = (
    "metrics.jsonl", "log.txt", ".lock", "checkpoints", "status.json", "summary.json", "config.yaml", "env.json",
    "origins.json", "diverged", ".tmp-1-status.json",
)  # fmt: skip
KINDS = ("a link to a file", "a link to a new file", "a link to a folder", "a link to itself", "a link to a device")


def put(path: Path, kind: str, outside: Path) -> None:
    """Put a link, pipe or folder in the place of a file or folder."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    match kind:
        case "a link to a file":
            path.symlink_to(outside / "precious.txt")
        case "a link to a new file":
            path.symlink_to(outside / "new.txt")
        case "a link to a folder":
            path.symlink_to(outside)
        case "a link to itself":
            path.symlink_to(path.name)
        case "a link to a device":
            path.symlink_to("/dev/zero")
        case "a pipe":
            os.mkfifo(path)
        case _:
            path.mkdir()


@pytest.mark.sample
@pytest.mark.parametrize("kind", [*KINDS, "a pipe", "a folder"])
def test_links_pipes_and_devices_in_a_run_lead_nowhere(server, stocked, kind):
    outside = stocked.parent / "outside"
    commands = [
        "resume half train.steps=4 --allow-change",
        "runs",
        "show half",
        "eval half",
        "train tiny.yaml --name half",
    ]
    for name in LINKED:
        put(stocked / "runs/half" / name, kind, outside)
        for line in commands:
            answer = call(server, stocked, *line.split())
            check_harmless(answer, f"{line} where {name} is {kind}")
            assert answer["code"] in (0, 2, 3, 4, 5, 74), f"{line} where {name} is {kind}: {answer}"
        assert snapshot(outside) == {str(outside / "precious.txt"): b"precious\n"}, f"{name} is {kind}"
        shutil.rmtree(stocked / "runs/half")
        shutil.copytree(stocked / "half", stocked / "runs/half")


def test_a_run_that_is_a_link_leads_nowhere(server, stocked):
    outside = stocked.parent / "outside"
    shutil.rmtree(stocked / "runs/half")
    (stocked / "runs/half").symlink_to(outside)
    for line in ("train tiny.yaml --name half", "train tiny.yaml --name half --fresh", "show half"):
        answer = call(server, stocked, *line.split())
        check_harmless(answer, line)
        assert answer["code"] in (2, 5), answer
    assert snapshot(outside) == {str(outside / "precious.txt"): b"precious\n"}


# ---- names -----------------------------------------------------------------------------------------------------------

NAMES = [
    "", ".", "..", "...", "/", "//", "~", "~root", "../x", "../../x", "../../outside/x", "a/../../x", "./x",
    "x/", "x/y", "/tmp/x", "/etc/passwd", "/dev/null", "C:\\x", "\\\\host\\x", "..\\x", "x\\y", ".hidden", "-x",
    "--fresh", "-",
    "--",
    "a b", "a\tb", "a\nb", "a\rb", "x\x1b[2J", "x\x7f", "x\u202egpj", "x\u200b", "ｘ", "é", "e\u0301", "日本", "😀",
    "x" * 65, "x" * 256, "x" * 10_000, "x.", "x..", "a*", "a?", "[a]", "{a,b}", "$HOME", "$(touch executed)", "\udcff",
    "`touch executed`", ";touch executed", "|x", "&x", ">x", "<x", "'", '"', "%s", "%n", "{0}", "{x.__class__}", "a:b",
    "run:x", "preset:x", "@", "@0", "@-1", "@x", "@99999999999", "x=y", "#", "!x", "CON ",
]  # fmt: skip


#: Of the lists that are tried name by name: each fourth as a sample.
PARTS = [pytest.param(part, marks=pytest.mark.slow if part else pytest.mark.sample) for part in range(4)]


@pytest.mark.parametrize("part", PARTS)
def test_hostile_names_name_nothing(server, place, part):
    before = snapshot(place)
    for name in NAMES[part::4]:
        answer = call(server, place, "train", "tiny.yaml", f"--name={name}")
        check_harmless(answer, f"--name={name!r}")
        assert answer["code"] == 2, f"{name!r}: {answer}"
        for command in (["show"], ["resume"], ["eval"], ["rm", "-y"], ["diff", "good"]):
            answer = call(server, place, *command, "--", name)
            check_harmless(answer, f"{command} {name!r}")
            assert answer["code"] in (2, 5), f"{command} {name!r}: {answer}"
    assert snapshot(place) == before
    assert not list(place.parent.rglob("executed"))
    assert len(NAMES) >= 60


CODE = [
    "os:system", "os:popen", "posix:system", "nt:system", "subprocess:Popen", "subprocess:run", "builtins:exec",
    "builtins:eval", "builtins:__import__", "importlib:import_module", "pty:spawn", "shutil:rmtree", "pickle:loads",
    "marshal:loads", "ctypes:CDLL", "code:interact", "webbrowser:open", "antigravity:x", "this:x", "runpy:run_path",
    "os.path:os.system", "os.path:join", "sys:exit", "sys:modules", "site:main", "idlelib.run:x", "lib2to3.main:main",
    "pkg.mod:__import__", "no.such:Thing", "..:x", "...evil:X", "evil.:X", ".evil:X", "evil..x:X", ":X", "X:",
    ":", "::", "evil:X:Y", "evil:X.Y", "evil:X()", "evil:__import__('os')", "evil;import os:X", "./:X",
    "./evil:X", "./evil.pyc:X",
    "./evil.so:X", "./evil.yaml:X", "/dev/stdin:X", "/dev/zero.py:X", "http://x/evil.py:X", "file:///evil.py:X",
    "./\u202eyp.live.py:X", "./no.py:X", "./folder.py:X", "../../../../etc/passwd:X", "./evil.py/:X", "./evil.py\0:X",
    "evil\n:X", "", " ", "None", "__import__", "system", "exec", "../optimizers/adam", "adam.py", "optimizers.adam",
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_hostile_references_execute_nothing(server, place, part):
    """What names such as a file from elsewhere may hold is never imported, called or run."""
    (place / "folder.py").mkdir()
    (place / "evil.pyc").write_bytes(b"\0" * 64)
    for name in ("evil.yaml", "evil.so"):
        (place / name).write_text(EXECUTED)
    (place / "evil").mkdir()
    (place / "evil" / "__init__.py").write_text(EXECUTED)
    for number, name in list(enumerate(CODE))[part::4]:
        kind = ("optimizer", "model", "loss", "schedule")[number // 4 % 4]
        (place / "bad.yaml").write_text(f"extends: tiny.yaml\n{kind}: {{name: {json.dumps(name)}}}\n")
        for line in ("validate bad.yaml", "train bad.yaml --name bad"):
            answer = call(server, place, *line.split())
            check_harmless(answer, f"{line} with {name!r}")
            assert answer["code"] == 2, f"{line} with {name!r}: {answer}"
    assert not (place / "runs/bad").exists()
    assert not list(place.rglob("executed"))


def test_code_that_a_stored_run_names_is_not_executed(server, place):
    """A run directory from elsewhere names code that came with it: no reader, and no resume, touches that."""
    (place / "evil.py").write_text(EXECUTED + "from optrun.experiments import Hook\nclass X(Hook): pass\n")
    config = place / "runs/half/config.yaml"
    whole = config.read_text()
    assert "hooks: []" in whole
    for reference in (f"{place}/evil.py:X", "../../evil.py:X"):
        config.write_text(whole.replace("hooks: []", f"hooks: [{json.dumps(reference)}]"))
        for line in ("resume half", "eval half", "show half", "runs", "diff half good"):
            answer = call(server, place, *line.split())
            check_harmless(answer, f"{line} with {reference}")
            assert answer["code"] == (2 if line in ("resume half", "eval half") else 0), answer
    assert not (place / "executed").exists()
    assert call(server, place, "eval", "half", "--allow-code")["code"] == 0
    assert (place / "executed").exists()  # this test can fail: with the user's word for it, the code is run


def test_code_that_comes_with_a_run_and_stands_in_its_record_is_not_executed(server, place):
    """A run directory from elsewhere says that it was made with the code beside it: that is not the user's word."""
    (place / "evil.py").write_text(
        "# its own bytes\n" + EXECUTED + "from optrun.experiments import Hook\nclass X(Hook): pass\n"
    )
    (place / "helper.py").write_text(EXECUTED)
    config, env = place / "runs/half/config.yaml", place / "runs/half/env.json"
    config.write_text(config.read_text().replace("hooks: []", 'hooks: ["../../evil.py:X"]'))
    files = {name: hashlib.sha256((place / name).read_bytes()).hexdigest() for name in ("evil.py", "helper.py")}
    where = {"project": str(place), "run": str(place / "runs/half")}
    for claimed in ({**where, "code": files}, {**where, "project": "/", "code": files}, {**where, "run": "/elsewhere"}):
        env.write_text(json.dumps({"code": files, **claimed}))
        for line in ("resume half", "eval half", "compare run:half run:good --no-train", "show half", "diff half good"):
            answer = call(server, place, *line.split())
            check_harmless(answer, f"{line} with {claimed}")
            assert answer["code"] == (0 if line.split()[0] in ("show", "diff") else 2), (line, answer)
        assert "--allow-code" in call(server, place, "eval", "half")["err"]
    assert not (place / "executed").exists()
    env.write_text(json.dumps({**where, "code": files}))
    assert call(server, place, "eval", "half", "--allow-code")["code"] == 0
    assert (place / "executed").exists()
    assert call(server, place, "eval", "half")["code"] == 0  # once is enough


# ---- archives and data -----------------------------------------------------------------------------------------------


def tar_of(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def special(kind: bytes, link: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("wanted.bin")
        info.type, info.linkname = kind, link
        archive.addfile(info)
    return out.getvalue()


def sparse_giant() -> bytes:
    """Return a GNU sparse member that claims a size of 1 TB."""
    info = tarfile.TarInfo("wanted.bin")
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[156:157] = tarfile.GNUTYPE_SPARSE
    block[483:495] = b"\x80" + (1 << 40).to_bytes(11, "big")
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return gzip.compress(bytes(block) + b"\0" * 10_240)


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no gzip": lambda: b"x" * 1000,
    "half a gzip": lambda: tar_of({"wanted.bin": b"\0" * 100})[:60],
    "a gzip of nothing": lambda: gzip.compress(b""),
    "no tar": lambda: gzip.compress(b"x" * 2000),
    "a path that leads out": lambda: tar_of({"../../outside/new.txt": b"x"}),
    "an absolute path": lambda: tar_of({"/tmp/outside-new": b"x"}),
    "a path that leads out, with the right name": lambda: tar_of({"../../outside/wanted.bin": b"\0" * 99}),
    "a symbolic link": lambda: special(tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link": lambda: special(tarfile.LNKTYPE, "../../outside/precious.txt"),
    "a hard link to itself": lambda: special(tarfile.LNKTYPE, "wanted.bin"),
    "a device": lambda: special(tarfile.CHRTYPE),
    "a block device": lambda: special(tarfile.BLKTYPE),
    "a pipe": lambda: special(tarfile.FIFOTYPE),
    "a folder": lambda: special(tarfile.DIRTYPE),
    "a type that is none": lambda: special(b"Q"),
    "a sparse giant": sparse_giant,
    "the wrong size": lambda: tar_of({"wanted.bin": b"x"}),
    "the same name twice": lambda: tar_of({"a/wanted.bin": b"\0" * 100, "b/wanted.bin": b"\0" * 100}),
    "a giant beside it": lambda: tar_of({"other": b"\0" * (64 << 20)}),
    "20,000 members": lambda: tar_of({f"m{n}": b"" for n in range(20_000)}),
    "a name of a megabyte": lambda: tar_of({"x" * (1 << 20): b""}),
    "a pickle": lambda: gzip.compress(pickle.dumps(Evil())),
}


def test_hostile_archives_are_refused(server, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/precious.txt").write_text("precious")
    (tmp_path / "data").mkdir()
    files = []
    for number, content in enumerate(ARCHIVES.values()):
        files.append(tmp_path / "data" / f"{number}.tar.gz")
        files[-1].write_bytes(content())
    before = snapshot(tmp_path)
    ended = server.run(watched.archive_files, folder=tmp_path, files=files, may_write=[], **watched.LIMITS)
    assert ended.code == 0, ended
    for what, case in zip(ARCHIVES, ended.result, strict=True):
        assert "bug" not in case, f"{what}: {case.get('bug')}"
        assert "message" in case, what
        assert case["deeds"] == [], f"{what}: {case['deeds']}"
        assert case["bytes"] < MAX_BYTES, f"{what}: {case['bytes'] >> 20} MiB"
    assert snapshot(tmp_path) == before


DATA_FILES = {
    "arrays": ["evil.npz", "evil.npy", "evil.pkl", "torch.npz", "header.npy", "/dev/zero", ".", "/", "pipe.csv"],
    "csv": ["evil.csv", "wide.csv", "pipe.csv", "zero.csv", "/dev/zero", "/etc", "evil.pkl"],
    "arff": ["evil.csv", "wide.csv", "pipe.csv", "zero.csv", "/dev/zero", "/etc", "evil.pkl"],
    "parquet": ["evil.csv", "pipe.csv", "zero.csv", "/dev/zero", "/etc", "evil.pkl"],
    "image_folder": ["/dev/zero", "evil.npz", "pipe.csv", "runs"],
    "warm_start": ["evil.npz", "torch.npz", "evil.pkl", "/dev/zero", "pipe.csv", "../outside"],
}


@pytest.mark.parametrize("kind", DATA_FILES)
def test_hostile_data_files_are_refused(server, place, kind):
    """What a configuration names as data: arrays of pickles, bombs, links, pipes, devices."""
    (place / "evil.npz").write_bytes(npz_of_pickles())
    with (place / "evil.npy").open("wb") as file:
        np.lib.format.write_array(file, np.array([Evil()], dtype=object), allow_pickle=True)
    (place / "evil.pkl").write_bytes(pickle.dumps(Evil()))
    (place / "torch.npz").write_bytes(torch_pickle())
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999,), }".ljust(117) + b"\n"
    (place / "header.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    (place / "evil.csv").write_text("a,b\n=cmd|' /C calc'!A0,__import__('os').system('touch executed')\n")
    (place / "wide.csv").write_text("a," * 200_000 + "\n")
    os.mkfifo(place / "pipe.csv")
    (place / "zero.csv").symlink_to("/dev/zero")
    for name in DATA_FILES[kind]:
        more = ", target: b" if kind in ("arff", "csv", "parquet") else ""
        spec = f"init={{from: {name}}}" if kind == "warm_start" else f"data={{name: {kind}, path: {name}{more}}}"
        answer = call(server, place, "train", "tiny.yaml", spec, "--name", "bad")
        check_harmless(answer, spec)
        assert answer["code"] in (2, 4, 5, 74), f"{spec}: {answer}"
    assert not list(place.parent.rglob("executed"))


def test_the_watch_sees_what_it_should(server, place):
    """Code of the user's own may do what it likes; the watch tells of each thing that it did."""
    (place / "evil.py").write_text(
        "import os, subprocess\n"
        "open('../outside/new.txt', 'w').close()\n"
        "os.rename('../outside/new.txt', '../outside/newer.txt')\n"
        "os.mkdir('../outside/folder')\n"
        "subprocess.run(['true'])\n"
        "os.system('true')\n"
        "open('../outside/precious.txt').read()\n"
        "from optrun.experiments import Hook\n"
        "class X(Hook): pass\n"
    )
    (place / "bad.yaml").write_text("extends: tiny.yaml\nhooks: ['./evil.py:X']\n")
    assert call(server, place, "validate", "tiny.yaml")["deeds"] == []
    deeds = call(server, place, "validate", "bad.yaml", "--allow-code")["deeds"]
    outside = place.parent / "outside"
    seen = ["executed", f"open {outside}/new.txt", f"os.rename {outside}/new.txt", f"os.rename {outside}/newer.txt"]
    for start in (*seen, f"os.mkdir {outside}/folder", "subprocess.Popen", "os.system"):
        assert any(deed.startswith(start) for deed in deeds), (start, deeds)
    assert not any("precious" in deed for deed in deeds)

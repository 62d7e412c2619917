"""What a run depends on is part of its record: the user's code by every way of importing, data by every reader.

Each case trains a run, changes one file, and asks every command: `train --name`, `resume`, `eval`, a sweep (whose runs
are kept and found as those of comparisons are). Each must notice, name the file, and have a way out that works; with
the file as it was, and in a project that has moved, all go on.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ..components.data.openml_home import feature, write_home
from .processes import ForkServer

NET = """\
from torch import nn
{imports}

class Net(nn.Module):
    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.layer = nn.Linear(4, num_outputs)

    def forward(self, inputs):
        {late}
        return self.layer(inputs.flatten(1)) * {scale}
"""
HELPER = "SCALE = 1.0\n"
RUN = """\
data: {{name: iris, batch_size: 16}}
model: {model}
loss: cross_entropy
metrics: [accuracy]
optimizer: {{name: sgd, lr: 0.1}}
train: {{steps: 2, threads: 1}}
"""

#: What `python -c` does with the path of a new interpreter; the registries of the server have looked around already.
COMMAND = """\
import os, site, sys
for folder in reversed(os.environ["OWN_PATH"].split(os.pathsep)):
    sys.path.insert(0, folder)
for folder in filter(None, os.environ["OWN_SITES"].split(os.pathsep)):
    site.addsitedir(folder)
from optrun.experiments.components.registries import REGISTRIES
for registry in REGISTRIES.values():
    registry._scanned = False
    registry.__dict__.pop("_entry_points", None)
from optrun.cli.app import run
sys.exit(run(sys.argv[1:]))
"""


@dataclass
class Case:
    """A project.

    Args:
        files: by name, with their content.
        changed: the one that changes.
        model: as the configuration names it.
        path: folders on `sys.path`.
        sites: folders of installed packages, whose `.pth` files are read.
        plugins: of OPTRUN_PLUGINS.
        late: whether only training finds the file, by a computed name.
    """

    files: Mapping[str, str]
    changed: str
    model: str = "net:Net"
    path: tuple[str, ...] = (".",)
    sites: tuple[str, ...] = ()
    plugins: str = ""
    late: bool = False
    before: str = "1.0"
    after: str = "2.0"
    named: str = field(default="")  # what messages call it


def net(imports: str = "", scale: str = "SCALE", late: str = "pass") -> str:
    return NET.format(imports=imports, scale=scale, late=late)


BASE = net("import helper", "helper.SCALE").replace("class Net", "class Base")
FINDER = """\
import sys
from importlib.util import spec_from_file_location
class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "edited":
            from pathlib import Path
            folder = Path(__file__).resolve().parents[1] / "source" / "edited"
            return spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=[str(folder)])
def install():
    sys.meta_path.append(Finder)
"""
METADATA = "Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n"
ENTRY = "[optrun.model]\nown_net = {}\n"
REGISTER = """\
from optrun.experiments import register_model
from net import Net
register_model("own_net", source="own")(Net)
"""
OWN_PATH = """\
import sys
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parent / "lib"))
from helper import SCALE
"""
WALK = """\
import importlib, pkgutil
for found in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{found.name}")
"""

CASES: dict[str, Case] = {
    "a module beside it": Case({"net.py": net("import helper", "helper.SCALE"), "helper.py": HELPER}, "helper.py"),
    "the file itself": Case({"net.py": net("SCALE = 1.0")}, "net.py", "./net.py:Net"),
    "a file by itself": Case(
        {"net.py": net("from helper import SCALE"), "helper.py": HELPER}, "helper.py", "./net.py:Net"
    ),
    "three in a row": Case(
        {"net.py": net("from middle import SCALE"), "middle.py": "from helper import SCALE\n", "helper.py": HELPER},
        "helper.py",
    ),
    "a relative import": Case(
        {"pkg/__init__.py": "", "pkg/net.py": net("from .helper import SCALE"), "pkg/helper.py": HELPER},
        "pkg/helper.py",
        "pkg.net:Net",
    ),
    "the package around it": Case(
        {"pkg/__init__.py": HELPER, "pkg/net.py": net("from . import SCALE")}, "pkg/__init__.py", "pkg.net:Net"
    ),
    "two packages up": Case(
        {
            "pkg/__init__.py": "",
            "pkg/inner/__init__.py": "",
            "pkg/inner/net.py": net("from ..helper import SCALE"),
            "pkg/helper.py": HELPER,
        },
        "pkg/helper.py",
        "pkg.inner.net:Net",
    ),
    "a module from a package": Case(
        {"net.py": net("from pkg import helper", "helper.SCALE"), "pkg/__init__.py": "", "pkg/helper.py": HELPER},
        "pkg/helper.py",
    ),
    "src layout": Case(
        {
            "pyproject.toml": "",
            "src/pkg/__init__.py": "",
            "src/pkg/net.py": net("from pkg.helper import SCALE"),
            "src/pkg/helper.py": HELPER,
        },
        "src/pkg/helper.py",
        "pkg.net:Net",
        path=("src",),
    ),
    "editable install by .pth": Case(
        {
            "lib/site-packages/edited.pth": "../../source\n",
            "source/edited/__init__.py": "",
            "source/edited/net.py": net("from .helper import SCALE"),
            "source/edited/helper.py": HELPER,
        },
        "source/edited/helper.py",
        "edited.net:Net",
        sites=("lib/site-packages",),
    ),
    "editable install by finder": Case(
        {
            "site-packages/edited.pth": "import edited_finder; edited_finder.install()\n",
            "site-packages/edited_finder.py": FINDER,
            "source/edited/__init__.py": "",
            "source/edited/net.py": net("from .helper import SCALE"),
            "source/edited/helper.py": HELPER,
        },
        "source/edited/helper.py",
        "edited.net:Net",
        sites=("site-packages",),
    ),
    "namespace package": Case(
        {"space/net.py": net("from space.deep.helper import SCALE"), "space/deep/helper.py": HELPER},
        "space/deep/helper.py",
        "space.net:Net",
    ),
    "star": Case({"net.py": net("from helper import *"), "helper.py": HELPER}, "helper.py"),
    "star of a package": Case(
        {
            "net.py": net("from pkg import *", "helper.SCALE"),
            "pkg/__init__.py": "__all__ = ['helper']\n",
            "pkg/helper.py": HELPER,
        },
        "pkg/helper.py",
    ),
    "conditional": Case(
        {
            "net.py": net("try:\n    from helper import SCALE\nexcept ImportError:\n    SCALE = 1.0"),
            "helper.py": HELPER,
        },
        "helper.py",
    ),
    "late, in a function": Case({"net.py": net(late="from helper import SCALE"), "helper.py": HELPER}, "helper.py"),
    "late, import_module": Case(
        {
            "net.py": net("import importlib", "SCALE", "SCALE = importlib.import_module('helper').SCALE"),
            "helper.py": HELPER,
        },
        "helper.py",
    ),
    "late, a computed name": Case(
        {
            "net.py": net("import importlib", "SCALE", "SCALE = importlib.import_module('hel' + 'per').SCALE"),
            "helper.py": HELPER,
        },
        "helper.py",
        late=True,
    ),
    "a computed name": Case(
        {"net.py": net("import importlib\nSCALE = importlib.import_module('hel' + 'per').SCALE"), "helper.py": HELPER},
        "helper.py",
    ),
    "__import__": Case({"net.py": net("SCALE = __import__('helper').SCALE"), "helper.py": HELPER}, "helper.py"),
    "a package that walks": Case(
        {
            "net.py": net("import sys, pkg", "sys.modules['pkg.helper'].SCALE"),
            "pkg/__init__.py": WALK,
            "pkg/helper.py": HELPER,
        },
        "pkg/helper.py",
    ),
    "a path of its own": Case(
        {
            "net.py": net(OWN_PATH),
            "lib/helper.py": HELPER,
        },
        "lib/helper.py",
        "./net.py:Net",
    ),
    "a base class": Case(
        {"net.py": "from base import Base\nclass Net(Base): pass\n", "base.py": BASE, "helper.py": HELPER}, "helper.py"
    ),
    "OPTRUN_PLUGINS": Case(
        {"plug.py": REGISTER, "net.py": net("from helper import SCALE"), "helper.py": HELPER},
        "helper.py",
        "own_net",
        plugins="plug",
    ),
    "the plug-in": Case(
        {"plug.py": REGISTER + "# 1.0\n", "net.py": net("SCALE = 1.0")}, "plug.py", "own_net", plugins="plug"
    ),
    "entry point of an editable install": Case(
        {
            "lib/site-packages/extra-1.0.dist-info/METADATA": METADATA,
            "lib/site-packages/extra-1.0.dist-info/entry_points.txt": ENTRY.format("extra.net:Net"),
            "lib/site-packages/extra.pth": "../../source\n",
            "source/extra/__init__.py": "",
            "source/extra/net.py": net("from .helper import SCALE"),
            "source/extra/helper.py": HELPER,
        },
        "source/extra/helper.py",
        "own_net",
        sites=("lib/site-packages",),
    ),
    "entry point of an installed package": Case(
        {
            "lib/site-packages/extra-1.0.dist-info/METADATA": METADATA,
            "lib/site-packages/extra-1.0.dist-info/top_level.txt": "extra\n",
            "lib/site-packages/extra-1.0.dist-info/entry_points.txt": ENTRY.format("extra:Net"),
            "lib/site-packages/extra.py": net("SCALE = 1.0"),
        },
        "lib/site-packages/extra-1.0.dist-info/METADATA",
        "own_net",
        sites=("lib/site-packages",),
        named="extra 1.0 -> 2.0",
    ),
}


class Project:
    """A project on the disk, and commands in it, each in a process of its own."""

    def __init__(self, server: ForkServer, folder: Path, case: Case):
        self.server, self.folder, self.case = server, folder, case

    def __call__(self, *args: str, code: int = 0) -> str:
        path = [str(self.folder / each) for each in self.case.path]
        sites = [str(self.folder / each) for each in self.case.sites]
        variables = {"OWN_PATH": ":".join(path), "OWN_SITES": ":".join(sites), "OPTRUN_PLUGINS": self.case.plugins}
        process = self.server.python(
            COMMAND, *args, variables={**variables, "OPTRUN_RUNS_DIR": str(self.folder / "runs")}
        )
        out, err = (stream.decode() for stream in process.communicate())
        assert process.returncode == code, f"{args}: {process.returncode}, not {code}: {out}{err}"
        return out + err

    def edit(self, before: str, after: str) -> None:
        path = self.folder / self.case.changed
        path.write_text(path.read_text().replace(before, after))

    def sweep(self) -> int:
        """Return how many of a sweep's runs were made, not found."""
        self("sweep", "run.yaml", "optimizer.lr=0.1,0.2", "--seeds", "1", "--jobs", "1", "--quiet")
        records = [json.loads(path.read_text()) for path in self.folder.glob("runs/sweep-*/comparison.json")]
        assert len(records) == 1
        return sum(not run["cached"] for run in records[0]["runs"])


@pytest.fixture
def project(server, tmp_path, monkeypatch) -> Callable[[Case], Project]:
    def make(case: Case) -> Project:
        folder = tmp_path / "first"
        for name, content in {"run.yaml": RUN.format(model=case.model), **case.files}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        monkeypatch.chdir(folder)
        return Project(server, folder, case)

    return make


def check_code(project: Project, *, briefly: bool = False) -> int:
    """Change the file, and ask every command; return how many answers were looked at.

    Args:
        project: is new.
        briefly: whether to ask only whether the change is noticed, and not for all ways out.
    """
    case = project.case
    named = case.named or str(project.folder / case.changed)
    project("train", "run.yaml", "--name", "a", "--quiet")
    project("train", "run.yaml", "--name", "a", "--quiet")
    before = project("eval", "a", "--json")
    record = json.loads((project.folder / "runs/a/env.json").read_text())
    assert case.named or case.changed in record["code"], record["code"]
    assert (project.sweep(), project.sweep()) == (2, 0)

    project.edit(case.before, case.after)
    for command in (("train", "run.yaml", "--name", "a"), ("resume", "a"), ("eval", "a")):
        refused = project(*command, "--quiet" if command[0] != "eval" else "--json", code=2)
        assert named in refused.replace("\\n", "\n"), (command, refused)
        assert ("--allow-change" if command[0] == "train" else "--allow-code") in refused, (command, refused)
    assert project.sweep() == 2
    if briefly:
        return 6
    project("eval", "a", "--allow-code", "--json")
    shutil.copytree(project.folder / "runs/a", project.folder / "runs/b")
    project("resume", "a", "--allow-code", "--quiet")
    project("train", "run.yaml", "--name", "b", "--allow-change", "--quiet")
    project("train", "run.yaml", "--name", "b", "--fresh", "--quiet")
    project("eval", "b", "--json")

    project.edit(case.after, case.before)
    project("train", "run.yaml", "--name", "b", "--fresh", "--quiet")
    assert project("eval", "b", "--json").replace('"b"', '"a"') == before
    if not case.late:
        assert project.sweep() == 0
    return 12


def move(project: Project, monkeypatch: pytest.MonkeyPatch) -> int:
    """Move the project, and ask every command; return how many answers were looked at."""
    project("train", "run.yaml", "--name", "a", "--quiet")
    project.sweep()
    before = project("eval", "a", "--json")
    moved = project.folder.rename(project.folder.with_name("second"))
    monkeypatch.chdir(moved)
    project.folder = moved
    assert project("eval", "a", "--json") == before
    project("resume", "a", "--quiet")
    project("train", "run.yaml", "--name", "a", "--quiet")
    assert project.sweep() == 0
    project("train", "runs/a/config.yaml", "--name", "c", "--quiet")
    return 5


@pytest.mark.parametrize("name", ["a module beside it", "late, a computed name"])
def test_a_change_of_code_is_noticed(project, name):
    check_code(project(CASES[name]), briefly=CASES[name].late)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_change_of_code_is_noticed_by_every_command(project, name):
    check_code(project(CASES[name]))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_moved_code_is_the_same(project, monkeypatch, name):
    move(project(CASES[name]), monkeypatch)


# ---- data ------------------------------------------------------------------------------------------------------------


def write_csv(folder: Path, shift: float) -> None:
    rows = "".join(f"{(number - 20 * shift) ** 2},{number % 7},{'pn'[number % 2]}\n" for number in range(40))
    (folder / "t.csv").write_text(f"a,b,y\n{rows}")


def write_parquet(folder: Path, shift: float) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    columns = {
        "a": [(number - 20 * shift) ** 2 for number in range(40)],
        "b": [number % 7 for number in range(40)],
        "y": ["pn"[number % 2] for number in range(40)],
    }
    pa.parquet.write_table(pa.table(columns), folder / "t.parquet")


def write_arff(folder: Path, shift: float) -> None:
    rows = "".join(f"{(number - 20 * shift) ** 2},{number % 7},{'pn'[number % 2]}\n" for number in range(40))
    (folder / "t.arff").write_text(f"@attribute a real\n@attribute b real\n@attribute y {{n, p}}\n@data\n{rows}")


def write_openml(folder: Path, shift: float) -> None:
    write_arff(folder, shift)
    columns = [feature("a"), feature("b"), feature("y", "nominal", is_target=True)]
    write_home(folder / "home", 7, (folder / "t.arff").read_bytes(), columns, 40)


def write_npz(folder: Path, shift: float) -> None:
    inputs = np.arange(80, dtype=np.float32).reshape(40, 2) + shift
    np.savez(folder / "d.npz", inputs=inputs, targets=np.arange(40) % 2)


def write_npy(folder: Path, shift: float) -> None:
    (folder / "big").mkdir(exist_ok=True)
    np.save(folder / "big/inputs.npy", np.arange(80, dtype=np.float32).reshape(40, 2) + shift)
    np.save(folder / "big/targets.npy", np.arange(40) % 2)


def write_pictures(folder: Path, shift: float) -> None:
    from PIL import Image

    for label in ("cat", "dog"):
        (folder / "pictures" / label).mkdir(parents=True, exist_ok=True)
        for number in range(10):
            shade = 10 * number + 50 * (label == "dog") + int(10 * shift)
            Image.new("RGB", (4, 4), (shade, shade, shade)).save(folder / "pictures" / label / f"{number}.png")


def write_shards(folder: Path, shift: float) -> None:
    with tarfile.open(folder / "s.tar", "w") as archive:
        for number in range(40):
            buffer = io.BytesIO()
            np.save(buffer, np.full(4, number + shift, np.float32))
            for name, content in ((f"{number}.npy", buffer.getvalue()), (f"{number}.cls", str(number % 2).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def write_text(folder: Path, shift: float) -> None:
    (folder / "words.txt").write_text("abcdefgh" * 100 if not shift else "hgfedcba" * 100)


OWN_DATA = """\
from pathlib import Path
import torch
from optrun.experiments import Dataset

def read({argument}) -> Dataset:
    numbers = torch.tensor([float(line) for line in {source}.read_text().split()])
    return Dataset(numbers[:, None].repeat(1, 4), torch.arange(len(numbers)) % 2, "classes", 2)
"""


def write_numbers(folder: Path, shift: float) -> None:
    (folder / "numbers.txt").write_text("\n".join(str(number + shift) for number in range(40)))


def own_data(argument: str, source: str) -> Callable[[Path, float], None]:
    def write(folder: Path, shift: float) -> None:
        (folder / "mine.py").write_text(OWN_DATA.format(argument=argument, source=source))
        write_numbers(folder, shift)

    return write


READERS: dict[str, tuple[str, Callable[[Path, float], None], str]] = {
    "csv": ("{name: csv, path: t.csv, target: y, task: classes}", write_csv, "t.csv"),
    "parquet": ("{name: parquet, path: t.parquet, target: y, task: classes}", write_parquet, "t.parquet"),
    "arff": ("{name: arff, path: t.arff, target: y, task: classes}", write_arff, "t.arff"),
    "openml": ("{name: openml, data_id: 7, path: home}", write_openml, "table.arff.gz"),
    "npz": ("{name: arrays, path: d.npz}", write_npz, "d.npz"),
    "a folder of npy": ("{name: arrays, path: big}", write_npy, "big"),
    "image_folder": ("{name: image_folder, path: pictures, size: 4}", write_pictures, "pictures"),
    "tar_shards": ("{name: tar_shards, path: s.tar, inputs: npy, target: cls}", write_shards, "s.tar"),
    "text": ("{name: text, path: words.txt, length: 4}", write_text, "words.txt"),
    "own, path": ("{name: './mine.py:read', path: numbers.txt}", own_data("path", "Path(path)"), "numbers.txt"),
    "own, pathlib": ("{name: './mine.py:read', file: numbers.txt}", own_data("file: Path", "file"), "numbers.txt"),
    "own, by name": (
        "{name: './mine.py:read', files: {a: numbers.txt}}", own_data("files: dict[str, Path]", "files['a']"),
        "numbers.txt",
    ),
    "own, default": (
        "{name: './mine.py:read'}", own_data("file: Path = Path('numbers.txt')", "file"), "numbers.txt"
    ),
    "own, hidden": (
        "{name: './mine.py:read'}", own_data("", "Path(__file__).with_name('numbers.txt')"), "the examples that"
    ),
}  # fmt: skip


def data_project(server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> Project:
    folder = tmp_path / "first"
    folder.mkdir()
    data, write, _ = READERS[name]
    tokens = name == "text"
    (folder / "run.yaml").write_text(
        f"data: {data}\n"
        f"model: {'{name: gpt, width: 8, depth: 1, heads: 1}' if tokens else 'logistic'}\n"
        f"loss: {'next_token' if tokens else 'cross_entropy'}\n"
        "optimizer: {name: sgd, lr: 0.001}\ntrain: {steps: 2, threads: 1}\n"
    )
    write(folder, 0.0)
    monkeypatch.chdir(folder)
    return Project(server, folder, Case({}, ""))


def check_data(project: Project, name: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Change the data, and ask every command, from here and elsewhere; return how many answers were looked at."""
    _, write, named = READERS[name]
    project("train", "run.yaml", "--name", "a", "--quiet")
    project("train", "run.yaml", "--name", "a", "--quiet")
    before = project("eval", "a", "--json")
    assert (project.sweep(), project.sweep()) == (2, 0)
    write(project.folder, 1.0)
    for command in (("train", "run.yaml", "--name", "a"), ("resume", "a"), ("eval", "a")):
        refused = project(*command, "--quiet" if command[0] != "eval" else "--json", code=2)
        assert named in refused
        assert "--allow-change" in refused
    assert project.sweep() == 2
    changed = project("eval", "a", "--allow-change", "--json")
    assert changed != before
    shutil.copytree(project.folder / "runs/a", project.folder / "runs/b")
    project("resume", "b", "--allow-change", "--quiet")
    write(project.folder, 0.0)
    assert project("eval", "a", "--json") == before
    elsewhere = project.folder.with_name("elsewhere")
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert project("eval", "a", "--json") == before
    project("train", "../first/run.yaml", "--name", "a", "--quiet")
    project("train", "../first/runs/a/config.yaml", "--name", "c", "--quiet")
    return 10


@pytest.mark.parametrize("name", ["csv"])
def test_a_change_of_data_is_noticed(server, tmp_path, monkeypatch, name):
    check_data(data_project(server, tmp_path, monkeypatch, name), name, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_a_change_of_data_is_noticed_by_every_command(server, tmp_path, monkeypatch, name):
    check_data(data_project(server, tmp_path, monkeypatch, name), name, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_moved_data_is_the_same(server, tmp_path, monkeypatch, name):
    move(data_project(server, tmp_path, monkeypatch, name), monkeypatch)


def test_the_list_of_readers_has_every_one_that_takes_a_path():
    from optrun.experiments.components.data import registry
    from optrun.experiments.config.paths import input_files

    reads: dict[str, Any] = {name: input_files(registry.get(name)) for name in registry.names()}
    assert {name for name, arguments in reads.items() if arguments} == {
        "arff",
        "arrays",
        "csv",
        "hf",  # whose packages are an extra: see tests/components/data/test_hf_data.py
        "image_folder",
        "openml",
        "parquet",
        "tar_shards",
        "text",
    }

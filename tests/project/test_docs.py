"""The documents say what is so: shown output, examples, tables, links.

`python -m tests.project.test_docs` writes the current `--help` into docs/commands.md and the current output into
README.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ..robustness.processes import ForkServer, forked

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
INSTALL = "pip install -c constraints.txt -e . && optrun train configs/mom.yaml"
INSTALL_AND_TEST = "pip install -c constraints.txt -e '.[dev]' && pytest"


class Block(NamedTuple):
    """A fenced block: its language, its text, the line that it begins at, and the file that it is marked to be."""

    language: str
    text: str
    line: int
    file: str | None


def blocks(page: Path, language: str | None = None) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(r"^(?:<!-- file: (\S+) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    found = [Block(m[2], m[3], text[: m.start(3)].count("\n") + 1, m[1]) for m in pattern.finditer(text)]
    return [block for block in found if language in (None, block.language)]


_SHOWN = {"COLUMNS": "80", "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", "CUDA_VISIBLE_DEVICES": ""}


def forked_optrun(server: ForkServer, arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line as a pipe of 80 columns shows it on a machine without GPU, stdout and stderr in one."""
    with contextlib.chdir(folder), tempfile.TemporaryFile() as out:
        done = server.optrun(*shlex.split(arguments)[1:], variables=_SHOWN, stdout=out.fileno(), stderr=out.fileno())
        code = done.wait()
        out.seek(0)
        return subprocess.CompletedProcess(arguments, code, out.read().decode())


def piped_optrun(server: ForkServer, line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Do the same for a line with a pipe."""
    with tempfile.TemporaryDirectory() as programs, server.program(Path(programs, "optrun"), _SHOWN):
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"}
        return subprocess.run(
            ["bash", "-c", line], **streams, check=False, cwd=folder, env={**os.environ, "PATH": path}, timeout=300
        )


# ---- help, in docs/commands.md ---------------------------------------------------------------------------------------

HELP = re.compile(r"<!-- help: ?([\w-]*) -->\n(?:```text\n(.*?)```\n)?", re.DOTALL)


def commands() -> list[str]:
    from optrun.cli import commands

    return sorted(path.stem.replace("_", "-") for path in Path(commands.__path__[0]).glob("[a-z]*.py"))


def help_of(server: ForkServer, command: str) -> str:
    """Return what `--help` prints; lines that only hold spaces, as click writes them, are empty."""
    done = forked_optrun(server, f"optrun {command} --help", ROOT)
    assert done.returncode == 0, done.stdout
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def with_help(server: ForkServer, text: str) -> str:
    return HELP.sub(lambda found: f"<!-- help: {found[1]} -->\n```text\n{help_of(server, found[1])}```\n", text)


def test_the_page_of_commands_has_every_command_once():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert sorted(found[1] for found in HELP.finditer(page)) == ["", *commands()]


@pytest.mark.parametrize("command", ["", *commands()])
def test_the_page_of_commands_shows_the_help(server, command):
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    shown = {found[1]: found[2] for found in HELP.finditer(page)}
    assert shown[command] == help_of(server, command), "run `python tests/project/test_docs.py`"
    assert "Examples:" in shown[command]
    assert max(len(line) for line in shown[command].split("Examples:")[0].splitlines()) <= 80


# ---- shown output, in README.md --------------------------------------------------------------------------------------

CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def shortened(output: str) -> str:
    """Leave out all progress lines but the first, and spaces at line ends."""
    lines = [line.rstrip() for line in output.splitlines()]
    progress = [index for index, line in enumerate(lines) if re.match(r"[\w.-]+ epoch=", line)]
    if len(progress) > 1:
        lines[progress[1] : progress[-1] + 1] = ["..."]
    return "".join(f"{line}\n" for line in lines)


def masked(output: str) -> list[str]:
    """Return the lines without what differs between machines: numbers, curves, the space that these take."""
    text = re.sub(r"(eta|ex/s)=\S+", r"\1=#", output)
    text = re.sub(r"\d+(\.\d+)?(e[-+]?\d+)?", "#", text)
    text = re.sub(r"[▁▂▃▄▅▆▇█]+", "~", text)
    text = re.sub(r"#(, #)+", "#, #", text)
    return [re.sub(r" +", " ", line).rstrip() for line in text.splitlines()]


def tour_of(server: ForkServer, text: str, folder: Path) -> str:
    """Run the commands of all console blocks, one after another in one folder, and put in what they print."""
    shutil.copytree(ROOT / "configs", folder / "configs", ignore=shutil.ignore_patterns("__*"))

    def run(found: re.Match[str]) -> str:
        shown = []
        for line in found[1].splitlines():
            if line.startswith("$ "):
                command = line.removeprefix("$ ")
                done = (piped_optrun if "|" in command else forked_optrun)(server, command, folder)
                assert done.returncode in (0, 2), done.stdout
                shown += [line, *shortened(done.stdout).splitlines()]
        return "\n".join(["```console", *shown, "```"])

    return CONSOLE.sub(run, text)


def test_the_readme_shows_what_the_commands_print(tmp_path, server):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("```console") >= 2
    assert masked(tour_of(server, text, tmp_path)) == masked(text), "run `python tests/project/test_docs.py`"


def test_shown_output_fits_80_columns():
    for block in blocks(ROOT / "README.md", "console"):
        assert [line for line in block.text.splitlines() if len(line) > 80] == []


def test_the_readme_opens_with_the_two_commands():
    first = blocks(ROOT / "README.md")[0]
    assert first.language == "sh"
    assert first.text.splitlines() == [INSTALL, INSTALL_AND_TEST]
    assert first.line < 12


def test_the_check_of_everything_installs_as_the_readme_says():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    install, test = INSTALL_AND_TEST.split(" && ")
    assert f"\npython -m {install.replace('pip install', 'pip install --quiet')}\n" in script
    assert f"\n{test}\n" in script
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


# ---- examples --------------------------------------------------------------------------------------------------------


def write_files(page: Path, folder: Path) -> None:
    for block in blocks(page):
        if block.file is not None:
            (folder / block.file).write_text(block.text, encoding="utf-8")


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_python_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    write_files(page, tmp_path)
    names: dict[str, Any] = {"__name__": "example"}
    for block in blocks(page, "python"):
        lines = "\n" * (block.line - 1)
        exec(compile(lines + block.text, str(page), "exec"), names)


def test_yaml_examples_load(tmp_path, monkeypatch):
    """Each block of docs/configuration.md is a configuration, or a part of one, and all of it can be built from."""
    from optrun.experiments import load_config

    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "nets.py").write_text("from torch import nn\ndef Tiny(width: int = 8): return nn.Linear(width, 10)\n")
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "lion.py").write_text("def Lion(params, lr: float): ...\n")
    found = blocks(ROOT / "docs" / "configuration.md", "yaml")
    assert len(found) > 4
    for number, block in enumerate(found):
        path = tmp_path / f"part{number}.yaml"
        path.write_text(block.text if "extends:" in block.text or number == 0 else f"extends: mom\n{block.text}")
        load_config(path)


def test_the_first_yaml_example_is_complete(tmp_path):
    from optrun.experiments import build, load_config

    (tmp_path / "first.yaml").write_text(blocks(ROOT / "docs" / "configuration.md", "yaml")[0].text)
    assert build(load_config("first.yaml")).num_parameters > 0


def test_the_readme_shows_the_preset():
    (block,) = blocks(ROOT / "README.md", "yaml")
    assert block.text == (ROOT / "configs" / "mom.yaml").read_text(encoding="utf-8")


def test_an_entry_point_gives_a_component_its_name(tmp_path, server):
    write_files(ROOT / "docs" / "python.md", tmp_path)
    info = tmp_path / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (tmp_path / "entry_points.txt").rename(info / "entry_points.txt")
    code = """
        import sys
        from optrun.cli.app import run
        assert not run(sys.argv[1:3])
        print('----')
        assert not run(sys.argv[3:])
    """
    arguments = ["describe", "optimizer/sign_momentum", "list", "optimizers"]
    process = server.new_python(code, *arguments, variables={**_SHOWN, "PYTHONPATH": str(tmp_path)})
    out, err = process.communicate()
    assert process.returncode == 0, (out, err)
    described, listed = out.decode().split("----")
    assert "w = w - lr * sign(a)" in described
    assert "sign_momentum" in listed


def test_commands_named_in_the_text_exist():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named = set(re.findall(r"(?:`|^\$ )optrun ([a-z-]*[a-z])", text, re.MULTILINE))
        assert named <= set(commands()), page.name


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), f"{page.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
                anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
                assert anchor in anchors, f"{page.name}: {target}"


# ---- tables ----------------------------------------------------------------------------------------------------------


def table(page: str, heading: str, level: str = "##") -> dict[str, list[str]]:
    """Return the rows of the tables in a section: other cells by first cell, without backticks."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    section = re.split(rf"^{level} ", text.split(f"\n{level} {heading}\n")[1], flags=re.MULTILINE)[0]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines() if line[:1] == "|"]
    return {row[0].strip("` "): row[1:] for row in rows if not set(row[0]) <= {"-", ":"} and row[0].startswith("`")}


def yaml_text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{', '.join(map(yaml_text, value))}]" if isinstance(value, list) else str(value)


def test_the_page_of_the_configuration_has_every_key_and_its_default():
    from optrun.experiments import load_config
    from optrun.experiments.config import Config
    from optrun.experiments.config.sections import ComponentConfig

    least = {"data": "digits", "model": "logistic", "loss": "cross_entropy", "optimizer": "sgd", "train": {"steps": 1}}
    config = load_config(least)
    own = {field.name for field in dataclasses.fields(ComponentConfig)}
    expected = {}
    for field in dataclasses.fields(Config):
        if field.name in ("target", "origins", "project", "reached", "data", "optimizer", "schedule"):
            continue
        value = getattr(config, field.name)
        if not dataclasses.is_dataclass(value) or isinstance(value, ComponentConfig):
            expected[field.name] = None
    for section in ("data", "optimizer", "schedule", "train", "eval", "stop", "checkpoint", "log"):
        for field in dataclasses.fields(getattr(config, section)):
            if field.name not in own:
                expected[f"{section}.{field.name}"] = yaml_text(config.to_dict()[section][field.name])
    expected |= {"train.steps": "null", "eval.metric": "the first metric", "seed": "0", "extends": "none"}
    expected |= {"name": "the file's name", "model": "required", "loss": "required", "init": "null"}
    expected |= dict.fromkeys(("metrics", "updates", "hooks"), "[]")
    assert {key: row[0].strip("`") for key, row in table("configuration.md", "Keys").items()} == expected


def test_the_page_of_the_run_directory_has_every_file(server):
    from optrun.experiments import train

    run = train("mom", {"data": "iris", "model": "logistic", "train.epochs": 1, "train.max_time": "60s"})
    files = {f"{path.name}/" if path.is_dir() else path.name for path in run.path.iterdir()}
    documented = set(re.findall(r"^\| `([^`]+)` ", _section("run-directory.md"), re.MULTILINE))
    assert documented == files | {".lock"}

    keys = {key for row in run.rows for key in row} - set(run.metrics.names())
    assert keys <= set(table("run-directory.md", "Metric rows"))
    assert set(table("run-directory.md", "Metric rows")) == {"step", "batch", "examples", "epoch", "time"}

    again = forked_optrun(server, f"optrun train {run.path}/config.yaml --dry-run", Path.cwd())
    assert again.returncode == 0, again.stdout


def _section(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8").split("\n## ")[0]


def test_the_page_of_the_run_directory_has_every_outcome():
    from typing import get_args

    from optrun.experiments.run_directory.run_dir import State

    assert sorted(table("run-directory.md", "Outcomes")) == sorted(get_args(State))


def test_the_page_of_commands_has_every_exit_code():
    from optrun.experiments import errors

    def all_below(kind: type) -> list[type]:
        return [kind, *(below for child in kind.__subclasses__() for below in all_below(child))]

    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    documented = {int(code) for cell in re.findall(r"^\| ([\d, ]+) \|", page, re.MULTILINE) for code in cell.split(",")}
    assert {error.exit_code for error in all_below(errors.OptrunError)} <= documented
    assert set(errors.ExitCode) == documented


def test_variables_in_the_code_are_documented():
    code = "".join(
        path.read_text(encoding="utf-8") for top in ("cli", "experiments") for path in ROOT.glob(f"{top}/**/*.py")
    )
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"OPTRUN_[A-Z_]+", code)) <= set(re.findall(r"OPTRUN_[A-Z_]+", page))


def test_every_kind_of_component_is_in_the_table_of_kinds():
    from optrun.experiments.components.registries import REGISTRIES

    assert set(table("python.md", "Components of your own")) == set(REGISTRIES)


# ---- the notebook ----------------------------------------------------------------------------------------------------


NOTEBOOK = ROOT / "docs" / "tour.ipynb"
_VARIABLES = ("IPYTHONDIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "MPLCONFIGDIR")


@pytest.fixture
def notebook(tmp_path, monkeypatch) -> Any:
    """Return the notebook, with a folder of its own for all that Jupyter and matplotlib keep."""
    pytest.importorskip("ipykernel")
    pytest.importorskip("pandas")
    nbformat = pytest.importorskip("nbformat")
    for name in _VARIABLES:
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)  # IPython warns of one that it is not in
    found = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(found)
    assert all(not cell.get("outputs") for cell in found.cells), "clear the outputs before saving"
    return found


def assert_shown(folder: Path, pages: list[str]) -> None:
    """Hold what the cells left in a folder, and the HTML that they showed."""
    summary = json.loads((folder / "runs" / "mom-0001" / "summary.json").read_text())
    assert summary["outcome"] == "done"
    assert any("Result on test/accuracy" in page for page in pages)
    assert any("mom-0001" in page for page in pages)


def cells_shown(sources: list[str]) -> list[str]:
    """Run cells in IPython in this process, and return the HTML of their values, "" for those that have none."""
    from IPython.core.interactiveshell import InteractiveShell

    shell, pages = InteractiveShell.instance(), []
    for source in sources:
        done = shell.run_cell(source)
        done.raise_error()
        pages.append(shell.display_formatter.format(done.result)[0].get("text/html", ""))
    return pages


def test_the_cells_of_the_notebook_run(notebook, tmp_path):
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert_shown(tmp_path, forked(cells_shown, sources))


@pytest.mark.sample  # a kernel takes as long as a hundred other tests
def test_the_notebook_runs_in_a_kernel(notebook, tmp_path):
    nbclient, psutil = pytest.importorskip("nbclient"), pytest.importorskip("psutil")
    before = psutil.Process().children(recursive=True)

    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()

    assert psutil.Process().children(recursive=True) == before, "the kernel is still there"
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert_shown(tmp_path, [output.get("data", {}).get("text/html", "") for output in shown])
    assert any("4/4 runs" in output.get("data", {}).get("text/plain", "") for output in shown)  # as it went
    assert not any(output.output_type == "error" for output in shown)


# ---- writing ---------------------------------------------------------------------------------------------------------


def write() -> None:
    """Bring the generated parts of the documents up to date."""
    readme, page = ROOT / "README.md", ROOT / "docs" / "commands.md"
    server = ForkServer()
    page.write_text(with_help(server, page.read_text(encoding="utf-8")), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        readme.write_text(tour_of(server, readme.read_text(encoding="utf-8"), Path(folder)), encoding="utf-8")
    server.close()


if __name__ == "__main__":
    write()

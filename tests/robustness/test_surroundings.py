"""What surrounds a process goes wrong: variables, folders, matplotlib's backend, Python's options, shared memory."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from optrun import cli, experiments
from optrun.cli.app import CommandFolder, run
from optrun.experiments.components.registries import REGISTRIES
from optrun.experiments.errors import StorageError
from optrun.experiments.system import docstrings, shared_memory
from optrun.experiments.training.step.batch_source import draw_batch

_TINY = "data: {name: iris, batch_size: 16}\nmodel: logistic\nloss: cross_entropy\noptimizer: {name: sgd, lr: 0.1}\n"
_TRAINING = {
    "train": ["train", "t.yaml"],
    "dry run": ["train", "t.yaml", "--dry-run"],
    "compare": ["compare", "t.yaml", "adam", "--no-tune"],
    "sweep": ["sweep", "t.yaml", "optimizer.lr=0.1,0.2"],
    "lr-find": ["lr-find", "t.yaml"],
    "verify-resume": ["verify-resume", "t.yaml"],
    "trajectories": ["trajectories", "beale"],
}
#: variables that cannot be meant, and the exit code that says whose mistake it is
_JUNK = {
    "RANK": (["abc", "-1", "1.5", "", "٣"], 2),
    "WORLD_SIZE": (["0", "abc", "2"], 2),
    "LOCAL_RANK": (["x"], 2),
    "OPTRUN_THREADS": (["abc", "0", "-1", "1.5"], 2),
    "OPTRUN_DEVICE": (["nope", "cuda:x"], 2),
    "OPTRUN_PLUGINS": (["no_such_module", "a b"], 2),
    "OPTRUN_STYLE": (["x"], 2),
    "OPTRUN_COLOR": (["x"], 2),
    "OPTRUN_TRAIN_SEED": (["x", "-1"], 2),
    "OPTRUN_RUNS_DIR": (["t.yaml"], 74),
}


@pytest.fixture(autouse=True)
def _folder(tmp_path):
    (tmp_path / "t.yaml").write_text(f"{_TINY}train: {{steps: 3}}\n")


@pytest.mark.parametrize(("name", "value", "code"), [(n, v, c) for n, (values, c) in _JUNK.items() for v in values])
def test_a_variable_that_cannot_be_meant_is_named(name, value, code, monkeypatch, capsys):
    monkeypatch.setenv(name, value)
    for registry in REGISTRIES.values() if name == "OPTRUN_PLUGINS" else ():  # which are imported once
        monkeypatch.setattr(registry, "_scanned", False)
    assert run(["train", "t.yaml", "--quiet"]) == code
    said = capsys.readouterr().err
    told = {"OPTRUN_DEVICE": "train.device", "OPTRUN_STYLE": "--style", "OPTRUN_COLOR": "--color"}
    told |= {"OPTRUN_TRAIN_SEED": "--seed"}
    assert told.get(name, name) in said
    assert value in said
    assert said.count("error:") + said.count("Found 1 problem") == 1
    assert not Path("runs").exists()


@pytest.mark.parametrize("arguments", _TRAINING.values(), ids=_TRAINING)
@pytest.mark.parametrize("variables", [{"WORLD_SIZE": "2", "RANK": "0"}, {"RANK": "1"}, {"RANK": "junk"}])
def test_what_trains_refuses_to_be_one_of_several(arguments, variables, monkeypatch, capsys):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert run(arguments) == 2
    said = capsys.readouterr().err
    assert ("RANK=junk: expected a number" if variables["RANK"] == "junk" else "without torchrun") in said
    assert not Path("runs").exists()


def test_the_only_rank_trains(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert run(["train", "t.yaml", "--quiet"]) == 0


@pytest.mark.parametrize(("value", "is_shown"), [("0", False), ("", False), ("no", False), ("1", True), ("on", True)])
def test_tracebacks_are_shown_where_the_variable_says_yes(value, is_shown, monkeypatch, capsys):
    monkeypatch.setenv("OPTRUN_DEBUG", value)
    assert run(["train", "t.yaml", "optimizer.lr=-1"]) == 2
    assert ("Traceback" in capsys.readouterr().err) == is_shown


@pytest.mark.parametrize("entry", ["no/such", "t.yaml", "there:no/such"])
def test_a_folder_of_configurations_that_is_none_is_named(entry, monkeypatch, capsys, caplog):
    Path("there").mkdir()
    monkeypatch.setenv("OPTRUN_CONFIG_PATH", entry)
    wrong = entry.rpartition(":")[2]
    assert run(["validate", "absent"]) == 2
    assert f"OPTRUN_CONFIG_PATH names what is no folder: {wrong}" in capsys.readouterr().out
    assert run(["validate", "mom"]) == 0  # the preset, where a file of this name may have been meant
    assert caplog.messages == [f"'mom' is the preset: OPTRUN_CONFIG_PATH names what is no folder: {wrong}"]
    Path("there/mom.yaml").write_text(Path("t.yaml").read_text())
    for target in ("t.yaml", "preset:mom", *(["mom"] if "there" in entry else [])):
        assert run(["validate", target]) == 0
    assert len(caplog.messages) == 1


def test_a_folder_that_the_code_has_deleted_is_told(monkeypatch, capsys):
    def go(*args):
        os.mkdir("gone")
        os.chdir("gone")
        os.rmdir("../gone")
        os.getcwd()

    monkeypatch.setattr("optrun.cli.app._invoke", go)
    assert run(["train", "t.yaml"]) == 74
    assert "error: code that was called has changed to a folder that was deleted" in capsys.readouterr().err


def test_a_number_for_offline_is_wanted(monkeypatch, capsys):
    monkeypatch.setenv("OPTRUN_OFFLINE", "no")
    assert run(["data", "get", "mnist"]) == 2
    assert "OPTRUN_OFFLINE=no: expected 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["plot", "schedule", "t.yaml", "-o", "x.svg"], ["trajectories", "beale", "-o", "x.gif"]]
)
def test_a_backend_that_matplotlib_does_not_know_is_named(command, monkeypatch, capsys):
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    for name in _modules_of_matplotlib():
        monkeypatch.delitem(sys.modules, name)
    assert run(command) == 2
    for name in _modules_of_matplotlib():  # half imported: what other tests need is imported anew, or put back
        del sys.modules[name]
    assert "MPLBACKEND=nonsense: matplotlib cannot start" in capsys.readouterr().err


def _modules_of_matplotlib():
    return [name for name in sys.modules if name.partition(".")[0] in ("matplotlib", "mpl_toolkits")]


def test_the_texts_are_there_without_docstrings():
    """What is read from the source is what Python would have kept, for all that is shown."""
    components = [registry.get(name) for registry in REGISTRIES.values() for name in registry.names()]
    things = [each.build for component in components for each in (component, *component.variants.values())]
    commands = [CommandFolder("optrun").get_command(None, name) for name in CommandFolder("optrun").list_commands(None)]
    things += [command.callback for command in commands]
    assert len(things) > 150, len(things)
    for thing in things:
        parts = inspect.getmro(thing) if inspect.isclass(thing) else (thing,)
        assert next((text for part in parts if (text := docstrings._written(part))), "") == (
            inspect.getdoc(thing) or ""
        )


def test_help_is_whole_without_docstrings():
    code = "from optrun.cli.app import run\nfor each in ([], ['train'], ['plot'], ['data']): run([*each, '--help'])"
    stripped, whole = (
        subprocess.run([sys.executable, flag, "-c", code], capture_output=True, text=True, check=True).stdout
        for flag in ("-OO", "-B")
    )
    assert "Which optimizer, which schedule" in stripped
    assert stripped == whole


def test_no_assertion_carries_a_check():
    """`python -O` leaves them out: they may tell a type checker what is known, and no more."""
    for package in (cli, experiments):
        for file in Path(package.__path__[0]).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Assert):
                    text = ast.unparse(node.test)
                    assert text.endswith("is not None") or text.startswith("isinstance("), f"{file}:{node.lineno}"


class _Starving:
    """Data whose worker processes fail as torch's and Python's do."""

    def __init__(self, error: Exception):
        self.error = error

    def batch(self, position: int):
        raise self.error


_OF_SHARED_MEMORY = [
    OSError(30, "Read-only file system"),
    OSError(28, "No space left on device"),
    OSError(38, "Function not implemented"),
    RuntimeError("unable to open shared memory object </torch_1_2> in read-write mode: Read-only file system (30)"),
    RuntimeError(
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers …"
    ),
]


@pytest.mark.parametrize("error", _OF_SHARED_MEMORY, ids=str)
def test_memory_that_cannot_be_shared_is_named(error, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StorageError, match="/dev/shm, where processes share memory, cannot be written: give it more"):
        draw_batch(_Starving(error), 0)
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda path: SimpleNamespace(free=3 << 20))
    with pytest.raises(StorageError, match="has 3 MiB left"):
        draw_batch(_Starving(error), 0)
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 40))
    with pytest.raises(type(error)):  # there is enough of it: something else is wrong
        draw_batch(_Starving(error), 0)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), OSError(30, "Read-only", "/data/x")], ids=str)
def test_other_errors_of_data_stay_what_they_are(error, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(type(error)) as caught:
        draw_batch(_Starving(error), 0)
    assert caught.value is error

"""What is installed, and what the light paths (help, listing runs, reading one) leave alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = {"cli": "optrun.cli", "configs": "optrun.configs", "experiments": "optrun.experiments"}


def folders_with_code() -> list[Path]:
    """Return the package folders on disk, relative to the root."""
    found = []
    for top in FOLDERS:
        for folder, names, files in os.walk(ROOT / top):
            names[:] = sorted(name for name in names if name != "__pycache__")
            if files:
                found.append(Path(folder).relative_to(ROOT))
    return found


def package_of(folder: Path) -> str:
    return ".".join((FOLDERS[folder.parts[0]], *folder.parts[1:]))


def modules_after(code: str, *arguments: str) -> set[str]:
    """Run `code` in a new interpreter, and return the names of the modules that are loaded at its end."""
    report = "import sys, json, atexit; atexit.register(lambda: sys.stderr.write(json.dumps(sorted(sys.modules))))"
    done = subprocess.run(
        [sys.executable, "-c", f"{report}\n{code}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def modules_of_command(*arguments: str) -> set[str]:
    return modules_after("from optrun.cli import main; main()", *arguments)


def a_run(root: Path) -> None:
    """Write the least that `runs` and `show` take for a finished run, without training one."""
    folder = root / "old-0001"
    folder.mkdir(parents=True)
    status = {"state": "done", "started": "2026-01-01T00:00:00.000000+00:00", "step": 3}
    summary = {
        "schema": "optrun/summary@1",
        "outcome": "done",
        "message": "",
        "steps": 3,
        "epochs": 1.0,
        "skipped": 0,
        "train_secs": 0.5,
        "metric": {"name": "val/accuracy", "mode": "max", "target": None},
        "final": {"val/accuracy": 0.5},
        "best": {"val/accuracy": 0.5, "step": 3},
        "target_reached": None,
        "curve": [0.1, 0.5],
        "config": {"seed": 0, "optimizer": {"name": "mom", "lr": 0.1}},
    }
    (folder / "status.json").write_text(json.dumps(status))
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "config.yaml").write_text("name: old\n")


def test_the_listed_packages_are_those_on_disk():
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == set(map(package_of, folders_with_code()))
    assert PROJECT["tool"]["setuptools"]["package-dir"] == {name: folder for folder, name in FOLDERS.items()}


def test_every_folder_has_an_init():
    """Without it, importlib.resources finds nothing in an editable install."""
    assert [path for path in folders_with_code() if not (ROOT / path / "__init__.py").is_file()] == []
    assert not (ROOT / "__init__.py").exists()


def test_every_data_file_is_packaged():
    """What is no code is listed by package and suffix; nothing that is not there is listed."""
    found: dict[str, set[str]] = {}
    for folder in folders_with_code():
        suffixes = {path.suffix for path in (ROOT / folder).iterdir() if path.is_file()} - {".py"}
        if suffixes:
            found[package_of(folder)] = {f"*{suffix}" for suffix in suffixes}
    listed = PROJECT["tool"]["setuptools"]["package-data"]
    assert {name: set(patterns) for name, patterns in listed.items()} == found


def test_presets_are_found_in_the_installed_package():
    from importlib import resources

    names = {file.name for file in resources.files("optrun.configs").iterdir()}
    assert {path.name for path in (ROOT / "configs").glob("*.yaml")} <= names


def test_the_locked_versions_are_in_the_stated_ranges():
    """Every requirement, extras included, has exactly one pin, and the pin satisfies it."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][0-9A-Za-z.]*)", line)
            assert match, f"a pin is name==version, without suffix, marker or address: {line}"
            assert canonicalize_name(match[1]) not in pins, f"{match[1]} is pinned twice"
            pins[canonicalize_name(match[1])] = match[2]
    extras = PROJECT["project"]["optional-dependencies"]
    stated = [*PROJECT["project"]["dependencies"], *(line for extra in extras.values() for line in extra)]
    for requirement in map(Requirement, stated):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} has no pin"
        assert requirement.specifier.contains(pin), f"{requirement} does not allow {pin}"


def test_every_import_of_the_code_is_a_stated_dependency():
    import ast

    imported = set()
    for top in FOLDERS:
        for path in (ROOT / top).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    imported.add(node.module.split(".")[0])
    # Names that differ between PyPI and Python, and the parts of pydantic and jinja2 that come with these.
    other = {
        "yaml": "pyyaml",
        "sklearn": "scikit-learn",
        "pydantic_core": "pydantic",
        "markupsafe": "jinja2",
        "PIL": "pillow",
    }
    outside = {other.get(name, name.replace("_", "-")) for name in imported - sys.stdlib_module_names}
    stated = {re.split(r"[<>=\[ ]", line)[0] for line in PROJECT["project"]["dependencies"]}
    assert outside <= stated, f"imported but not stated: {sorted(outside - stated)}"


def test_the_version_is_stated_once():
    done = subprocess.run(
        [sys.executable, "-m", "optrun.cli", "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == f"optrun, version {PROJECT['project']['version']}\n"
    assert metadata.version("optrun") == PROJECT["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (Unreleased|\d+\.\d+\.\d+)", changelog, re.MULTILINE)


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["runs", "--help"]], ids=" ".join)
def test_help_loads_neither_torch_nor_anything_else_heavy(arguments):
    loaded = modules_of_command(*arguments)
    heavy = {"torch", "numpy", "rich", "pydantic", "yaml", "safetensors", "sklearn", "matplotlib", "importlib.metadata"}
    assert "click" in loaded
    assert loaded & heavy == set()


def test_version_loads_no_torch():
    assert "torch" not in modules_of_command("--version")


@pytest.mark.parametrize("arguments", [["runs"], ["runs", "--json"], ["show", "old-0001"], ["show", "@1", "--json"]])
def test_reading_runs_loads_no_torch(arguments):
    a_run(Path("runs"))
    assert "torch" not in modules_of_command(*arguments)


def test_the_library_hands_its_names_on_late():
    loaded = modules_after("import optrun.experiments; dir(optrun.experiments)")
    assert loaded & {"torch", "numpy", "pydantic", "click", "rich"} == set()


def test_reading_a_run_from_python_loads_no_torch():
    a_run(Path("runs"))
    code = "from optrun.experiments import Run; assert Run('runs/old-0001').summary['steps'] == 3"
    assert "torch" not in modules_after(code)


def test_the_check_for_loaded_modules_sees_torch():
    assert "torch" in modules_after("from optrun.experiments import build_train_op")

"""The floors of the code: import-linter's contracts in pyproject.toml hold, and would notice if they did not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter")

ROOT = Path(__file__).parents[2]


def lint(config: Path) -> subprocess.CompletedProcess[str]:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--config", str(config), "--no-cache", "--no-logo"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=config.parent, timeout=300)


def test_contracts_hold():
    done = lint(ROOT / "pyproject.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", done.stdout)


def changed(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    """Write a copy of the settings with each text replaced by another."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for before, after in changes:
        assert text.count(before) == 1, f"once in pyproject.toml: {before!r}"
        text = text.replace(before, after)
    path = tmp_path / "pyproject.toml"
    path.write_text(text, encoding="utf-8")
    return path


LAST_FLOOR = '    "errors",\n]'
FIRST_FLOOR = '    "comparison | studies",\n'


def test_an_import_from_a_higher_floor_would_be_found(tmp_path):
    done = lint(changed(tmp_path, (LAST_FLOOR, "]"), (FIRST_FLOOR, f'    "errors",\n{FIRST_FLOOR}')))
    assert done.returncode == 1
    assert "optrun.experiments.training is not allowed to import optrun.experiments.errors" in done.stdout


def test_a_module_without_a_floor_would_be_found(tmp_path):
    done = lint(changed(tmp_path, (LAST_FLOOR, "]")))
    assert done.returncode == 1
    assert "not listed as layers:\n\n- optrun.experiments.errors\n" in done.stdout


def test_a_terminal_library_in_the_library_would_be_found(tmp_path):
    done = lint(changed(tmp_path, ('forbidden_modules = ["click", "rich"]', 'forbidden_modules = ["torch"]')))
    assert done.returncode == 1
    assert "The library draws nothing on a terminal BROKEN" in done.stdout

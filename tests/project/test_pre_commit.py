"""What runs before a commit is what the check of everything runs, and stops what that would stop."""

from __future__ import annotations

import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONFIG = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
HOOKS = {hook["id"]: hook for repository in CONFIG["repos"] for hook in repository["hooks"]}


def run(hook: str, file: Path) -> int:
    """Run a hook as pre-commit would, on one file, with the program of this environment."""
    program, *arguments = shlex.split(HOOKS[hook]["entry"])
    found = Path(sysconfig.get_path("scripts")) / program
    if not found.exists():
        pytest.skip(f"{program} is not installed beside {sys.executable}")
    return subprocess.run([found, *arguments, "--quiet", file], check=False, timeout=60).returncode


def test_hooks_come_from_the_environment_alone():
    assert [repository["repo"] for repository in CONFIG["repos"]] == ["local"]
    assert {hook["language"] for hook in HOOKS.values()} == {"system"}


def test_hooks_are_steps_of_the_check_of_everything():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    for hook in HOOKS.values():
        command = hook["entry"].removesuffix(" --force-exclude")
        assert any(line.startswith(command) for line in script), command


def test_an_unused_import_is_refused_and_a_layout_is_repaired(tmp_path):
    file = tmp_path / "bad.py"
    file.write_text("import os\n\nx = [1 ,2]\n")
    assert run("ruff-check", file) == 1
    assert run("ruff-format", file) == 0
    assert file.read_text() == "import os\n\nx = [1, 2]\n"

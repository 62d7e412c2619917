from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch

from optrun.experiments.system import commit as asking
from optrun.experiments.system import environment
from optrun.experiments.system.environment import changes_that_matter, describe_environment

CPU = torch.device("cpu")


def git(*args):
    identity = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    return subprocess.run(
        ["git", *args], check=True, capture_output=True, text=True, env={**os.environ, **identity}
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Make the working folder a repository with one commit, and return its hash."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "first")
    return git("rev-parse", "HEAD")


def commit():
    return describe_environment(CPU, 1)["commit"]


def test_what_is_recorded():
    facts = describe_environment(CPU, 3, precision="bf16", code={"net.py": "0"})
    assert facts["torch"] == torch.__version__
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert re.match(r"\d+\.\d+", facts["optrun"])
    assert (facts["device"], facts["threads"], facts["precision"]) == ("cpu", 3, "bf16")
    assert facts["code"] == {"net.py": "0"}
    assert facts["command"] == sys.argv
    assert json.loads(json.dumps(facts)) == facts, "it goes into env.json"


def test_a_package_that_is_not_installed_has_no_version():
    assert environment._version("no-such-package-here") is None


def test_a_clean_repository(repository):
    assert commit() == repository
    assert len(repository) == 40


def test_a_repository_with_changes(repository, tmp_path):
    (tmp_path / "file").write_text("2")
    assert commit() == f"{repository}+"
    git("add", "file")
    assert commit() == f"{repository}+"


def test_files_that_nobody_added_are_no_changes(repository, tmp_path):
    (tmp_path / "runs").write_text("output")
    assert commit() == repository


def test_a_folder_inside_a_repository(repository, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("2")
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    assert commit() == f"{repository}+"


def test_outside_a_repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit() is None


def test_before_the_first_commit():
    git("init", "-q")
    assert commit() is None


def test_where_changes_cannot_be_told(repository, monkeypatch):
    """Inside the folder `.git` there is a commit, but no working tree to compare with."""
    monkeypatch.chdir(".git")
    assert commit() is None


def test_without_git(repository, monkeypatch, tmp_path):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert commit() is None


def test_a_git_that_takes_too_long(repository, monkeypatch):
    def hang(*args, timeout, **options):
        assert timeout <= 5
        raise subprocess.TimeoutExpired("git", timeout)

    monkeypatch.setattr(asking.subprocess, "run", hang)
    assert commit() is None


def test_asking_changes_nothing_in_the_repository(repository, tmp_path):
    os.utime(tmp_path / "file", (1, 1))  # so that a plain `git status` would refresh the index
    index = (tmp_path / ".git" / "index").read_bytes()
    assert commit() == repository
    assert (tmp_path / ".git" / "index").read_bytes() == index


#: Keys of a repository's configuration that name a program; `MARK` leaves a file where it is run.
PROGRAMS = {
    "core.fsmonitor": "MARK", "core.hooksPath": "hooks", "core.pager": "MARK", "core.editor": "MARK",
    "core.sshCommand": "MARK", "core.gitProxy": "MARK", "core.askPass": "MARK", "core.alternateRefsCommand": "MARK",
    "diff.external": "MARK", "diff.d.textconv": "MARK", "diff.d.command": "MARK", "merge.m.driver": "MARK",
    "filter.f.clean": "MARK", "filter.f.smudge": "MARK", "filter.f.process": "MARK", "pager.status": "MARK",
    "credential.helper": "!MARK", "gpg.program": "MARK", "alias.status": "!MARK", "alias.rev-parse": "!MARK",
    "include.path": "included", "includeIf.gitdir:/.path": "included", "uploadpack.packObjectsHook": "MARK",
    "remote.origin.uploadpack": "MARK", "sequence.editor": "MARK", "interactive.diffFilter": "MARK",
    "status.submoduleSummary": "true", "submodule.s.update": "!MARK", "safe.directory": "*", "core.worktree": "/",
}  # fmt: skip


@pytest.fixture
def hostile(repository, tmp_path):
    """Put a program behind every key, every hook and a file's attributes; return what it leaves, where it is run."""
    mark, program = tmp_path / "was-run", tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    program.chmod(0o755)
    (tmp_path / ".git/hooks").mkdir(exist_ok=True)
    for hook in ("post-index-change", "pre-commit", "fsmonitor-watchman", "post-checkout", "reference-transaction"):
        shutil.copy(program, tmp_path / ".git/hooks" / hook)
    (tmp_path / ".git/included").write_text(f"[core]\n\tfsmonitor = {program}\n")
    for place in (".gitattributes", ".git/info/attributes"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text("* filter=f diff=d merge=m\n")
    return mark, program


@pytest.mark.parametrize("key", ["hooks alone", *PROGRAMS, "all of them"])
def test_no_program_that_a_repository_names_is_run(repository, hostile, tmp_path, key):
    mark, program = hostile
    for name, value in PROGRAMS.items() if key == "all of them" else [(key, PROGRAMS.get(key, ""))]:
        if name in PROGRAMS:
            git("config", name, value.replace("MARK", str(program)).replace("hooks", str(tmp_path / ".git/hooks")))
    mark.unlink(missing_ok=True)
    assert commit() == repository
    os.utime(tmp_path / "file", (1, 1))
    assert commit() == repository
    (tmp_path / "file").write_text("2")
    assert commit() == f"{repository}+"
    assert not mark.exists()


@pytest.mark.parametrize("key", ["core.fsmonitor", "filter.f.clean", "include.path"])
def test_git_itself_runs_them(repository, hostile, tmp_path, key):
    """The test above can fail."""
    mark, program = hostile
    git("config", key, PROGRAMS[key].replace("MARK", str(program)))
    (tmp_path / "file").write_text("3")
    git("status", "--porcelain", "--untracked-files=no")
    assert mark.exists()


def test_repositories_of_all_forms(repository, tmp_path, monkeypatch):
    git("pack-refs", "--all")
    git("gc", "-q")
    assert commit() == repository
    git("config", "core.fileMode", "false")
    (tmp_path / "file").chmod(0o755)
    assert commit() == repository, "how files are compared is the repository's own affair"
    git("worktree", "add", "-q", "-b", "other", "../tree")
    monkeypatch.chdir("../tree")
    assert commit() == repository
    (tmp_path.parent / "tree/file").write_text("2")
    assert commit() == f"{repository}+"
    git("commit", "-q", "-a", "-m", "second")
    assert commit() == git("rev-parse", "HEAD") != repository
    git("checkout", "-q", "--detach", repository)
    assert commit() == repository


@pytest.mark.parametrize(
    "head", ["ref: ../../secret", "ref: refs/../../secret", "ref: refs/heads/none", "", "nonsense"]
)
def test_a_head_that_is_none(repository, tmp_path, head):
    (tmp_path / "secret").write_text("0" * 40)
    (tmp_path / ".git/HEAD").write_text(head)
    assert commit() is None


BEFORE = {
    "torch": "2.7", "cpu": "AVX2", "device": "cpu", "device_name": "x86_64", "threads": 2, "precision": "fp32",
    "commit": "a", "python": "3.11.7", "command": ["optrun"], "optrun": "0.1.0",
    "numerics": 1, "numpy": "2.0.0", "cpu_model": "A", "switches": {"MKL_CBWR": "AVX2", "cudnn.benchmark": True},
    "given": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"commit": "b", "python": "3.11.9", "command": [], "optrun": "0.2.0", "more": 1}, []),
        ({"threads": 1}, ["threads 2 -> 1"]),
        ({"torch": "2.8"}, ["torch 2.7 -> 2.8"]),
        ({"cpu": "AVX512"}, ["cpu AVX2 -> AVX512"]),
        ({"precision": "bf16"}, ["precision fp32 -> bf16"]),
        ({"device": "cuda:0", "device_name": "H200"}, ["device cpu -> cuda:0", "device_name x86_64 -> H200"]),
        ({"threads": None}, ["threads 2 -> None"]),
        ({"python": "3.12.0"}, ["python 3.11 -> 3.12"]),
        (
            {"numerics": 2, "numpy": "2.1.0", "cpu_model": "B"},
            ["numerics 1 -> 2", "numpy 2.0.0 -> 2.1.0", "cpu_model A -> B"],
        ),
        ({"switches": {}}, ["cudnn.benchmark on -> off", "MKL_CBWR AVX2 -> unset"]),
        (
            {"switches": {"MKL_CBWR": "AVX2", "cudnn.benchmark": True, "default dtype": "float64"}},
            ["default dtype float32 -> float64"],
        ),
        ({"given": {"default dtype": "float64"}}, []),  # what the run began with is a comparison's question
    ],
)
def test_changes_that_matter(change, expected):
    assert changes_that_matter(BEFORE, {**BEFORE, **change}) == expected


def test_what_was_not_recorded_cannot_have_changed():
    assert changes_that_matter({}, BEFORE) == []
    older = {key: BEFORE[key] for key in ("torch", "cpu", "device", "device_name", "threads", "precision")}
    assert changes_that_matter(older, {**BEFORE, "switches": {"nnpack": False}, "numpy": "9"}) == []
    assert changes_that_matter(BEFORE, {}) != []

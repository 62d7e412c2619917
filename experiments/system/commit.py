"""The commit of the user's working folder, without anything that the repository could have executed.

A repository's configuration can name programs that git runs when it is only asked for its state (`core.fsmonitor`,
filters, …), and whoever made the repository wrote that. So git is shown the repository's objects and index through an
administrative folder of our own, which has neither its configuration, nor its hooks, nor its attributes' drivers.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)
_REF = re.compile(r"refs/[\w./+@-]+", re.ASCII)
#: What may be taken over from the configuration, since it is a plain value that says how files are compared.
_COPIED = re.compile(r"core\.(?:filemode|autocrlf|eol|symlinks|ignorecase|safecrlf|precomposeunicode)", re.ASCII)
_VALUE = re.compile(r"true|false|input|warn|lf|crlf|native", re.ASCII)
_TIMEOUT_SECS = 2.0


def commit_of(folder: Path) -> str | None:
    """Return the commit of a folder, with `+` when the repository has changes; None outside a repository.

    None also where there is no git, no commit yet, no working tree, a repository too large to ask, or a form of
    repository that is not known here.
    """
    try:
        found = _repository(folder)
        if found is None:
            return None
        root, private, common = found
        head = _head(private, common)
        changes = None if head is None else _changes(head, root, private, common)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    if changes is None:
        return None
    return f"{head}+" if changes else head


def _repository(folder: Path) -> tuple[Path, Path, Path] | None:
    """Return the working tree around a folder, its administrative folder, and that which worktrees share."""
    for root in (folder.resolve(), *folder.resolve().parents):
        place = root / ".git"
        if folder.resolve().is_relative_to(place):
            return None
        if place.is_file():  # of a worktree or a submodule
            private = root / place.read_text().removeprefix("gitdir:").strip()
        elif place.is_dir():
            private = place
        else:
            continue
        shared = private / "commondir"
        common = private / shared.read_text().strip() if shared.is_file() else private
        return root, private.resolve(), common.resolve()
    return None


def _head(private: Path, common: Path) -> str | None:
    text = (private / "HEAD").read_text().strip()
    for _ in range(5):
        if not text.startswith("ref:"):
            return text if _SHA.fullmatch(text) else None
        name = text.removeprefix("ref:").strip()
        if not _REF.fullmatch(name) or ".." in name:
            return None
        loose = next((folder / name for folder in (private, common) if (folder / name).is_file()), None)
        text = loose.read_text().strip() if loose is not None else _packed(common, name)
    return None


def _packed(common: Path, name: str) -> str:
    file = common / "packed-refs"
    lines = file.read_text().splitlines() if file.is_file() else []
    return next((line.partition(" ")[0] for line in lines if line.partition(" ")[2] == name), "")


def _changes(head: str, root: Path, private: Path, common: Path) -> str | None:
    """Return what differs from the commit, as git lists it; None where git cannot say."""
    with tempfile.TemporaryDirectory(prefix="optrun-git-") as folder:
        own = Path(folder)
        (own / "refs").mkdir()
        (own / "HEAD").write_text(f"{head}\n")
        (own / "index").symlink_to(private / "index")
        for shared in private.glob("sharedindex.*"):
            (own / shared.name).symlink_to(shared)
        kind = "" if len(head) == 40 else "\tobjectformat = sha256\n"
        (own / "config").write_text(
            f"[core]\n\trepositoryformatversion = {1 if kind else 0}\n\tbare = false\n{_comparison(common / 'config')}"
            + (f"[extensions]\n{kind}" if kind else "")
        )
        around = {"GIT_DIR": folder, "GIT_WORK_TREE": str(root), "GIT_OBJECT_DIRECTORY": str(common / "objects")}
        asked = ("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty")
        return _git(*asked, folder=root, **around)


def _comparison(config: Path) -> str:
    """Return lines of a configuration that say how files are compared; nothing is included, nothing is executed."""
    listed = _git("config", "--file", str(config), "--no-includes", "--list", folder=config.parent) or ""
    pairs = [line.partition("=")[::2] for line in listed.splitlines()]
    kept = [(key, value) for key, value in pairs if _COPIED.fullmatch(key) and _VALUE.fullmatch(value)]
    return "".join(f"\t{key.partition('.')[2]} = {value}\n" for key, value in kept)


def _git(*args: str, folder: Path, **variables: str) -> str | None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    off = {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(
        ["git", *args],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_TIMEOUT_SECS,
        cwd=folder,
        env={**kept, **off, **variables},
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else None

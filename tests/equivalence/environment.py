"""An environment in which an older revision of this repository is installed, without a network or a package index."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]


def make_environment(revision: str, folder: Path) -> Path:
    """Check a revision out into `folder/tree`, make `folder/venv` around it, and return its Python.

    All other packages are those of the environment that this program runs in. The files are a copy made by
    `git archive`: unlike a worktree, it leaves nothing behind in the repository when this program is killed.

    Args:
        revision: a commit, as git names it.
        folder: made anew.

    Raises:
        SystemExit: git does not know the revision.
    """
    if folder.exists():
        shutil.rmtree(folder)
    tree, place = folder / "tree", folder / "venv"
    _check_out(revision, tree)
    venv.create(place, with_pip=False, symlinks=True)
    variables = {"base": str(place), "platbase": str(place)}
    packages = Path(sysconfig.get_path("purelib", "venv", variables))
    _install(tree, packages)
    others = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "packages_of_the_caller.pth").write_text(f"import sys; sys.path.extend({others!r})\n")
    return Path(sysconfig.get_path("scripts", "venv", variables)) / "python"


def _check_out(revision: str, tree: Path) -> None:
    archive = subprocess.run(
        ["git", "-C", str(_REPOSITORY), "archive", "--format=tar", revision], capture_output=True, check=False
    )
    if archive.returncode:
        sys.exit(f"git archive {revision}: {archive.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(tree, filter="data")


def _install(tree: Path, packages: Path) -> None:
    """Do what an editable install does: link the folders of the tree, and say name and version."""
    project = tomllib.loads((tree / "pyproject.toml").read_text())
    for name, source in project["tool"]["setuptools"]["package-dir"].items():
        link = packages.joinpath(*name.split("."))
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tree / source, target_is_directory=True)
    name, version = project["project"]["name"], project["project"]["version"]
    facts = packages / f"{name}-{version}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

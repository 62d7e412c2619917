"""The fragments of the changelog parse, each becomes an item of the next release, and what was released stays."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETTINGS = PROJECT["tool"]["towncrier"]
FRAGMENTS = sorted(path for path in (ROOT / SETTINGS["directory"]).iterdir() if path.name != "README.md")


def released(text: str) -> list[str]:
    return re.findall(r"^## (\d+\.\d+\.\d+)", text, re.MULTILINE)


@pytest.fixture
def release(tmp_path):
    """Return a function that releases version 9.9.9 in a copy, and returns the changelog or what is wrong."""
    pytest.importorskip("towncrier")
    for name in ("pyproject.toml", SETTINGS["filename"]):
        shutil.copy(ROOT / name, tmp_path)
    folder = shutil.copytree(ROOT / SETTINGS["directory"], tmp_path / SETTINGS["directory"])

    def build(**more: str) -> str:
        for name, text in more.items():
            (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "towncrier", "build", "--keep", "--version", "9.9.9", "--date", "2026-01-31"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        return (tmp_path / SETTINGS["filename"]).read_text(encoding="utf-8") if not done.returncode else done.stderr

    return build


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=lambda path: path.name)
def test_a_fragment_has_a_kind_and_a_text_that_fits(fragment):
    kinds = "|".join(SETTINGS["fragment"])
    assert re.fullmatch(rf"\+[a-z0-9]+(-[a-z0-9]+)*\.({kinds})\.md", fragment.name), "see docs/changes/README.md"
    text = fragment.read_text(encoding="utf-8")
    assert text[:1].isupper() or text[:1] == "`"
    assert text.endswith(".\n")
    assert max(map(len, text.splitlines())) <= 118


def test_a_release_has_every_fragment_and_leaves_the_older_sections_alone(release):
    before = (ROOT / SETTINGS["filename"]).read_text(encoding="utf-8")
    after = release()
    assert released(after) == ["9.9.9", *released(before)]
    first = before.index("\n## ")
    assert after.startswith(before[:first])
    assert after.endswith(before[first:])
    section = after[first : len(after) - len(before[first:])]
    items = [" ".join(item.split()) for item in re.split(r"^- |^#+ .*$", section, flags=re.MULTILINE)]
    for fragment in FRAGMENTS:
        assert " ".join(fragment.read_text(encoding="utf-8").split()) in items, fragment.name


def test_a_release_refuses_a_file_that_is_no_fragment(release):
    assert "improved.md" in release(**{"+faster_improved_md": "Steps are faster.\n"})


def test_the_page_of_the_fragments_has_every_kind():
    page = (ROOT / SETTINGS["directory"] / "README.md").read_text(encoding="utf-8")
    named = re.search(r"KIND is (.*?)\. ", page, re.DOTALL)
    assert named is not None
    assert re.findall(r"`(\w+)`", named[1]) == list(SETTINGS["fragment"])


def test_the_newest_section_is_the_version_of_the_package():
    versions = released((ROOT / SETTINGS["filename"]).read_text(encoding="utf-8"))
    assert versions[0] == PROJECT["project"]["version"]

"""A working directory of one's own, and `load`, which reads a config in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from optrun.experiments import config
from optrun.experiments.registry import Registry

from .small_registries import make_registries


@pytest.fixture(scope="session")
def registries() -> dict[str, Registry]:
    return make_registries()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with an empty folder of presets beside it."""
    (tmp_path / "presets").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def load(folder: Path, registries: dict[str, Registry]) -> Callable[..., config.Config]:
    """`load(text)` or `load(target)`: from a file with that text, or by name."""

    def load(target: Any, *overrides: str, **options: Any) -> config.Config:
        if isinstance(target, str) and "\n" in target:
            (folder / "test.yaml").write_text(target, encoding="utf-8")
            target = "test.yaml"
        return config.load(target, overrides, registries=registries, presets=folder.parent / "presets", **options)

    return load

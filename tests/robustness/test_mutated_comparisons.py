"""Comparison files that are wrong in every way: refused at their place before any run, or planned; nothing else."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from optrun.cli.app import run

TINY = """\
data: {name: iris, batch_size: 32}
model: logistic
loss: cross_entropy
metrics: [accuracy]
optimizer: {name: sgd, lr: 0.1}
train: {epochs: 3}
"""
GOOD = {
    "base": "tiny.yaml",
    "entries": "{plain: {}, heavy: mom}",
    "seeds": "2",
    "first_seed": "5",
    "tune": "3",
    "metric": "test/accuracy",
    "target": "0.9",
    "baseline": "plain",
    "margin": "0.01",
    "alpha": "0.05",
    "gate": "heavy not worse than plain",
    "across_problems": "false",
}
VALUES = [
    *[
        "null",
        "true",
        "false",
        "yes",
        "''",
        "0",
        "1",
        "3",
        "-1",
        "2.5",
        "0.5",
        "0.05",
        "1e-3",
        "1e400",
        ".inf",
        "-.inf",
    ],
    *[
        ".nan",
        "1%",
        '"3"',
        "two",
        "plain",
        "heavy",
        "mom",
        "tiny",
        "tiny.yaml",
        "./none.yaml",
        "../x",
        "run:none",
        "a:b",
    ],
    *["[]", "[1]", "[plain]", "[heavy better than plain]", "{}", "{a: 1}", "99999999999999999999", "test/acuracy"],
    *["heavy better than plain", "heavy beter than plain", "nobody better than plain", "plain.test/accuracy >= high"],
]


def number(low: float, high: float = float("inf"), whole: bool = False) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        return is_number and low <= value < high

    return holds


_PLACE = re.compile(r"(sub/(study|tiny)\.yaml|preset:[a-z]+):\d+:\d+: |^error: .*seeds", re.M)

#: What is right, where a rule of one line says so; the others are looked at for their exit code and place alone.
RIGHT: dict[str, Callable[[Any], bool]] = {
    "seeds": number(1, 900, whole=True),
    "first_seed": number(0, 1 << 62, whole=True),
    "tune": lambda value: value is False or number(0, 1, True)(value) or number(3, 1001, True)(value),
    "target": number(-1e300, 1e300),
    "baseline": lambda value: value in ("plain", "heavy"),
    "margin": number(0, 1e300),
    "alpha": lambda value: number(0, 0.5)(value) and value > 0,
    "across_problems": lambda value: isinstance(value, bool),
}
ENTRIES = [
    *["{plain: {}, heavy: VALUE}", "{plain: {}, heavy: {optimizer: VALUE}}", "{plain: {}, heavy: {extends: VALUE}}"],
    *["{plain: {}, VALUE: mom}", "{plain: {}, heavy: {optimizer: {name: mom, lr: VALUE}}}"],
    *["{plain: {}, heavy: {VALUE: 1}}", "{plain: {}, heavy: {train: VALUE}}", "{plain: {}, heavy: {seed: VALUE}}"],
]


def mutants() -> Iterator[tuple[str, str, str]]:
    """Yield the key, the value and the text of each mutant."""
    for key in GOOD:
        for value in VALUES:
            yield key, value, "".join(f"{name}: {value if name == key else good}\n" for name, good in GOOD.items())
    for form in ENTRIES:
        for value in VALUES:
            changed = {**GOOD, "entries": form.replace("VALUE", value)}
            yield "entries", value, "".join(f"{name}: {good}\n" for name, good in changed.items())
    for key in GOOD:  # a key that nobody knows, near to one that is known
        yield "unknown", key, "".join(f"{name + 's' if name == key else name}: {good}\n" for name, good in GOOD.items())


def check(tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, value: str, text: str) -> int:
    from optrun.experiments.config.scalars import resolve

    (tmp_path / "sub" / "study.yaml").write_text(text)
    capsys.readouterr()
    code = run(["compare", "sub/study.yaml", "--no-train", "-q", "-j", "1"])
    said = capsys.readouterr().err
    assert code in (2, 5), f"{code} for {key}: {value}\n{text}\n{said}"
    assert "Traceback" not in said
    assert not list(tmp_path.glob("runs/*/*/config.yaml"))
    if code == 2:
        assert _PLACE.search(said), f"{key}: {value}\n{said}"
    if key in RIGHT and value[0] not in "[{'\"" and value != "null":
        assert (code == 5) == RIGHT[key](resolve(value)), f"{code} for {key}: {value}\n{said}"
    if key == "unknown":
        assert code == 2
    return code


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPTRUN_RUNS_DIR", raising=False)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "tiny.yaml").write_text(TINY)
    return tmp_path


def test_the_file_that_mutants_are_made_of_is_good(folder, capsys):
    assert check(folder, capsys, "seeds", "2", "".join(f"{key}: {value}\n" for key, value in GOOD.items())) == 5


@pytest.mark.sample
def test_some_mutants_are_refused_or_planned(folder, capsys):
    for key, value, text in list(mutants())[::9]:
        check(folder, capsys, key, value, text)


@pytest.mark.slow
def test_mutants_are_refused_or_planned(folder, capsys):
    codes = [check(folder, capsys, *mutant) for mutant in mutants()]
    sys.stdout.write(f"\n{len(codes)} mutated comparison files: {codes.count(2)} refused, {codes.count(5)} planned\n")
    assert codes.count(2) > 400

"""Where each value comes from, and what it replaced."""

from __future__ import annotations

import json
import textwrap

import pytest

from optrun.experiments.config import ConfigError, origins_text

from .small_registries import BASE


@pytest.fixture
def layered(load, folder):
    """A config in three layers: a preset, a file that extends it, and an override."""
    (folder.parent / "presets" / "digits.yaml").write_text(BASE)
    (folder / "configs").mkdir()
    text = """\
    extends: digits
    optimizer:
      lr: 0.2
      betas: [0.5, 0.6]
      name: adam
    hooks: [grad_norm, {name: snapshot, path: here}]
    schedule: cosine
    seed: 1
    """
    (folder / "configs" / "mom.yaml").write_text(textwrap.dedent(text))
    return load("mom", "optimizer.lr=0.4", "seed=2", "hooks.0.every=3")


@pytest.mark.parametrize(
    ("path", "file", "line", "column"),
    [
        ("data.name", "preset:digits", 1, 7),
        ("train.epochs", "preset:digits", 6, 17),
        ("optimizer.name", "configs/mom.yaml", 5, 9),
        ("optimizer.betas", "configs/mom.yaml", 4, 10),
        ("optimizer.betas.1", "configs/mom.yaml", 4, 16),
        ("optimizer.lr", "command line", None, 14),
        ("optimizer.eps", "default", None, None),
        ("hooks.0.every", "command line", None, 15),
        ("hooks.1.path", "configs/mom.yaml", 6, 43),
        ("schedule.name", "configs/mom.yaml", 7, 11),
        ("model.name", "preset:digits", 2, 8),
        ("model.hidden", "default", None, None),
        ("name", "default", None, None),
        ("eval.every", "default", None, None),
    ],
)
def test_places(layered, path, file, line, column):
    origin = layered.origins[path]
    assert (origin.file, origin.line, origin.column) == (file, line, column)


def test_what_was_replaced(layered):
    was = layered.origins["seed"].was
    assert (was.file, was.line, was.text) == ("configs/mom.yaml", 8, "1")
    lr = layered.origins["optimizer.lr"]
    assert lr.was.text == "0.2"  # the preset's 0.1 went away with its optimizer


def test_via(layered):
    assert layered.origins["train.epochs"].via == "configs/mom.yaml"
    assert layered.origins["optimizer.name"].via is None


def test_text(layered):
    lines = origins_text(layered).splitlines()
    for line in [
        "name: mom   # default",
        "seed: 2   # command line (was 1, configs/mom.yaml:8)",
        "data.name: digits   # preset:digits:1 (via extends of configs/mom.yaml)",
        "optimizer.lr: 0.4   # command line (was 0.2, configs/mom.yaml:3)",
        "optimizer.betas: [0.5, 0.6]   # configs/mom.yaml:4",
        "optimizer.eps: 1e-08   # default",
        "hooks.0.every: 3 steps   # command line",
        "hooks.1.path: here   # configs/mom.yaml:6",
        "metrics.0.name: accuracy   # preset:digits:4 (via extends of configs/mom.yaml)",
    ]:
        assert line in lines


def test_every_value_has_a_line_and_an_origin(layered):
    def leaves(value, path=""):
        if isinstance(value, dict):
            for key, item in value.items():
                yield from leaves(item, f"{path}.{key}".lstrip("."))
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            yield from leaves({str(i): item for i, item in enumerate(value)}, path)
        else:
            yield path

    paths = list(leaves(layered.to_dict()))
    assert [line.partition(": ")[0] for line in origins_text(layered).splitlines()] == paths
    assert all(path in layered.origins for path in paths)


def test_origins_are_json(layered):
    text = json.dumps({path: origin.as_dict() for path, origin in layered.origins.items()})
    assert json.loads(text)["optimizer.lr"]["was"]["file"] == "configs/mom.yaml"


@pytest.mark.parametrize(
    ("path", "file", "line", "column"),
    [
        ("optimizer.betas", "configs/mom.yaml", 4, 10),
        ("optimizer.betas.0", "configs/mom.yaml", 4, 11),
        ("optimizer.lr", "command line", None, 14),
        ("model.hidden", "preset:digits", 2, 8),
        ("model", "preset:digits", 2, 8),
        ("hooks.1.every", "configs/mom.yaml", 6, 20),
        ("eval.every", "configs/mom.yaml", 1, 1),
        ("nothing.like.it", "configs/mom.yaml", 1, 1),
        ("", "configs/mom.yaml", 1, 1),
    ],
)
def test_later_problems_are_placed_at_the_nearest_key(layered, path, file, line, column):
    error = layered.problem(path, "does not fit", hint="try another")
    (problem,) = error.problems
    assert isinstance(error, ConfigError)
    assert error.exit_code == 2
    assert (problem.file, problem.line, problem.column, problem.key) == (file, line, column, path)


def test_a_null_is_where_its_default_comes_from(load):
    config = load(BASE + "seed: null\neval: {target: ~}\n")
    assert config.origins["seed"].line == 7
    assert config.origins["eval.target"].line == 8

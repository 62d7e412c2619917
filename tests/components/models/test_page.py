"""docs/models.md: every component is there, and what it says is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from optrun.experiments import config
from optrun.experiments.components.models import make_model
from optrun.experiments.components.registries import REGISTRIES

PAGE = (Path(__file__).parents[3] / "docs" / "models.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")]
BASE = {"data": "digits", "model": "mlp", "loss": "cross_entropy", "optimizer": "sgd", "train": {"epochs": 1}}


def rows_of(kind: str) -> dict[str, list[str]]:
    width = {"model": 5, "loss": 4, "metric": 5}[kind]
    names = REGISTRIES[kind].names()
    found = [row for row in ROWS if len(row) == width and row[0].strip("`") in names]
    return {row[0].strip("`"): row for row in found if (row[2] in ("max", "min")) == (kind == "metric")}


def is_function(name: str) -> bool:
    return REGISTRIES["model"].get(name).facts.get("task") == "none"


@pytest.mark.parametrize("kind", ["model", "loss", "metric"])
def test_every_component_has_its_row(kind: str) -> None:
    expected = [name for name in REGISTRIES[kind].names() if kind != "model" or not is_function(name)]
    rows = rows_of(kind)
    assert sorted(rows) == expected
    for name, row in rows.items():
        facts = REGISTRIES[kind].get(name).facts
        if kind != "model":
            assert row[1] == ("any" if facts.get("takes_any") else facts["task"])
        if kind == "metric":
            assert (row[2], float(row[3])) == (facts["mode"], facts["margin"])


@pytest.mark.parametrize("name", rows_of("model"))
def test_the_number_of_parameters_is_that_of_the_defaults(name: str) -> None:
    filled: dict[str, Any] = {"input_shape": (1, 8, 8), "num_outputs": 64 if name == "autoencoder" else 10}
    if REGISTRIES["model"].get(name).facts.get("task") == "tokens":
        filled = {"input_shape": (128,), "num_outputs": 256}
    with torch.device("meta"):
        model = make_model(name, **filled)
    assert rows_of("model")[name][1] == f"{sum(parameter.numel() for parameter in model.parameters()):,}"


@pytest.mark.parametrize("line", re.findall(r"`((?:model|loss): [^`]+)`", PAGE))
def test_each_yaml_line_loads(line: str, tmp_path: Path) -> None:
    rest = {key: value for key, value in BASE.items() if key != line.partition(":")[0]}
    (tmp_path / "line.yaml").write_text("\n".join([line, *(f"{key}: {value}" for key, value in rest.items())]))
    config.load(tmp_path / "line.yaml", registries=REGISTRIES, presets=tmp_path)


def test_the_example_loads(tmp_path: Path) -> None:
    (example,) = (text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "model:" in text)
    (tmp_path / "example.yaml").write_text(example)
    assert config.load(tmp_path / "example.yaml", registries=REGISTRIES, presets=tmp_path).loss.name == "next_token"

"""The page of the architecture: what it names is there, and the rooms are those that the contract holds."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_every_place_that_the_page_names_is_there():
    places = re.findall(r"\b(?:cli|experiments|tests)/[\w/]*(?:\.py)?", PAGE)
    assert len(set(places)) > 30
    assert [place for place in sorted(set(places)) if not (ROOT / place).exists()] == []


def test_the_rooms_are_those_of_the_contract_and_in_its_order():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = (contract["layers"] for contract in contracts if contract["id"] == "rooms")
    floors = [row.split("|")[2] for row in PAGE.splitlines() if re.match(r"\| \d \|", row)][1:]
    named = [re.findall(r"`experiments/(\w+?)(?:\.py|/)`", floor) for floor in floors]
    assert [set(rooms) for rooms in named] == [set(layer.split(" | ")) for layer in layers]


def test_tests_that_other_documents_name_are_there():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"\btests/[\w/]+\.py", page.read_text(encoding="utf-8"))}
    assert len(named) > 5
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []

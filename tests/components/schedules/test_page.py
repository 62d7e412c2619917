"""docs/schedules.md has every schedule, with the formula of its docstring and YAML that loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from optrun.experiments import load_config
from optrun.experiments.components.schedules import registry

PAGE = (Path(__file__).parents[3] / "docs" / "schedules.md").read_text(encoding="utf-8")
SECTIONS = {
    part.partition("\n")[0]: re.split(r"^## ", part, flags=re.MULTILINE)[0] for part in PAGE.split("\n### ")[1:]
}


def formula_of(text: str) -> str:
    """Return the first block of lines that are indented by 4."""
    lines = text.splitlines()
    first = next((index for index, line in enumerate(lines) if line.startswith("    ")), len(lines))
    last = next((index for index in range(first, len(lines)) if not lines[index].startswith("    ")), len(lines))
    return "\n".join(line.rstrip() for line in lines[first:last])


def test_the_page_has_every_schedule() -> None:
    table = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(table) == sorted(SECTIONS) == registry.names()


@pytest.mark.parametrize("name", registry.names())
def test_the_formula_is_the_one_of_the_code(name: str) -> None:
    if name == "constant":
        assert "value(step) = 1" in SECTIONS[name]
    else:
        assert formula_of(SECTIONS[name]) == formula_of(registry.get(name).doc)


def test_every_example_loads(tmp_path: Path) -> None:
    found = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(found) > len(SECTIONS)
    shown = set()
    for number, text in enumerate(found):
        path = tmp_path / f"part{number}.yaml"
        path.write_text(f"extends: mom\n{text}")
        shown.add(load_config(path).schedule.name)
    assert shown >= set(registry.names()) - {"warmup"}  # which is shown as the key

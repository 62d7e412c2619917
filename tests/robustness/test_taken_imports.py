"""Code of the user's own that takes away what imports need: it is told as that, with what was taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..helpers import in_turn

TAKEN = {
    "sys.path.clear()": "sys.path",
    "sys.path = ['/nowhere']": "sys.path",
    "sys.path[:] = [folder for folder in sys.path if 'site-packages' not in folder]": "sys.path",
    "sys.meta_path.clear()": "sys.meta_path",
    "[sys.modules.pop(name) for name in list(sys.modules) if name.startswith('optrun')]": "sys.modules",
}
KEPT = ["sys.path.insert(0, '/nowhere')", "sys.path = [*sys.path, '/nowhere']", "sys.path.append('')", "import wave"]
CODE = """
import sys
from torch import nn
{import_}

class Net(nn.Module):
    calls = 0

    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.layer = nn.Linear(4, num_outputs)
        {init}

    def forward(self, inputs):
        Net.calls += 1
        if Net.calls == 20:
            {forward}
        return self.layer(inputs)
"""


def end_of(server, folder: Path, place: str, statement: str) -> tuple[int, str]:
    """Train with a model that does this at this place; return exit code and stderr."""
    lines = {"import_": "", "init": "", "forward": "pass", place: statement}
    (folder / "mine.py").write_text(CODE.format(**lines))
    (folder / "mine.yaml").write_text(
        "data: {name: iris}\nmodel: ./mine.py:Net\nloss: cross_entropy\n"
        "optimizer: {name: sgd, lr: 0.1}\ntrain: {epochs: 10}\n"
    )
    child = server.optrun("train", "mine.yaml", "--quiet")
    words = child.communicate()[1].decode()
    return child.returncode, " ".join(words.split())


@pytest.mark.parametrize("statement", TAKEN)
def test_an_import_that_takes_something_is_refused_at_its_key(server, tmp_path, statement):
    code, words = end_of(server, tmp_path, "import_", statement)
    assert code == 2, words
    assert "mine.yaml:2:8: model.name: " in words
    assert " took " in words
    assert f"from {TAKEN[statement]}" in words
    assert "leave there what imports need" in words


@pytest.mark.parametrize(("statement", "place"), in_turn(TAKEN, ["init", "forward"], others=pytest.mark.slow))
def test_what_is_taken_later_is_told_by_the_error_that_it_leads_to(server, tmp_path, place, statement):
    code, words = end_of(server, tmp_path, place, statement)
    assert code == 2, words
    assert "code that was called took " in words
    assert f"from {TAKEN[statement]}: leave there what imports need" in words


@pytest.mark.parametrize(("statement", "place"), in_turn(KEPT, ["import_", "forward"], others=pytest.mark.slow))
def test_what_adds_may_do_so(server, tmp_path, place, statement):
    code, words = end_of(server, tmp_path, place, statement)
    assert code == 0, words

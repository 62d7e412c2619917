"""The user's code replaces or closes the process's streams: what goes wrong is told all the same."""

from __future__ import annotations

import pytest

from ..robustness.processes import WAIT_SECS

_MODEL = """
import io, sys
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        {line}
        raise ValueError("no such thing")
"""
_CONFIG = """\
data: {name: iris, batch_size: 16}
model: ./mine.py:Net
loss: cross_entropy
optimizer: {name: sgd, lr: 0.1}
train: {steps: 2}
"""


@pytest.mark.parametrize(
    "line",
    [
        "sys.stdout = sys.stderr = io.StringIO()",
        "sys.stdout = sys.stderr = None",
        "sys.stdout.close(), sys.stderr.close()",
    ],
)
def test_an_error_is_told_though_the_streams_are_taken(shell, tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(_MODEL.format(line=line))
    (tmp_path / "t.yaml").write_text(_CONFIG)
    process = shell("train", "t.yaml", "--quiet")
    _, err = process.communicate(timeout=WAIT_SECS)
    assert process.returncode == 2, err
    assert "model: ValueError: no such thing (mine.py:12)" in err.decode()

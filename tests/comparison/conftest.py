"""Small configurations to compare."""

from __future__ import annotations

import pytest

SMALL = """
data: {name: digits, batch_size: 64, subset: 128}
model: {name: mlp, hidden: [16]}
loss: cross_entropy
metrics: [accuracy]
train: {epochs: 2}
"""


@pytest.fixture
def base(tmp_path):
    """Return the working directory, with the configurations `sgd`, `mom` and `adam`."""
    (tmp_path / "configs").mkdir()
    for name, lr in (("sgd", 0.5), ("mom", 0.1), ("adam", 0.01)):
        (tmp_path / "configs" / f"{name}.yaml").write_text(f"{SMALL}optimizer: {{name: {name}, lr: {lr}}}\n")
    return tmp_path

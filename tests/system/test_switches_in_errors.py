"""An error tells which process-wide switches the user's code has turned before it: they may be why."""

from __future__ import annotations

import pytest
import torch

from optrun.experiments import train
from optrun.experiments.errors import Interrupted, OptrunError
from optrun.experiments.system.switches import held_switches

_MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        {in_constructor}

    def forward(self, x):
        outputs = self.layer(x)
        {in_forward}
        return outputs
"""
_CONFIG = {
    "data": {"name": "iris", "batch_size": 16},
    "model": "./mine.py:Net",
    "loss": "cross_entropy",
    "optimizer": {"name": "sgd", "lr": 0.1},
    "train": {"steps": 2},
}


@pytest.mark.parametrize(
    ("place", "line", "said"),
    [
        ("in_constructor", "torch.set_default_device('meta')", "default device cpu -> meta"),
        ("in_constructor", "torch.set_default_dtype(torch.float16); 1 / 0", "default dtype float32 -> float16"),
        ("in_forward", "torch.set_grad_enabled(False)", "gradients are switched off for the whole process"),
    ],
)
def test_a_switch_that_was_turned_stands_in_the_error(tmp_path, monkeypatch, place, line, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(_MODEL.format(**{"in_constructor": "", "in_forward": "", place: line}))
    with pytest.raises(OptrunError) as caught:
        train(_CONFIG)
    assert said in "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert str(torch.get_default_device()) == "cpu"
    assert torch.get_default_dtype() is torch.float32
    assert torch.is_grad_enabled()


def test_an_error_has_nothing_to_say_where_no_switch_was_turned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(_MODEL.format(in_constructor="1 / 0", in_forward=""))
    with pytest.raises(OptrunError) as caught:
        train(_CONFIG)
    assert not any("whole process" in note for note in getattr(caught.value, "__notes__", []))


def test_an_interruption_is_no_error():
    with pytest.raises(Interrupted) as caught, held_switches():
        torch.set_default_dtype(torch.float64)
        raise Interrupted(2)
    assert not getattr(caught.value, "__notes__", [])

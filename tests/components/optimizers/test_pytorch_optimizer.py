"""The optimizers of the extra: listed without their package being imported, checked by its signatures, refused by name.

The package itself need not be there: a small one of its shape stands in for it. With the real one, `-m slow` tries all.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from optrun.experiments import MonitoredTrainingSession, StopAtStepHook, build, load_config
from optrun.experiments.components.optimizers import make_optimizer, registry
from optrun.experiments.components.optimizers.pytorch_optimizer import names_in_package
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import UsageError

from ...robustness.processes import ForkServer

HERE = find_spec("pytorch_optimizer") is not None

STAND_IN = """
import torch

class Plain(torch.optim.Optimizer):
    def __init__(self, params, lr: float = 0.1, strength: float | None = None, **kwargs):
        super().__init__(params, {"lr": lr, "strength": strength, **kwargs})
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for weight in group["params"]:
                weight -= group["lr"] * weight.grad

class Muon(Plain):
    def __init__(self, params, lr: float = 0.1, **kwargs):
        super().__init__(params, lr)
        assert all("use_muon" in group for group in self.param_groups)

class SophiaH(Plain):
    pass

OPTIMIZER_LIST: list = [Plain, Muon, SophiaH]
"""
CHECKS = """
import sys
import torch
from optrun.experiments import load_config, build
from optrun.experiments.config import ConfigError
from optrun.experiments.components.optimizers import make_optimizer, registry

names = [name for name in registry.names() if name.startswith("po/")]
assert names == ["po/muon", "po/plain", "po/sophiah"], names
assert registry.get("po/plain").summary == "plain, of the package pytorch-optimizer."
assert "pytorch_optimizer" not in sys.modules, "listed without an import"

def config(**optimizer):
    return load_config({"extends": "digits", "optimizer": optimizer})

def refusal(**optimizer):
    try:
        config(**optimizer)
    except ConfigError as error:
        return str(error)

assert config(name="po/plain", strength=1).optimizer.args == {"lr": 0.1, "strength": 1.0}
assert "expected a number, got 'much'" in refusal(name="po/plain", strength="much")
assert "has no argument 'strenth'" in refusal(name="po/plain", strenth=1)
assert "gradients of gradients" in refusal(name="po/sophiah")
assert "did you mean 'po/plain'" in refusal(name="plain")
assert "did you mean 'po/plain'" in refusal(name="po/plaim")
op = build(config(name="po/muon")).train_op
rules = {name: group["use_muon"] for group in op.optimizer.param_groups for name in group["param_names"]}
assert rules["conv.weight"] and not rules["head.weight"] and not rules["head.bias"], rules
before = op.model.head.weight.detach().clone()
assert op.run() and not op.model.head.weight.equal(before)
"""


def test_with_the_package_its_optimizers_are_there_by_name(tmp_path: Path, server: ForkServer) -> None:
    folder = tmp_path / "pytorch_optimizer" / "optimizer"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(STAND_IN)
    finder = "from .optimizer import *\n\n\ndef load_optimizer(name):\n"
    finder += "    return {each.__name__.lower(): each for each in optimizer.OPTIMIZER_LIST}[name]\n"
    (folder.parent / "__init__.py").write_text(finder)
    code = f"import warnings\nwarnings.simplefilter('error')\n{CHECKS}"
    process = server.new_python(code, variables={"PYTHONPATH": str(tmp_path)})
    _, err = process.communicate()
    assert process.returncode == 0, err.decode()


@pytest.mark.skipif(HERE, reason="the package is installed")
def test_without_the_package_the_error_names_the_extra() -> None:
    assert not [name for name in registry.names() if name.startswith("po/")]
    message = r"'po/ranger21' comes with the package pytorch-optimizer: pip install 'optrun\[optimizers\]'"
    with pytest.raises(UsageError, match=message):
        make_optimizer(torch.nn.Linear(2, 2), "po/ranger21")
    with pytest.raises(ConfigError, match=message):
        load_config({"extends": "digits", "optimizer": "po/ranger21"})


NEEDED = {"po/ranger21": {"num_iterations": 100}}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the package
@pytest.mark.skipif(not HERE, reason="needs pip install 'optrun[optimizers]'")
@pytest.mark.parametrize("name", [f"po/{name}" for name in names_in_package()])
def test_each_trains_and_resumes_or_is_refused_with_a_reason(name: str, tmp_path: Path) -> None:
    def op():
        values = {
            "extends": "digits",
            "model": {"name": "resnet", "depth": 8, "width": 4},
            "optimizer": {"name": name, **NEEDED.get(name, {})},
            "train": {"epochs": 1, "threads": 1},
        }
        return build(load_config(values)).train_op

    def run(train_op, num_steps: int, folder: Path | None = None) -> dict[str, torch.Tensor]:
        hooks = [StopAtStepHook(last_step=num_steps)]
        with MonitoredTrainingSession(hooks=hooks, checkpoint_dir=folder) as session:
            while not session.should_stop():
                session.run(train_op)
        return train_op.model.state_dict()

    if "check" in registry.get(name).facts:
        with pytest.raises(ConfigError, match="it cannot be used here: "):
            op()
        return
    start = {key: value.clone() for key, value in op().model.state_dict().items()}
    straight = run(op(), 6)
    assert any(not straight[key].equal(start[key]) for key in start if key.endswith("weight"))
    assert all(bool(value.isfinite().all()) for value in straight.values())
    run(op(), 3, tmp_path)
    resumed = run(op(), 6, tmp_path)
    for key, value in straight.items():
        if name == "po/soap":  # its matrices come back with the same values in another layout
            torch.testing.assert_close(resumed[key], value, rtol=1e-3, atol=1e-4)
        else:
            assert resumed[key].equal(value), key

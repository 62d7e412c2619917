"""What is wrong together is told at the key that the user wrote last: argument, own file, what it extends."""

from __future__ import annotations

import pytest

from optrun.experiments.config import ConfigError
from optrun.experiments.training.build import build
from optrun.experiments.training.load import load_config

BASE = """
data: {name: iris, batch_size: 16}
model: logistic
loss: cross_entropy
metrics: [accuracy]
optimizer: {name: sgd, lr: 0.1}
train: {epochs: 2, threads: 1}
"""
#: What is given beneath, what brings the mistake, and the key that is told.
CHECKS = {
    "steps and epochs": ("train: {epochs: 2}", "train.steps=5", "train.steps"),
    "epochs and steps": ("train: {epochs: null, steps: 5}", "train.epochs=2", "train.epochs"),
    "test takes the rest": ("data: {val: 0.5}", "data.test=0.5", "data.test"),
    "val takes the rest": ("data: {test: 0.5}", "data.val=0.5", "data.val"),
    "subset": ("data: {val: 0.2}", "data.subset=5000", "data.subset"),
    "nothing to train on": ("data: {val: 0.0}", "data.test=0.999", "data.test"),
    "no example": ("data: {val: 0.2}", "data.val=0.001", "data.val"),
    "drop_last": ("data: {drop_last: true}", "data.batch_size=500", "data.batch_size"),
    "drop_last last": ("data: {batch_size: 500}", "data.drop_last=true", "data.drop_last"),
    "values and a rate": (
        "schedule: {name: piecewise, boundaries: [1], values: [0.1, 0.2]}\noptimizer: {lr: null}",
        "optimizer.lr=0.3",
        "optimizer.lr",
    ),
    "a rate and values": (
        "optimizer: {lr: 0.1}",
        "schedule={name: piecewise, boundaries: [1], values: [0.1, 0.2]}",
        "schedule.values",
    ),
    "metric": ("metrics: [accuracy]", "eval.metric=val/f1", "eval.metric"),
    "metrics": ("eval: {metric: val/accuracy}", "metrics=[]", "metrics"),
    "averages": ("updates: []", "eval.weights=ema", "eval.weights"),
    "updates": ("eval: {weights: ema}\nupdates: [ema]", "updates=[]", "updates"),
    "target": ("eval: {target: null}", "stop.at_target=true", "stop.at_target"),
    "no target": ("stop: {at_target: true}\neval: {target: 0.5}", "eval.target=null", "eval.target"),
    "share of no length": ("eval: {every: 10%}", "train={epochs: null, max_time: 1m}", "train.max_time"),
    "warmup": ("train: {epochs: 2}", "schedule={name: cosine, warmup: 500}", "schedule.warmup"),
    "length": ("schedule: {name: cosine, warmup: 100}\ntrain: {epochs: 50}", "train.epochs=2", "train.epochs"),
    "loss of others": ("data: {name: iris}", "loss=mse", "loss"),
    "data of others": ("loss: cross_entropy\nmetrics: []", "data=diabetes", "data"),
    "model of others": ("data: {name: iris}", "model=lstm", "model"),
}
LAYERS = ("argument", "file", "extended")


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("written", LAYERS)
def test_it_is_told_where_it_was_written_last(check, written, tmp_path):
    beneath, mistake, key = CHECKS[check]
    (tmp_path / "base.yaml").write_text(BASE)
    below = ["extends: ./base.yaml", beneath]
    section, _, value = mistake.partition("=")
    top, _, inner = section.partition(".")
    line = f"{top}: {{{inner}: {value}}}" if inner else f"{top}: {value}"
    if written == "extended":  # the mistake stands in what is extended, and nothing of it in the file itself
        (tmp_path / "below.yaml").write_text("\n".join(below) + "\n")
        (tmp_path / "middle.yaml").write_text(f"extends: ./below.yaml\n{line}\n")
        (tmp_path / "own.yaml").write_text("extends: ./middle.yaml\nname: own\n")
    elif written == "file":
        (tmp_path / "below.yaml").write_text("\n".join(below) + "\n")
        (tmp_path / "own.yaml").write_text(f"extends: ./below.yaml\n{line}\n")
    else:
        (tmp_path / "own.yaml").write_text("\n".join(below) + "\n")
    with pytest.raises(ConfigError) as caught:
        build(load_config("own.yaml", [mistake] if written == "argument" else []))
    found = caught.value.problems[0]
    where = {"argument": "command line", "file": "own.yaml", "extended": "middle.yaml"}[written]
    if written == "extended":  # all of it is extended: which file of these is no matter of the user's
        assert found.file != "own.yaml"
    else:
        assert (found.key, found.file) == (key, where), str(caught.value)


def test_arguments_without_an_annotation_are_of_the_type_of_their_default(tmp_path):
    (tmp_path / "own.py").write_text(
        "import torch\n"
        "class Own(torch.optim.SGD):\n"
        "    def __init__(self, params, lr=0.1, count=2, flag=False, word='a', items=(1, 2), free=None):\n"
        "        super().__init__(params, lr=lr)\n"
    )
    (tmp_path / "base.yaml").write_text(BASE.replace("name: sgd, lr: 0.1", "name: ./own.py:Own"))

    def problem(*overrides):
        with pytest.raises(ConfigError) as caught:
            load_config("base.yaml", overrides)
        (found,) = caught.value.problems
        return found.file, found.key, found.message

    assert problem("optimizer.lr=abc") == ("command line", "optimizer.lr", "expected a number, got 'abc'")
    assert problem("optimizer.count=abc")[1:] == ("optimizer.count", "expected an int or number, got 'abc'")
    assert problem("optimizer.flag=1")[2] == "expected true or false, got 1"
    assert problem("optimizer.lr=true")[2] == "expected a number, got true"
    assert problem("optimizer.word=true")[2] == "expected text or int or number, got true"
    assert problem("optimizer.items=3")[2].startswith("expected a list")
    good = ["optimizer.lr=1", "optimizer.count=0.5", "optimizer.items=[a, 2]", "optimizer.free=abc", "optimizer.word=3"]
    args = load_config("base.yaml", good).optimizer.args
    assert (args["lr"], args["count"], args["free"], args["word"]) == (1, 0.5, "abc", 3)

"""`a.b=c` on the command line, and the same as mappings in Python."""

from __future__ import annotations

import pytest

from optrun.experiments.config import ConfigError
from optrun.experiments.config import load as load_config
from optrun.experiments.config.lengths import Interval, Length

from .small_registries import BASE

TEXT = BASE + "hooks: [grad_norm, {name: snapshot, path: x, every: 1 epoch}]\nschedule: {name: cosine, warmup: 5%}\n"


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("optimizer.lr=0.2", lambda c: c.optimizer.args["lr"], 0.2),
        ("optimizer.lr=1e-3", lambda c: c.optimizer.args["lr"], 0.001),
        ("optimizer.lr=2", lambda c: c.optimizer.args["lr"], 2.0),
        ("optimizer.lr=", lambda c: c.optimizer.args["lr"], 0.01),
        ("optimizer.lr=null", lambda c: c.optimizer.args["lr"], 0.01),
        ("optimizer=adam", lambda c: c.optimizer.args, {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-8}),
        ("optimizer.name=sgd", lambda c: c.optimizer.args, {"lr": 0.1}),
        ("optimizer={name: adam, betas: [0, 0.5]}", lambda c: c.optimizer.args["betas"], (0, 0.5)),
        ("optimizer={momentum: 0.5}", lambda c: (c.optimizer.args["lr"], c.optimizer.args["momentum"]), (0.1, 0.5)),
        ("model.hidden=[1, 2]", lambda c: c.model.args["hidden"], (1, 2)),
        ("model.hidden=[]", lambda c: c.model.args["hidden"], ()),
        ("model.activation=tanh", lambda c: c.model.args["activation"], "tanh"),
        ("schedule=constant", lambda c: (c.schedule.name, c.schedule.warmup), ("constant", Length(5, "%"))),
        ("schedule=null", lambda c: (c.schedule.name, c.schedule.warmup), ("constant", None)),
        ("schedule.warmup=3 steps", lambda c: c.schedule.warmup, Length(3)),
        ("hooks.0.every=5 steps", lambda c: c.hooks[0].args["every"], Interval(5)),
        ("hooks.1.every=10m", lambda c: c.hooks[1].args["every"], Interval(600, "secs")),
        ("hooks.1=grad_norm", lambda c: [h.name for h in c.hooks], ["grad_norm", "grad_norm"]),
        ("hooks.0.name=anything", lambda c: c.hooks[0].name, "anything"),
        ("hooks=[]", lambda c: c.hooks, ()),
        ("metrics.0=top_k", lambda c: c.metrics[0].args, {"k": 5}),
        ("metrics.0={name: top_k, k: 2}", lambda c: c.metrics[0].args, {"k": 2}),
        ("train={steps: 3, epochs: null}", lambda c: (c.train.steps, c.train.epochs), (3, None)),
        ("name=other", lambda c: c.name, "other"),
        ("seed=7", lambda c: c.seed, 7),
        ("eval.metric=val/loss", lambda c: c.eval.metric, "val/loss"),
        ("log.to=[jsonl, tensorboard]", lambda c: c.log.to, ("jsonl", "tensorboard")),
        ("data.batch_size=8", lambda c: c.data.batch_size, 8),
        (
            "optimizer.groups=[{match: [bias, norm], weight_decay: 0}]",
            lambda c: c.optimizer.groups[0].match,
            ("bias", "norm"),
        ),
    ],
)
def test_overrides(load, override, read, value):
    assert read(load(TEXT, override)) == value


def test_order_does_not_matter_across_keys(load):
    one = load(TEXT, "optimizer=adam", "optimizer.lr=0.2", "optimizer.eps=1")
    two = load(TEXT, "optimizer.eps=1", "optimizer.lr=0.2", "optimizer=adam")
    three = load(TEXT, "optimizer.lr=0.2", "optimizer.name=adam", "optimizer.eps=1")
    assert one.to_dict() == two.to_dict() == three.to_dict()
    assert one.optimizer.args == {"lr": 0.2, "betas": (0.9, 0.999), "eps": 1}


def test_the_last_of_the_same_key_wins(load):
    assert load(TEXT, "seed=1", "seed=2").seed == 2


def test_a_list_element_of_a_list_that_is_overridden_too(load):
    config = load(TEXT, "hooks.0.every=5 steps", "hooks=[grad_norm]")
    assert [hook.args["every"] for hook in config.hooks] == [Interval(5)]


def test_groups_by_index(load):
    config = load(TEXT, "optimizer.groups=[{match: a}, {match: b, lr: 1}]", "optimizer.groups.1.lr=2")
    assert config.optimizer.groups[1].args == {"lr": 2}


@pytest.mark.parametrize(
    ("overrides", "same"),
    [
        ({"optimizer.lr": 0.2}, ["optimizer.lr=0.2"]),
        ({"optimizer": {"lr": 0.2, "momentum": 0}}, ["optimizer.lr=0.2", "optimizer.momentum=0"]),
        ({"model.hidden": (1, 2), "train": {"epochs": 3}}, ["model.hidden=[1, 2]", "train.epochs=3"]),
        ({"hooks.0.every": Length(5)}, ["hooks.0.every=5"]),
        ({"optimizer.lr": None}, ["optimizer.lr="]),
        ({}, []),
    ],
)
def test_mappings_do_the_same(folder, registries, overrides, same):
    (folder / "t.yaml").write_text(TEXT)
    one = load_config("t.yaml", overrides, registries=registries, presets=folder)
    two = load_config("t.yaml", same, registries=registries, presets=folder)
    assert one.to_dict() == two.to_dict()


def problems_of(load, *overrides):
    with pytest.raises(ConfigError) as caught:
        load(TEXT, *overrides)
    return caught.value.problems


@pytest.mark.parametrize(
    ("override", "column", "key", "phrase", "hint"),
    [
        ("lr=1", 1, "lr", "unknown key", "did you mean 'optimizer.lr'?"),
        ("hidden=[1]", 1, "hidden", "unknown key", "did you mean 'model.hidden'?"),
        ("label_smoothing=0", 1, "label_smoothing", "unknown key", "did you mean 'loss.label_smoothing'?"),
        ("momentun=0", 1, "momentun", "unknown key", "did you mean 'optimizer.momentum'?"),
        ("batch_size=1", 1, "batch_size", "unknown key", "did you mean 'data.batch_size'?"),
        ("epochs=1", 1, "epochs", "unknown key", "did you mean 'train.epochs'?"),
        ("optimiser.lr=1", 1, "optimiser", "unknown key", "did you mean 'optimizer'?"),
        ("optimizer.momentun=1", 11, "optimizer.momentun", "no argument 'momentun'", "did you mean 'momentum'?"),
        ("optimizer.lr=-1", 14, "optimizer.lr", "expected a number > 0, got -1", None),
        ("optimizer.lr='1'", 14, "optimizer.lr", "expected a number > 0, got '1'", "remove the quotes"),
        ("optimizer.lr=[1]", 14, "optimizer.lr", "expected a number > 0, got [1]", None),
        ("optimizer.lr.x=1", 14, "optimizer.lr", "got a mapping", None),
        ("optimizer=adm", 11, "optimizer.name", "no optimizer named 'adm'", "did you mean 'adam'?"),
        ("model.hidden=[3, -4]", 18, "model.hidden.1", "expected an int >= 1, got -4", None),
        ("model.hidden=3,4", 14, "model.hidden", "expected a list of int >= 1, got '3,4'", "write [3,4]"),
        ("train.compile=yes", 15, "train.compile", "expected true or false", "write true or false, without quotes"),
        ("train.epoch=1", 7, "train.epoch", "no key 'epoch'", "did you mean 'epochs'?"),
        ("hooks.2.every=1", 7, "hooks.2.every", "2 entries, counted from 0", None),
        ("hooks.x.every=1", 7, "hooks", "expected a list of hooks", None),
        ("updates.0=ema", 9, "updates.0", "give the whole list", None),
        ("optimizer.lr", 1, "", "such as `optimizer.lr=0.2`, got 'optimizer.lr'", None),
        ("=3", 1, "", "such as `optimizer.lr=0.2`", None),
        ("optimizer..lr=3", 1, "", "such as `optimizer.lr=0.2`", None),
        ("optimizer lr=3", 1, "", "such as `optimizer.lr=0.2`", None),
        ("--lr=3", 1, "--lr", "unknown key", "did you mean 'optimizer.lr'?"),
        ("", 1, "", "such as `optimizer.lr=0.2`", None),
        ("optimizer.lr=[1", 16, "optimizer.lr", "is the list closed?", None),
        ("optimizer.lr=&a 1", 14, "optimizer.lr", "anchors", None),
        ("optimizer.lr=*a", 14, "optimizer.lr", "aliases", None),
        ("model={name: mlp, name: mlp}", 19, "model.name", "duplicate key", None),
        ("optimizer.lr=.nan", 14, "optimizer.lr", "expected a finite number, got .nan", None),
        ("optimizer.lr=1e999", 14, "optimizer.lr", "expected a finite number, got .inf", None),
        ("extends=base", 1, "extends", "belongs in a file", None),
        ("a" + ".a" * 100 + "=1", 1, "", "such as `optimizer.lr=0.2`", None),
        ("seed=\x07", 6, "seed", "U+0007", None),
    ],
)
def test_mistakes_are_placed_in_the_argument(load, override, column, key, phrase, hint):
    problem = problems_of(load, override)[0]
    assert (problem.file, problem.line, problem.column, problem.key) == ("command line", None, column, key)
    assert phrase in problem.message
    assert hint is None or problem.hint == hint
    assert problem.snippet == override


def test_mistakes_in_a_mapping(folder, registries):
    (folder / "t.yaml").write_text(TEXT)
    with pytest.raises(ConfigError) as caught:
        load_config("t.yaml", {"optimizer.lr": -1, "a..b": 1, "seed": object()}, registries=registries, presets=folder)
    assert {(p.file, p.key) for p in caught.value.problems} == {("overrides", "seed"), ("overrides", "")}
    with pytest.raises(ConfigError, match=r"overrides: optimizer.lr: expected a number > 0, got -1") as caught:
        load_config("t.yaml", {"optimizer.lr": -1}, registries=registries, presets=folder)
    assert str(caught.value).endswith("Found 1 problem in the overrides.")


def test_all_mistakes_at_once_in_the_order_given(load):
    found = problems_of(load, "seed=-1", "lr=2", "model.hidden=[0, 0]", "optimizer")
    assert [p.key for p in found] == ["seed", "lr", "model.hidden.0", "model.hidden.1", ""]


@pytest.mark.parametrize(
    ("wrong", "key", "hint"),
    [
        ("data.num_workers=2", "num_worker=3", "did you mean 'data.workers'?"),
        ("optimizer.momentun=1", "momentun=2", "did you mean 'optimizer.momentum'?"),
        ("optimizer.zzz=1", "zzz=2", "known: "),
        ("optimizer.zzz.eps_ilon=1", "eps_ilon=2", "known: "),
        ("foo.frobnicate=1", "frobnicate=2", "known: "),
        ("train.frobnicate=1", "frobnicat=2", "known: "),
    ],
)
def test_a_wrong_key_is_not_what_another_one_meant(load, wrong, key, hint):
    found = {problem.key: problem.hint for problem in problems_of(load, wrong, key)}
    assert found[key.partition("=")[0]].startswith(hint)

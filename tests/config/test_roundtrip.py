"""What is written reads back: the resolved config of any run is a config of the same run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from optrun.experiments import config
from optrun.experiments.config import to_yaml
from optrun.experiments.config.limits import FORBIDDEN
from optrun.experiments.config.nodes import Source
from optrun.experiments.config.reading import Reading

from .small_registries import BASE, make_registries

REGISTRIES = make_registries()

# ---- the YAML writer -------------------------------------------------------------------------------------------------

TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t:#-[]{},&*!|>'\"%@` .0123e")
).filter(lambda text: not FORBIDDEN.search(text))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
TRICKY = st.sampled_from([
    "", " ", "null", "~", "true", "no", "1", "1e3", ".5", ".inf", "0x1F", "0o7", "- a", "a: b", "a #b", "#", "'", '"',
    "a:", "...", "---", "-", "?", ":", "[", "{", "|", ">", "%", "@", "&a", "*a", "!a", "<<", "=", "a\nb", " a", "a ",
])  # fmt: skip
KEYS = TEXT.filter(str.strip).filter(lambda key: len(key) < 50)
TREES = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS | TRICKY,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
        max_leaves=12,
    ),
    max_size=5,
)


@settings(max_examples=100, deadline=None)
@given(TREES)
def test_any_plain_data_reads_back(values):
    problems = []
    node = Reading(Source("file", "a.yaml", Path()), problems).read_text(to_yaml(values) if values else "{}")
    assert problems == []
    assert node is not None
    assert node.plain == values


@settings(max_examples=40, deadline=None)
@given(TREES.filter(bool))
def test_another_reader_finds_the_same_structure(values):
    read = yaml.load(to_yaml(values), yaml.BaseLoader)
    assert list(read) == list(values)


# ---- configurations --------------------------------------------------------------------------------------------------

RATES = st.floats(1e-8, 1e3) | st.integers(1, 100)
LENGTHS = st.sampled_from(
    ["33.3333333%", "0.0000123456789 epochs", "1 step", "300 steps", "2 epochs", "0.5 epochs", "12.5%", 7, "100%"]
)
INTERVALS = LENGTHS | st.sampled_from(["10m", "1.5h", "3s", "90s", "12.3456789s", "0.1m"])
OPTIMIZERS = st.one_of(
    st.just("sgd"),
    st.fixed_dictionaries(
        {"name": st.just("mom")}, optional={"lr": RATES, "momentum": st.floats(0, 0.99), "nesterov": st.booleans()}
    ),
    st.fixed_dictionaries(
        {"name": st.just("adam")}, optional={"betas": st.tuples(st.floats(0, 0.9), st.floats(0, 0.9)), "eps": RATES}
    ),
    st.fixed_dictionaries(
        {
            "name": st.just("mom"),
            "groups": st.lists(
                st.fixed_dictionaries({"match": st.just("*.bias") | st.just(["a", "b: c"])}, optional={"lr": RATES}),
                max_size=2,
            ),
        }
    ),
)
PLAIN_SCHEDULES = st.one_of(
    st.just("constant"),
    st.fixed_dictionaries({"name": st.just("cosine")}, optional={"final": st.floats(0, 1)}),
    st.fixed_dictionaries({"name": st.just("exponential")}, optional={"every": LENGTHS, "staircase": st.booleans()}),
    st.fixed_dictionaries(
        {"name": st.just("piecewise"), "boundaries": st.just(["50%", "75%"]), "factors": st.just([1, 0.1, 0])}
    ),
)
SCHEDULES = PLAIN_SCHEDULES | st.fixed_dictionaries(
    {"name": st.just("restarts")},
    optional={"then": PLAIN_SCHEDULES, "all": st.lists(PLAIN_SCHEDULES, max_size=3), "warmup": LENGTHS},
)
FREE = st.recursive(
    st.booleans() | st.integers() | st.floats(-1e9, 1e9) | TRICKY, lambda x: st.lists(x, max_size=3), max_leaves=4
)
HOOKS = st.one_of(
    st.just("grad_norm"),
    st.fixed_dictionaries({"name": st.just("grad_norm"), "every": INTERVALS}),
    st.fixed_dictionaries({"name": st.just("snapshot"), "path": TRICKY}, optional={"every": INTERVALS}),
    st.fixed_dictionaries({"name": st.just("anything")}, optional={"x": FREE, "no": FREE, "a b": FREE}),
)
CONFIGS = st.fixed_dictionaries(
    {
        "data": st.just("digits")
        | st.fixed_dictionaries(
            {"name": st.just("blobs"), "num_classes": st.integers(1, 9)}, optional={"augment": st.just(["flip"])}
        ),
        "model": st.just("mlp")
        | st.fixed_dictionaries({"name": st.just("mlp")}, optional={"num_classes": st.integers(1, 5)}),
        "loss": st.just("cross_entropy"),
        "optimizer": OPTIMIZERS,
        "train": st.just({"epochs": 3})
        | st.fixed_dictionaries({"steps": st.integers(1, 10**6)}, optional={"clip_norm": RATES}),
    },
    optional={
        "name": st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"),
        "seed": st.integers(0, 2**63 - 1),
        "schedule": SCHEDULES,
        "metrics": st.just(["accuracy", {"name": "top_k", "k": 2}]),
        "updates": st.just(["ema", "batch_norm"]),
        "hooks": st.lists(HOOKS, max_size=3),
        "eval": st.fixed_dictionaries(
            {}, optional={"every": LENGTHS, "target": st.floats(-1e6, 1e6), "mode": st.none()}
        ),
        "checkpoint": st.fixed_dictionaries({}, optional={"every": INTERVALS, "keep": st.integers(2, 9)}),
        "log": st.fixed_dictionaries({}, optional={"lines": INTERVALS, "to": st.just(["tensorboard"])}),
    },
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("roundtrip")


def assert_same_when_resolved(place, values):
    first = config.load(values, registries=REGISTRIES, presets=place)
    written = first.to_dict()
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    (place / "resolved.yaml").write_text(first.to_yaml(), encoding="utf-8")
    for again in (place / "resolved.yaml", written):
        second = config.load(again, registries=REGISTRIES, presets=place)
        assert second.to_dict() == written
        assert second.to_yaml() == first.to_yaml()
        assert second.optimizer.args == first.optimizer.args
        assert second.schedule.args.keys() == first.schedule.args.keys()


@settings(max_examples=12, deadline=None)
@given(CONFIGS)
def test_a_resolved_config_is_the_same_config(place, values):
    assert_same_when_resolved(place, values)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(CONFIGS)
def test_many_resolved_configs_are_the_same_configs(place, values):
    assert_same_when_resolved(place, values)


def test_the_resolved_config_is_complete(load):
    written = load(BASE).to_dict()
    assert written["name"] == "test"
    assert written["optimizer"] == {
        "name": "mom", "groups": [], "lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0,
    }  # fmt: skip
    assert written["schedule"] == {"name": "constant", "warmup": None}
    assert written["eval"] == {
        "every": "1 epoch",
        "metric": "val/accuracy",
        "mode": None,
        "target": None,
        "weights": "raw",
        "gradients": False,
    }
    assert written["checkpoint"] == {"every": "10m", "keep": 2, "best": True, "keep_every_hours": None}
    assert written["log"] == {"every": "10 steps", "lines": "10s", "to": ["jsonl"]}
    assert written["train"]["threads"] == "auto"
    assert set(written["data"]) == {
        *("name", "batch_size", "eval_batch_size", "eval_batches", "val", "test", "split_seed", "subset", "drop_last"),
        *("augment", "workers", "seed", "noise", "call", "inputs_from", "targets_from", "collate", "sampling"),
    }
    assert "extends" not in written


def test_what_the_build_decides_stays_open(load):
    config = load(BASE)
    assert set(config.model.args) == {"hidden", "activation", "dropout"}
    assert load(BASE, "model.num_classes=3").model.args["num_classes"] == 3


def test_absolute_rates_leave_no_default_rate_behind(load):
    text = BASE.replace(", lr: 0.1", "") + "schedule: {name: piecewise, boundaries: [3], values: [1, 0.1]}\n"
    first = load(text)
    assert "lr" not in first.optimizer.args
    assert load(first.to_yaml()).to_dict() == first.to_dict()


def test_importing_is_cheap():
    code = "import sys, optrun.experiments.config; print({'torch', 'pydantic', 'yaml'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_loading_needs_no_torch():
    code = (
        "import sys; from small_registries import *; from optrun.experiments import config; import yaml;"
        "config.load(yaml.safe_load(BASE), registries=make_registries()); print('torch' in sys.modules)"
    )
    here = Path(__file__).parent
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=here)
    assert found.stdout.strip() == "False"

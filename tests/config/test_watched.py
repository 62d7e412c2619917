"""Names that wait for a metric: of every component that has such an argument, wrong in each way, at its place."""

from __future__ import annotations

from typing import Any

import pytest

from optrun.experiments import build, load_config
from optrun.experiments.components.registries import REGISTRIES
from optrun.experiments.config import ConfigError
from optrun.experiments.config.goal import with_modes

OWN = """
from typing import Literal
from optrun.experiments import Hook, MetricName

def own(outputs, targets):
    return outputs[:, 0]

class Watching(Hook):
    def __init__(self, monitor: MetricName, others: tuple[MetricName, ...] = (),
                 mode: Literal["max", "min"] | None = None):
        self.mode = mode

class Publishing(Hook):
    publishes = ("own/size",)
"""


def places():
    """Yield (where, how to name it with a metric and more) for each argument of a component that names a metric."""
    for kind in ("hook", "schedule"):
        for name in REGISTRIES[kind].names():
            component = REGISTRIES[kind].get(name)
            for argument in component.signature.arguments:
                if argument.evaluated_metric:
                    extra = {"patience": 3} if name == "early_stopping" else {}
                    yield kind, argument.name, {"name": name, **extra}


PLACES = [*places()]


def file_with(tmp_path, kind, part, *, metrics: Any = ("accuracy",), val=0.2, evaluation=None):
    def text(value):
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key}: {text(item)}" for key, item in value.items()) + "}"
        return f"[{', '.join(map(text, value))}]" if isinstance(value, list | tuple) else str(value)

    (tmp_path / "own.py").write_text(OWN)
    lines = [
        f"data: {{name: digits, batch_size: 64, val: {val}}}",
        "model: logistic",
        "loss: cross_entropy",
        f"metrics: {text(metrics)}",
        "optimizer: {name: sgd, lr: 0.1}",
        "train: {epochs: 2}",
        f"eval: {text(evaluation or {})}",
        f"hooks: {text([part])}" if kind == "hook" else f"schedule: {text(part)}",
    ]
    path = tmp_path / "run.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def problem(path):
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    (found,) = caught.value.problems
    return found


def key_of(kind, argument):
    return f"{'hooks.0' if kind == 'hook' else 'schedule'}.{argument}"


def test_there_are_such_arguments():
    names = {(part["name"], argument) for _, argument, part in PLACES}
    assert names == {("checkpoint", "best"), ("early_stopping", "metric"), ("plateau", "metric")}


@pytest.mark.parametrize(("kind", "argument", "part"), PLACES)
def test_a_name_is_checked(tmp_path, kind, argument, part):
    for wrong, hint in [
        ("val/acuracy", "did you mean 'val/accuracy'?"),
        ("accuracy", "did you mean 'val/accuracy'?"),
        ("test/loss", "did you mean 'val/loss'?"),
        ("train/loss", "did you mean 'val/loss'?"),
        ("lr", "computed: val/loss, val/accuracy"),
    ]:
        found = problem(file_with(tmp_path, kind, {**part, argument: wrong}))
        assert (found.key, found.origin.line, found.origin.text) == (key_of(kind, argument), 8, wrong)
        assert (f"'{wrong}' is not computed" in found.message, found.hint) == (True, hint)


@pytest.mark.parametrize(("kind", "argument", "part"), PLACES)
def test_without_a_validation_part_it_is_refused(tmp_path, kind, argument, part):
    found = problem(file_with(tmp_path, kind, {**part, argument: "val/accuracy"}, val=0))
    assert (found.key, found.origin.line) == (key_of(kind, argument), 8)
    assert "data.val is 0" in found.message


@pytest.mark.parametrize("metric", ["val/accuracy", "val/loss", "val/top_k", "val/macro_f1"])
@pytest.mark.parametrize(("kind", "argument", "part"), PLACES)
def test_the_direction_is_the_metrics_own(tmp_path, kind, argument, part, metric):
    own, other = ("min", "max") if metric == "val/loss" else ("max", "min")
    metrics = ["accuracy", "macro_f1", {"name": "top_k", "k": 2}]
    for given in ({}, {"mode": own}):
        config = load_config(file_with(tmp_path, kind, {**part, argument: metric, **given}, metrics=metrics))
        found = config.hooks[0] if kind == "hook" else config.schedule
        assert with_modes(config, found).args["mode"] == own
    found = problem(file_with(tmp_path, kind, {**part, argument: metric, "mode": other}, metrics=metrics))
    assert (found.key, found.origin.line, found.origin.text) == (key_of(kind, "mode"), 8, other)
    assert found.hint == f"leave it out, or write {own}"


@pytest.mark.parametrize(("kind", "argument", "part"), PLACES)
def test_a_metric_without_a_direction_needs_one(tmp_path, kind, argument, part):
    part, metrics = {**part, argument: "val/own"}, ["accuracy", "./own.py:own"]
    found = problem(file_with(tmp_path, kind, part, metrics=metrics))
    assert (found.key, found.hint) == (key_of(kind, argument), "set `mode` to max or min")
    config = load_config(file_with(tmp_path, kind, {**part, "mode": "min"}, metrics=metrics))
    assert with_modes(config, config.hooks[0] if kind == "hook" else config.schedule).args["mode"] == "min"
    judged = {"metric": "val/own", "mode": "min"}  # which is the direction that the run gives it
    config = load_config(file_with(tmp_path, kind, part, metrics=metrics, evaluation=judged))
    assert with_modes(config, config.hooks[0] if kind == "hook" else config.schedule).args["mode"] == "min"


def test_the_metric_that_decides_has_a_direction_too(tmp_path):
    found = problem(file_with(tmp_path, "schedule", {"name": "constant"}, metrics=["./own.py:own"]))
    assert (found.key, found.hint) == ("eval.metric", "set eval.mode to max or min")
    found = problem(file_with(tmp_path, "schedule", {"name": "constant"}, evaluation={"mode": "min"}))
    assert (found.key, found.origin.line, found.message) == (
        "eval.mode",
        7,
        "more is better in 'val/accuracy', not less",
    )


@pytest.mark.parametrize("stop", ["stop.patience=2", "stop.at_target=true"])
def test_the_section_stop_needs_a_validation_part(tmp_path, stop):
    path = file_with(tmp_path, "schedule", {"name": "constant"}, val=0, evaluation={"target": 0.5})
    with pytest.raises(ConfigError, match=r"data\.val is 0") as caught:
        load_config(path, [stop])
    assert [found.key for found in caught.value.problems] == [stop.partition("=")[0]]
    load_config(path)  # a target alone only notes when it was reached
    with pytest.raises(ConfigError, match="min_delta"):
        load_config(path, ["stop.min_delta=0.1"])


def test_hooks_of_ones_own_are_checked_alike(tmp_path):
    def watching(**args):
        return file_with(tmp_path, "hook", {"name": "./own.py:Watching", **args})

    assert problem(watching(monitor="val/los")).key == "hooks.0.monitor"
    assert problem(watching(monitor="val/loss", others=["val/loss", "val/acc"])).hint == "did you mean 'val/accuracy'?"
    assert problem(watching(monitor="val/loss", mode="max")).key == "hooks.0.mode"
    made = build(load_config(watching(monitor="val/accuracy"))).hooks[-1]
    assert made.mode == "max"


@pytest.mark.parametrize("name", ["logging", "summary"])
def test_what_a_hook_will_fetch_is_checked_before_the_run(tmp_path, name):
    path = file_with(tmp_path, "hook", {"name": name, "every": "50 steps", "fetches": ["loss", "momentun"]})
    with pytest.raises(ConfigError, match="nothing to fetch is called 'momentun'") as caught:
        build(load_config(path))
    (found,) = caught.value.problems
    assert (found.key, found.origin.line) == ("hooks.0.fetches", 8)
    build(load_config(file_with(tmp_path, "hook", {"name": name, "every": "50 steps", "fetches": ["momentum"]})))


def test_what_other_hooks_evaluate_or_publish_can_be_waited_for(tmp_path):
    stop = "{name: early_stopping, metric: METRIC, mode: min, patience: 2}"
    path = file_with(tmp_path, "schedule", {"name": "constant"})

    def hooks(metric, other):
        return [f"hooks=[{stop.replace('METRIC', metric)}, {other}]"]

    load_config(path, hooks("train/loss", "{name: evaluation, splits: [train], final: []}"))
    load_config(path, hooks("own/size", f"'{tmp_path}/own.py:Publishing'"))
    for metric in ("train/loss", "own/size"):
        with pytest.raises(ConfigError, match="is not computed"):
            load_config(path, hooks(metric, "csv"))

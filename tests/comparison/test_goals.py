"""Each metric has its own direction and margin, whatever is read beside it: every pair of endpoint and selector."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from optrun.experiments.comparison.compare import compare
from optrun.experiments.comparison.entry import Entry
from optrun.experiments.comparison.protocol import compare_protocol
from optrun.experiments.comparison.sweep import sweep
from optrun.experiments.comparison.tuning import Tuning
from optrun.experiments.components.hooks.checkpoint import CheckpointHook
from optrun.experiments.components.hooks.stop import EarlyStoppingHook
from optrun.experiments.components.registries import REGISTRIES
from optrun.experiments.config.goal import _BEFORE_0_3, Goal, goal_of, goals_record, recorded_goal
from optrun.experiments.config.lengths import RunLength
from optrun.experiments.errors import UsageError
from optrun.experiments.report.conditions import parse_condition
from optrun.experiments.report.decisions import decide
from optrun.experiments.report.group import Group
from optrun.experiments.report.learning_curves import aggregate, run_bands
from optrun.experiments.report.results import Results
from optrun.experiments.report.sensitivity import good_range
from optrun.experiments.run_directory.comparison_file import SCHEMA
from optrun.experiments.run_directory.run import Run
from optrun.experiments.run_directory.run_dir import RunDir
from optrun.experiments.system.json_text import encode_json
from optrun.experiments.training.build import build
from optrun.experiments.training.configured_hooks import configured_hooks
from optrun.experiments.training.load import load_config

#: What is true of each metric, from its definition: more is better, or less; and its margin, as docs/models.md has it.
TRUTH = {
    "loss": ("min", None),
    "accuracy": ("max", 0.005),
    "top_k": ("max", 0.005),
    "macro_f1": ("max", 0.005),
    "mse": ("min", 0.01),
    "rmse": ("min", 0.01),
    "mae": ("min", 0.01),
    "r2": ("max", 0.01),
    "token_accuracy": ("max", 0.005),
    "binary_accuracy": ("max", 0.005),
    "multilabel_f1": ("max", 0.005),
    "miou": ("max", 0.005),
    "perplexity": ("min", 0.05),
    "bits_per_byte": ("min", 0.01),
}
#: Metrics that came with 0.3: no older run can be judged by them.
SINCE_0_3 = {"rmse", "binary_accuracy", "multilabel_f1", "miou"}
RATES = [0.01, 0.0316, 0.1, 0.316]
PROBLEMS = {
    "classes": ({"name": "iris"}, "cross_entropy", ["accuracy", {"name": "top_k", "k": 2}, "macro_f1"]),
    "values": ({"name": "diabetes"}, "huber", ["mse", "mae", "r2"]),
}
PAIRS = [
    (kind, endpoint, select)
    for kind, (_, _, metrics) in PROBLEMS.items()
    for endpoint, select in itertools.product(
        ["loss", *(name if isinstance(name, str) else name["name"] for name in metrics)], repeat=2
    )
]


def config_of(kind, select, **more):
    data, loss, metrics = PROBLEMS[kind]
    return load_config(
        {
            "data": {**data, "batch_size": 32, "test": 0.2},
            "model": {"name": "mlp", "hidden": [4]},
            "loss": loss,
            "metrics": metrics,
            "optimizer": {"name": "sgd", "lr": 0.1},
            "train": {"epochs": 4},
            "stop": {"patience": 2},
            "eval": {"metric": f"val/{select}"},
            **more,
        }
    )


def protocol_of(kind, endpoint, select):
    config = config_of(kind, select)
    entries = [Entry(name, name, config) for name in ("a", "b")]
    return compare_protocol(entries, seeds=6, tune=3, metric=f"test/{endpoint}", margin=0.02, jobs=1)


def better_first(label, values):
    """Return values from the best to the worst, by what is true of the metric."""
    return sorted(values, reverse=TRUTH[label][0] == "max")


def test_what_is_registered_and_what_older_runs_are_read_by_is_true():
    registered = {
        name: (facts["mode"], facts["margin"])
        for name in REGISTRIES["metric"].names()
        if (facts := REGISTRIES["metric"].get(name).facts)
    }
    assert {"loss": ("min", None), **registered} == TRUTH
    assert dict(_BEFORE_0_3) == {label: facts for label, facts in TRUTH.items() if label not in SINCE_0_3}


@pytest.mark.parametrize(("kind", "endpoint", "select"), PAIRS)
def test_the_protocol_has_each_metric_with_its_own_direction_and_margin(kind, endpoint, select):
    protocol = protocol_of(kind, endpoint, select)
    assert protocol.endpoint == Goal(f"test/{endpoint}", TRUTH[endpoint][0], 0.02)
    assert (protocol.select.metric, protocol.select.mode) == (f"val/{select}", TRUTH[select][0])
    same = endpoint == select  # what matters in a measure matters on every split
    assert protocol.select.margin == (0.02 if same else TRUTH[select][1])


@pytest.mark.parametrize(("kind", "endpoint", "select"), PAIRS)
def test_tuning_keeps_the_best_by_its_own_metric_and_goes_on_on_its_side(kind, endpoint, select):
    goal = protocol_of(kind, endpoint, select).select
    first, second, third, fourth = better_first(select, [0.1, 0.2, 0.3, 0.4])

    def tuned(*scores):
        return Tuning("optimizer.lr", list(RATES), goal, 0.1, "", {r: [s] for r, s in zip(RATES, scores, strict=True)})

    assert tuned(third, first, second, fourth).best() == 0.0316
    assert tuned(third, first, second, fourth).next_value() == pytest.approx(0.0562, rel=0.01)
    assert tuned(second, first, third, None).next_value() == pytest.approx(0.0178, rel=0.01)
    assert tuned(first, second, third, fourth).next_value() == pytest.approx(0.00316, rel=0.01)
    assert tuned(fourth, third, second, first).next_value() == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize(("kind", "endpoint", "select"), PAIRS)
@pytest.mark.parametrize("is_old", [False, True], ids=["new", "written by 0.2.0"])
def test_reports_read_each_metric_by_its_own_direction(kind, endpoint, select, is_old, tmp_path):
    group = written(tmp_path / "compare-x", kind, endpoint, select, is_old)
    assert (group.endpoint.mode, group.endpoint.margin) == (TRUTH[endpoint][0], 0.02)
    assert (group.selector.metric, group.selector.mode) == (f"val/{select}", TRUTH[select][0])
    margin = 0.02 if endpoint == select else TRUTH[select][1]
    assert group.selector.margin == margin
    good = good_range(group.entry("a"), group.selector)
    assert margin is None or (good is not None and (good.low, good.high) == (0.0316, 0.1)), "0.8 and 0.801, not 0.5"
    assert margin is not None or good is None
    results = Results(group)
    assert results.analysis.winner == ("a" if TRUTH[endpoint][0] == "max" else "b"), "a has the higher values"
    ahead, behind = ("a", "b") if TRUTH[endpoint][0] == "max" else ("b", "a")
    for relation, (one, other) in itertools.product(
        ("better than", "not worse than"), ((ahead, behind), (behind, ahead))
    ):
        asked = parse_condition(f"{one} {relation} {other}", ["a", "b"], [])
        assert decide(asked, results.analysis).holds is (one == ahead)


@pytest.mark.parametrize("is_old", [False, True], ids=["new", "written by 0.2.0"])
@pytest.mark.parametrize(("kind", "label", "select"), PAIRS)
def test_in_curves_a_run_that_diverged_is_the_worst_of_whatever_is_drawn(kind, label, select, is_old, tmp_path):
    config, runs = config_of(kind, select), []
    for seed, (last, outcome) in enumerate([(0.5, "done"), (0.7, "done"), (None, "diverged")]):
        path = tmp_path / f"s{seed}"
        write_run(path, config, {}, select, is_old, rows=[0.1, last], label=label, outcome=outcome)
        runs.append(Run(path))
    band = aggregate(runs, f"val/{label}")
    assert band is not None
    assert band.median[-1] == better_first(label, [0.5, 0.7])[1], "the worse of the two that are left"
    assert run_bands(runs, f"val/{label}")[0] == f"val/{label}"
    learning_rate = aggregate(runs, "lr")
    assert learning_rate is not None
    assert learning_rate.median[-1] == 0.1, "no rate is better: the run that diverged is left out"


@pytest.mark.parametrize("kind", PROBLEMS)
def test_in_a_run_each_hook_goes_by_the_metric_that_it_reads(kind):
    for _, watched, select in (pair for pair in PAIRS if pair[0] == kind):
        hooks = [
            {"name": "early_stopping", "metric": f"val/{watched}", "patience": 2},
            {"name": "checkpoint", "best": f"val/{watched}"},
        ]
        config = config_of(kind, select, hooks=hooks)
        made = configured_hooks(config, lambda step: 1.0, RunLength(20, 5), ["train", "val", "test"])
        stops = [hook.goal for hook in made if isinstance(hook, EarlyStoppingHook)]
        bests = [hook.goal for hook in made if isinstance(hook, CheckpointHook)]
        for own, users in (stops, bests):
            assert own is not None
            assert (own.metric, own.mode) == (f"val/{select}", TRUTH[select][0])
            assert users is not None
            assert (users.metric, users.mode) == (f"val/{watched}", TRUTH[watched][0])


@pytest.mark.parametrize("label", TRUTH)
def test_hooks_that_are_made_in_python_know_registered_metrics_too(label):
    for goal in (EarlyStoppingHook(f"val/{label}", patience=1).goal, CheckpointHook(best=f"val/{label}").goal):
        assert goal is not None
        assert goal.mode == TRUTH[label][0]
    with pytest.raises(UsageError, match="nothing says"):
        EarlyStoppingHook("val/of_my_own", patience=1)


def test_a_mode_that_is_given_is_that_of_the_metric_that_decides_and_of_no_other(tmp_path):
    (tmp_path / "own.py").write_text("def own(outputs, targets):\n    return outputs[:, 0]\n")
    metrics = [f"{tmp_path}/own.py:own", "accuracy", "macro_f1"]
    config = config_of("classes", "own", eval={"metric": "val/own", "mode": "min"}, metrics=metrics)
    found = {metric: goal_of(config, metric).mode for metric in ("val/own", "test/own", "val/loss")}
    assert found == {"val/own": "min", "test/own": "min", "val/loss": "min"}
    assert goal_of(config, "val/macro_f1").mode == "max"
    kept = goals_record(config)
    assert recorded_goal("val/own", [{"metrics": kept}]) == Goal("val/own", "min", None)
    assert recorded_goal("lr", [{"metrics": kept}]) is None


@pytest.mark.parametrize(
    ("endpoint", "select", "margin"), [("test/loss", "val/accuracy", 0.01), ("test/accuracy", "val/loss", None)]
)
def test_a_comparison_keeps_the_rate_that_is_best_by_what_it_selects_by(endpoint, select, margin, tmp_path):
    overrides = ["model=logistic", "train.epochs=2", f"eval.metric={select}", "eval.target=null", "data.name=iris"]
    overrides += ["data.batch_size=32", "data.subset=null"]
    done = compare(["sgd", "adam"], overrides, metric=endpoint, margin=margin, tune=3, seeds=1, jobs=2, root=tmp_path)
    best = max if select == "val/accuracy" else min
    for entry in done.data["entries"]:
        means = {}
        for trial in entry["tuning"]["trials"]:
            finals = [
                json.loads((tmp_path / run / "summary.json").read_bytes())["final"][select] for run in trial["runs"]
            ]
            means[trial["value"]] = math.fsum(finals) / len(finals)
        assert means[entry["tuning"]["chosen"]] == pytest.approx(best(means.values()), abs=1e-12)
        assert len(set(means.values())) > 1, "there was a choice"


@pytest.mark.parametrize(("select", "best"), [("val/loss", min), ("val/accuracy", max)])
def test_a_sweep_is_read_by_its_own_metric(select, best, tmp_path):
    target = {"data": {"name": "iris", "batch_size": 32}, "model": "logistic", "loss": "cross_entropy"}
    target |= {"metrics": ["accuracy"], "optimizer": {"name": "sgd", "lr": 0.1}, "train": {"epochs": 2}}
    target["eval"] = {"metric": select}
    (tmp_path / "t.yaml").write_text(json.dumps(target))
    done = sweep(str(tmp_path / "t.yaml"), "optimizer.lr", "0.001,0.1,1.0", seeds=1, jobs=1, root=tmp_path)
    (entry,) = done.data["entries"]
    scores = {trial["value"]: trial["mean"] for trial in entry["tuning"]["trials"]}
    assert done.group.endpoint == done.group.selector
    assert entry["tuning"]["chosen"] == best(scores, key=scores.__getitem__)


def written(folder, kind, endpoint, select, is_old):
    """Write a comparison in which a ends higher than b by 0.3 in the endpoint."""
    protocol, config = protocol_of(kind, endpoint, select).as_dict(), config_of(kind, select)
    runs, entries = [], []
    for name, high in (("a", 0.8), ("b", 0.5)):
        for seed in range(6):
            path = folder / f"{name}-s{seed}"
            write_run(
                path,
                config,
                {f"test/{endpoint}": high + 0.001 * (seed * 7 % 5 if name == "a" else seed)},
                select,
                is_old,
            )
            record = {"entry": name, "role": "evaluate", "seed": seed, "settings": {}, "state": "done"}
            runs.append({**record, "path": f"{folder.name}/{path.name}"})
        means = [0.5, 0.801, 0.8, None] if TRUTH[select][0] == "max" else [0.5, 0.199, 0.2, None]
        trials = [{"value": v, "mean": m, "scores": [m], "runs": []} for v, m in zip(RATES, means, strict=True)]
        entries.append(
            {"name": name, "config": {}, "settings": {}, "tuning": {"key": "optimizer.lr", "trials": trials}}
        )
    if is_old:
        protocol = {key: value for key, value in protocol.items() if key not in ("select_mode", "select_margin")}
    data = {"schema": SCHEMA, "kind": "compare", "name": folder.name, "protocol": protocol, "entries": entries}
    (folder / "comparison.json").write_bytes(encode_json({**data, "runs": runs, "looks": []}))
    return Group(folder)


def write_run(folder, config, final, select, is_old, *, rows=(), label="", outcome="done"):
    """Write what a run leaves, as this version does or as 0.2.0 did."""
    folder.mkdir(parents=True)
    judged = {"name": f"val/{select}", "mode": TRUTH[select][0], "target": None}
    summary = {"outcome": outcome, "metric": judged, "metrics": goals_record(config), "final": final}
    if is_old:
        del summary["metrics"]
    run = RunDir(folder)
    run.write_json("summary.json", {**summary, "config": config.to_dict()})
    lines = [
        {"step": step, "epoch": step, "time": 1.0, "lr": 0.1, f"val/{label}": value}
        for step, value in enumerate(rows)
        if value is not None
    ]
    run.metrics_path.write_bytes(b"".join(encode_json(line) for line in lines))
    run.set_status(outcome)


def test_what_no_trial_would_measure_is_refused_before_the_first_run(tmp_path):
    target = {"data": {"name": "iris", "batch_size": 32}, "model": "logistic", "loss": "cross_entropy"}
    target |= {"optimizer": {"name": "sgd", "lr": 0.1}, "train": {"epochs": 2}}
    for name, metrics in (("with", ["accuracy"]), ("without", [])):
        (tmp_path / f"{name}.yaml").write_text(json.dumps({**target, "metrics": metrics}))
    whole, without = str(tmp_path / "with.yaml"), str(tmp_path / "without.yaml")
    options = {"tune": 3, "seeds": 2, "root": tmp_path / "runs"}
    with pytest.raises(UsageError, match=r"with has no validation data \(data.val is 0\).*--no-tune"):
        compare([whole, whole], ["data.val=0", "with-2:optimizer.lr=0.2"], **options)
    with pytest.raises(UsageError, match=r"has no validation data"):
        sweep(whole, "optimizer.lr", "0.1,0.2", ["data.val=0"], root=tmp_path / "runs")
    entries = [Entry(path, path, load_config(path)) for path in (whole, without)]
    with pytest.raises(UsageError, match=r"eval\.metric.*judged differently"):
        compare_protocol(entries, metric="test/loss", margin=0.1, tune=3, across_problems=True)
    assert not (tmp_path / "runs").exists()


# ---- margins in the unit of the targets ------------------------------------------------------------------------------

TABLE = {"name": "csv", "path": "t.csv", "target": "y", "task": "values"}
OWN_DATA = """
import torch
from optrun.experiments import Dataset

def mine():
    inputs = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    return Dataset(inputs, 1e5 * inputs.sum(1, keepdim=True), "values", 1)
"""
# Data, and whether its targets have a standard deviation of about 1, which is measured below.
SCALES = {
    "diabetes": ({"name": "diabetes"}, True),
    "diabetes as it is": ({"name": "diabetes", "scaling": "none"}, False),
    "linnerud": ({"name": "linnerud"}, True),
    "digits": ({"name": "digits", "targets": "image"}, True),
    "digits as bytes": ({"name": "digits", "targets": "image", "scaling": "unit"}, False),
    "linear_teacher": ({"name": "linear_teacher", "num_examples": 200}, True),
    "noise": ({"name": "linear_teacher", "num_examples": 200, "noise": 30.0}, False),
    "synthetic": ({"name": "synthetic", "num_examples": 200}, True),
    "csv": (TABLE, False),
    "csv, scaled": ({**TABLE, "target_scaling": "standard"}, False),
    "arrays": ({"name": "arrays", "path": "t.npz"}, False),
    "own": ({"name": "./mine.py:mine"}, False),
}


def _values_config(data, metric):
    Path("t.csv").write_text("x,y\n" + "".join(f"{n % 7},{n * n * 100 % 9973}\n" for n in range(60)))
    np.savez("t.npz", inputs=np.eye(30), targets=np.arange(30.0) * 1000)
    Path("mine.py").write_text(OWN_DATA)
    return load_config(
        {
            "data": data,
            "model": "logistic",
            "loss": "huber",
            "metrics": [metric],
            "optimizer": {"name": "sgd", "lr": 0.1},
            "train": {"steps": 2},
        }
    )


@pytest.mark.parametrize("data", SCALES)
@pytest.mark.parametrize("metric", ["mae", "mse", "rmse", "r2"])
def test_a_margin_in_the_unit_of_the_targets_holds_only_where_that_is_known(data, metric):
    made, is_known = SCALES[data]
    config = _values_config(made, metric)
    goal = goal_of(config, f"test/{metric}")
    assert goal.margin == (0.01 if is_known or metric == "r2" else None)
    entries = [Entry(name, name, config) for name in ("a", "b")]
    if goal.margin is None:
        with pytest.raises(
            UsageError, match=rf"test/{metric} is in the unit of the targets of data .*say with --margin"
        ):
            compare_protocol(entries, jobs=1)
    else:
        assert compare_protocol(entries, jobs=1).endpoint.margin == 0.01
    given = compare_protocol(entries, margin=500.0, jobs=1)
    assert (given.endpoint.margin, given.select.margin, given.margin_source) == (500.0, 500.0, "given")


@pytest.mark.parametrize("data", SCALES)
def test_what_data_says_of_its_targets_is_so(data):
    made, is_known = SCALES[data]
    targets = build(_values_config(made, "mae")).splits.train.targets
    spread = float(targets.std(dim=0, correction=0).mean() if data != "digits" else targets.std())
    if is_known:
        assert spread == pytest.approx(1, abs=0.2)
    elif data != "csv, scaled":  # whose metrics are in the unit of the file
        assert not 0.8 < spread < 1.2

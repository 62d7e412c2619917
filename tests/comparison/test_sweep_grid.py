"""A sweep over several keys: each combination is the single run, and what is said of the best holds by brute force."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from optrun.cli.app import run
from optrun.cli.texts.comparison_text import sensitivity_lines
from optrun.experiments import Comparison, sweep, train
from optrun.experiments.comparison.sweep_settings import tuning_of
from optrun.experiments.config.goal import Goal
from optrun.experiments.errors import UsageError
from optrun.experiments.report.export import export
from optrun.experiments.report.page.page_data import sensitivity_data
from optrun.experiments.report.sensitivity import good_ranges, is_as_good, unmoved_keys
from optrun.experiments.report.trials import chosen_settings, edges_of, trials_of
from optrun.experiments.report.words.protocol import protocol_sentences

LR, MOMENTUM = "optimizer.lr", "optimizer.momentum"
TRIED = {LR: [0.3, 0.01], MOMENTUM: [0.0, 0.9]}
CONFIG: dict[str, Any] = {
    "name": "own",
    "data": {"name": "iris", "batch_size": 32},
    "model": "logistic",
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "mom", "lr": 0.1, "momentum": 0.9},
    "eval": {"metric": "val/loss"},
    "train": {"epochs": 1, "threads": 1},
}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return sweep(CONFIG, TRIED, seeds=2, jobs=1, root=tmp_path_factory.mktemp("runs"))


def test_each_combination_scores_what_its_single_run_scores(swept: Comparison, tmp_path: Path) -> None:
    trials = swept.data["entries"][0]["tuning"]["trials"]
    assert [trial["settings"] for trial in trials] == [
        {LR: lr, MOMENTUM: momentum} for lr in (0.01, 0.3) for momentum in (0.0, 0.9)
    ]
    scores = {}
    for trial in trials:
        optimizer = {"name": "mom", "lr": trial["settings"][LR], "momentum": trial["settings"][MOMENTUM]}
        single = [train({**CONFIG, "optimizer": optimizer, "seed": 1000 + at}, root=tmp_path) for at in range(2)]
        assert trial["scores"] == [each.summary["final"]["val/loss"] for each in single]
        scores[trial["settings"][LR], trial["settings"][MOMENTUM]] = sum(trial["scores"]) / 2
    best = min(scores, key=lambda pair: scores[pair])
    assert len(set(scores.values())) == 4
    assert swept.data["entries"][0]["tuning"]["chosen"] == {LR: best[0], MOMENTUM: best[1]}
    assert f"val/loss was best at {LR} = {best[0]} and {MOMENTUM} = {best[1]:g} (" in swept.sentence


def test_it_is_read_again_by_all_that_read_sweeps(swept: Comparison, tmp_path: Path, capsys: Any) -> None:
    (entry,) = swept.group.entries
    said = " ".join(protocol_sentences(swept.group))
    assert f"4 settings, all combinations of {LR} 0.01 and 0.3 with {MOMENTUM} 0 and 0.9; each run with" in said
    assert f"the {LR} and {MOMENTUM} of own lie at the edge" in swept.sentence
    assert "Selected: the best of 4 settings" in swept.sentence
    frame = swept.to_pandas("trials")
    assert list(zip(frame[LR], frame[MOMENTUM], strict=True)) == list(itertools.product([0.01, 0.3], [0.0, 0.9]))
    drawn = sensitivity_lines(entry, swept.group, 80)
    assert drawn[1].strip().startswith("lr=0.01, momentum=0  ")
    assert sum("best" in line for line in drawn) == 1
    chart = sensitivity_data(swept.group)
    assert chart is not None
    assert (chart["key"], [line["label"] for line in chart["lines"]]) == (LR, ["momentum=0", "momentum=0.9"])
    assert [line["chosen"] for line in chart["lines"]].count(None) == 1, "the best is on one line"
    for suffix in ("html", "svg", "md", "csv", "json"):
        file = export(swept, tmp_path / f"sweep.{suffix}")
        assert "momentum" in file.read_text() or suffix == "svg"
    capsys.readouterr()
    assert run(["report", str(swept.path), "--json"]) == 0
    assert run(["show", str(swept.path)]) == 0
    assert "lr=0.3" in capsys.readouterr().out
    assert "<th" in swept._repr_html_()
    assert "momentum" in swept._repr_html_()


def test_a_second_time_nothing_is_trained_and_a_part_of_it_is_found(swept: Comparison) -> None:
    again = sweep(
        CONFIG, {key: ",".join(map(str, tried)) for key, tried in TRIED.items()}, jobs=1, root=swept.path.parent
    )
    assert again.path == swept.path
    part = sweep(
        {**CONFIG, "optimizer": {**CONFIG["optimizer"], "momentum": 0.9}},
        LR,
        [0.3, 0.01],
        jobs=1,
        root=swept.path.parent,
    )
    assert all(each["cached"] for each in part.data["runs"]), "the runs of one key are those of the grid"
    assert part.data["entries"][0]["tuning"]["key"] == LR, "one key is written as ever"


def test_the_command_line_names_the_best_with_all_its_values(base: Path, capsys: Any) -> None:
    Path("own.yaml").write_text(json.dumps({**CONFIG, "data": {**CONFIG["data"]}}))
    args = ["sweep", "own.yaml", f"{LR}=0.3,0.01", f"{MOMENTUM}=0,0.9", "--seeds", "1", "-j", "1"]
    assert run(args) == 0
    told = capsys.readouterr()
    assert f"{LR}=0.3,0.01 with {MOMENTUM}=0,0.9: 4 settings," in " ".join(told.err.split())
    assert "next: optrun train own.yaml optimizer.lr=0.3 optimizer.momentum=0.9" in told.err
    assert run([*args, "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["entries"]
    assert (entry["keys"], entry["chosen"]) == ([LR, MOMENTUM], {LR: 0.3, MOMENTUM: 0.9})


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["optimizer.lr=0.1,0.3", "optimizer.lr=1,2"], "optimizer.lr is swept twice, with 0.1,0.3 and with 1,2"),
        (["optimizer.lr=0.1,0.3", "optimizer.momentum=0,0.9", "optimizer.lr=1"], "optimizer.lr is swept, and given"),
        (["optimizer.lr=0.1,0.3", "optimizer.momentom=0,0.9"], "momentum"),
        (["optimizer.lr=0.1,0.3", "optimizer.momentum=0,1"], "expected a number >= 0, < 1, got 1"),
        (["optimizer.lr=log:0.01:1", "optimizer.momentum=lin:0:0.9"], "81 settings on 2 seeds are 162 runs"),
        (["optimizer.lr=0.1,0.3", "checkpoint.keep=2,3"], "checkpoint.keep has no effect: with 2 and 3"),
        (["optimizer.lr=log:0.1:1", "optimizer.momentum=lin:0:0.5", "--method", "random"], "use grid"),
        (["optimizer.lr=0.1,0.3", "optimizer.momentum=0,0.9", "--trials", "3"], "list their values"),
        (["optimizer.lr=0.1,0.3", "data.val=0.1,0.2"], "their scores would not compare"),
        (["optimizer.lr=0.1,0.3", "data.batch_size=lin:8:16", "--trials", "2"], "give int:8:16"),
    ],
)
def test_what_cannot_be_a_grid_is_refused_before_any_run(
    base: Path, capsys: Any, args: list[str], message: str
) -> None:
    assert run(["sweep", "mom", *args]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (base / "runs").exists()


@pytest.mark.parametrize(
    ("key", "spec", "message"),
    [
        ({}, None, "sweep what"),
        (TRIED, ["train.epochs=1"], r"overrides=… has the rest"),
        (LR, None, "give the values to try"),
        ({"optimizer": ["sgd", "mom"], LR: [0.1, 0.3]}, None, "optimizer.lr is a part of optimizer"),
        ({LR: [0.1, 0.3], "seed": [0, 1]}, None, "the same seeds"),
    ],
)
def test_a_mapping_that_is_no_grid_is_refused(base: Path, key: Any, spec: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sweep("mom", key, spec, root=base / "runs")


SEED = random.randrange(1 << 30)  # replay: SEED = the number that the failure prints


@pytest.mark.parametrize("mode", ["max", "min"])
def test_best_edges_and_good_ranges_by_brute_force(mode: Any) -> None:
    draw, goal = random.Random(SEED), Goal("val/score", mode, 0.1)
    for _ in range(200):
        values = {key: draw.sample(range(9), draw.randint(1, 4)) for key in ("a.x", "b.x", "c.y")[: draw.randint(2, 3)]}
        values["names"] = ["relu", "tanh"]
        tuning = tuning_of(values, goal)
        assert set(tuning.values) == set(itertools.product(*values.values()))
        for value in tuning.values:
            tuning.scores[value] = [draw.choice([0.0, 0.05, 0.3, 0.6, None])]
            tuning.states[value] = ["diverged" if tuning.scores[value] == [None] else "done"]
        entry = {"name": "own", "tuning": tuning.as_dict([], len(tuning.values))}
        assert [trial["settings"] for trial in trials_of(entry)] == [tuning.settings(value) for value in tuning.values]
        scored = {value: score for value, (score,) in tuning.scores.items() if score is not None}
        if not scored:
            assert (chosen_settings(entry), edges_of(entry), good_ranges(entry, goal)) == ({}, [], {}), SEED
            continue
        top = (max if mode == "max" else min)(scored.values())
        best = next(value for value in tuning.values if scored.get(value) == top)
        assert chosen_settings(entry) == tuning.settings(best), SEED
        for trial in trials_of(entry):
            mean = trial["mean"]
            assert is_as_good(entry, trial, goal) == (mean is not None and abs(mean - top) <= 0.1), SEED
        spans, edges = good_ranges(entry, goal), edges_of(entry)
        assert "names" not in spans
        assert "names" not in edges
        for place, key in enumerate(tuning.keys[:-1]):
            others = [key for key in tuning.keys if key != tuning.keys[place]]
            line = [v for v in tuning.values if all(tuning.settings(v)[k] == tuning.settings(best)[k] for k in others)]
            at = [value[place] for value in line]
            assert (key in edges) == (best[place] in (at[0], at[-1])), SEED
            assert spans[key].low <= best[place] <= spans[key].high, SEED
            for value in line:
                if spans[key].low <= value[place] <= spans[key].high:
                    assert abs(scored[value] - top) <= 0.1, SEED
            beyond = [value for value in line if value[place] > spans[key].high][:1]
            assert spans[key].closed_high == bool(beyond), SEED
            assert all(value not in scored or abs(scored[value] - top) > 0.1 for value in beyond), SEED


def test_a_key_that_moves_no_score_is_told() -> None:
    tuning = tuning_of({"a": [1, 2], "b": [1, 2]}, Goal("val/score", "max", 0.1))
    tuning.scores = {(a, b): [a * 0.5, a * 0.25] for a in (1, 2) for b in (1, 2)}
    assert unmoved_keys({"name": "own", "tuning": tuning.as_dict([], 4)}) == ["b"]


@pytest.mark.parametrize(
    "tried", [{"model.activation": ["tanh", "relu"]}, {"model.activation": ["tanh", "relu"], LR: [0.1, 0.3]}]
)
def test_names_have_no_edge_and_no_range(base: Path, tried: dict[str, Any], capsys: Any) -> None:
    config = {**CONFIG, "model": {"name": "mlp", "hidden": [4]}, "eval": {"metric": "val/accuracy"}}
    found = sweep(config, tried, seeds=1, jobs=1, root=base / "runs")
    (entry,) = found.group.entries
    assert [trial["mean"] is None for trial in trials_of(entry)] == [False] * len(found.data["runs"])
    assert "model.activation" not in [*edges_of(entry), *good_ranges(entry, found.group.selector)]
    assert f"model.activation = {chosen_settings(entry)['model.activation']}" in found.sentence
    for suffix in ("html", "png", "md"):
        export(found, base / f"sweep.{suffix}")
    assert run(["show", str(found.path)]) == 0
    assert "tanh" in capsys.readouterr().out

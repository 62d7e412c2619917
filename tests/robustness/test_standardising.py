"""Every data set that is standardised: by its training rows alone, as scikit-learn does it, kept and used again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from optrun.experiments import Run, build, evaluate, load_config, resume, train
from optrun.experiments.components.data import Part, Splits, make_data, registry, tables
from optrun.experiments.components.hooks.hook import Hook
from optrun.experiments.run_directory import checkpoints
from optrun.experiments.training.load import stored_fitted

ROWS = np.random.default_rng(3).normal([1e3, -4, 0], [5, 1e-3, 2], (40, 3))  # of the CSV file
CSV = {"name": "csv", "path": "table.csv"}
CASES: dict[str, dict[str, Any]] = {
    **{name: {"name": name} for name in ("iris", "wine", "breast_cancer", "diabetes", "linnerud")},
    "csv-classes": {**CSV, "target": "kind", "task": "classes", "inputs": ["a", "b", "c"]},
    "csv-values": {**CSV, "target": "c", "task": "values", "inputs": ["a", "b"]},
    "csv-both": {**CSV, "target": ["b", "c"], "task": "values", "inputs": ["a"], "target_scaling": "standard"},
    "csv-targets": {**CSV, "target": "c", "task": "values", "inputs": ["a"], "scaling": "none"}
    | {"target_scaling": "standard"},
}
SPLITS = {"plain": {}, "subset": {"subset": 8}, "seed": {"split_seed": 7}, "fractions": {"val": 0.1, "test": 0.4}}


@dataclass
class Table:
    """The rows of one data set, that a test may change: columns of numbers, inputs first."""

    numbers: np.ndarray
    num_inputs: int

    @property
    def columns(self) -> dict[str, np.ndarray]:
        return {"inputs": self.numbers[:, : self.num_inputs], "targets": self.numbers[:, self.num_inputs :]}


def write_csv(path: Path, numbers: np.ndarray) -> None:
    lines = [f"{a!r},{b!r},{c!r},{'ox' if c > 0 else 'ant'}" for a, b, c in numbers.tolist()]
    path.write_text("a,b,c,kind\n" + "\n".join(lines) + "\n")


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Table]:
    """Return a function that gives the rows of a case, after putting `changed` in their place if it is given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPTRUN_THREADS", "1")
    read = tables._table

    def rows(case: str, changed: np.ndarray | None = None) -> Table:
        data = CASES[case]
        if data["name"] != "csv":
            if changed is not None:
                monkeypatch.setattr(tables, "_table", lambda name, files: changed)
            bunch = read(case, registry.get(case).facts["bundled"])
            return Table(bunch if changed is None else changed, bunch.shape[1] - {"linnerud": 3}.get(case, 1))
        changed = ROWS if changed is None else changed
        write_csv(tmp_path / "table.csv", changed)
        names = [*data["inputs"], *([data["target"]] if isinstance(data["target"], str) else data["target"])]
        return Table(changed[:, ["abc".index(name) for name in names if name in "abc"]], len(data["inputs"]))

    return rows


def config_of(case: str, **data: Any) -> Any:
    values = CASES[case].get("task") == "values" or case in ("diabetes", "linnerud")
    rest = {"loss": "mse"} if values else {"loss": "cross_entropy", "metrics": ["accuracy"]}
    return load_config(
        {
            "data": {**CASES[case], "batch_size": 4, **data},
            "model": {"name": "mlp", "hidden": [3]},
            "optimizer": {"name": "adam", "lr": 0.03},
            "train": {"steps": 6},
            "log": {"every": "1 steps"},
            "eval": {"every": "3 steps"},
            **rest,
        }
    )


def parts_of(splits: Splits) -> dict[str, Part]:
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    return {name: part for name, part in parts.items() if part is not None}


def standardised(case: str) -> list[str]:
    return list(make_data(**{k: tuple(v) if isinstance(v, list) else v for k, v in CASES[case].items()}).standardised)


@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize("case", CASES)
def test_by_the_training_rows_as_scikit_learn_does(case: str, how: str, table: Callable[..., Table]) -> None:
    rows = table(case)
    splits = build(config_of(case, **SPLITS[how])).splits
    assert standardised(case), "a case that scales nothing shows nothing"
    for name in standardised(case):
        scaler = StandardScaler().fit(rows.columns[name][splits.train.positions])
        for part in parts_of(splits).values():
            expected = scaler.transform(rows.columns[name][part.positions])
            np.testing.assert_allclose(getattr(part, name).numpy(), expected, rtol=1e-5, atol=1e-6)
        fitted = getattr(splits.train, name).double().numpy()
        np.testing.assert_allclose(fitted.mean(0), 0, atol=1e-6)
        np.testing.assert_allclose(fitted.std(0), 1, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_no_other_row_has_a_say(case: str, table: Callable[..., Table]) -> None:
    whole, data = table(case), CASES[case]
    before = build(config_of(case)).splits
    is_csv = data["name"] == "csv"
    changed = (ROWS if is_csv else whole.numbers).copy()
    for part in (before.val, before.test):
        assert part is not None
        columns = slice(0, 2 if is_csv else whole.num_inputs)
        changed[part.positions, columns] *= 1.5  # the class of a row stays, on which the split depends
    table(case, changed)
    after = build(config_of(case)).splits
    assert before.train.positions.equal(after.train.positions)
    assert before.train.inputs.equal(after.train.inputs)  # type: ignore[union-attr]
    assert before.train.targets.equal(after.train.targets)
    assert before.fitted == after.fitted
    assert before.test is not None
    assert after.test is not None
    assert not before.test.inputs.equal(after.test.inputs)  # type: ignore[union-attr]


class StopHook(Hook):
    name = "stop"

    def after_run(self, ctx: Any, values: Any) -> None:
        if ctx.step == 3:
            raise KeyError("the end of this process")


def rows_of(run: Run) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in run.dir.metrics_path.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "time"} for row in rows]


@pytest.mark.parametrize("case", CASES)
def test_measured_and_resumed_with_what_the_run_kept(case: str, table: Callable[..., Table]) -> None:
    table(case)
    config = config_of(case).to_dict()
    whole = train(config, ["checkpoint.every=2 steps"], name="whole")
    final = whole.dir.read_json("summary.json")["final"]  # type: ignore[index]
    for split in ("val", "test"):
        measured = evaluate("whole", split=split)
        assert {key: measured[key] for key in final if key.startswith(split)} == {
            key: value for key, value in final.items() if key.startswith(split)
        }
    with pytest.raises(KeyError, match="the end"):
        train(config, ["checkpoint.every=2 steps"], name="cut", on_start=lambda *_: [StopHook()])
    resumed = resume("cut")
    assert rows_of(resumed) == rows_of(whole)
    states = [checkpoints.load(run.checkpoint("last"))[0] for run in (whole, resumed)]
    learned = [name for name in states[0] if name.startswith(("model/", "optimizer/"))]
    assert learned
    assert all(states[0][name].equal(states[1][name]) for name in learned)
    kept = whole.dir.read_json("fitted.json")
    assert list(kept["scales"]) == standardised(case)  # type: ignore[index]
    for run in (whole, resumed):
        assert all(checkpoints.load(file)[1]["fitted"] == kept for file in run.checkpoints)


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case]["name"] == "csv"])
def test_rows_that_come_later_are_scaled_by_what_was_kept(case: str, table: Callable[..., Table]) -> None:
    before = table(case)
    config = config_of(case)
    first = build(config).splits
    run = train(config.to_dict(), name="run")
    more = np.concatenate([ROWS, np.random.default_rng(4).normal([9e3, 5, 8], 3, (25, 3))])
    after = table(case, more)
    (run.path / "fitted.json").unlink()  # then the checkpoint says it
    splits = build(config, stored_fitted(run.dir)).splits
    assert splits.fitted == first.fitted
    for name in standardised(case):
        scaler = StandardScaler().fit(before.columns[name][first.train.positions])
        for part in parts_of(splits).values():
            expected = scaler.transform(after.columns[name][part.positions])
            np.testing.assert_allclose(getattr(part, name).numpy(), expected, rtol=1e-4, atol=1e-5)

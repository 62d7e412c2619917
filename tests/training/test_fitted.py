"""What is fitted to the training rows: its record, what is refused, and runs that were made before there was one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from optrun.experiments import Dataset, build, evaluate, load_config, resume, train
from optrun.experiments.components.data import BEFORE, Fitted, make_data, split
from optrun.experiments.components.data.scale import Scale
from optrun.experiments.errors import DataError, OptrunError
from optrun.experiments.training.load import stored_fitted

OLD = Path(__file__).parents[1] / "fixtures" / "version_0_1_scaled"
EXPECTED = json.loads((OLD / "expected.json").read_text())
TABLE = {"name": "csv", "path": "table.csv", "target": "kind", "task": "classes"}
CONFIG = {
    "data": TABLE,
    "model": "logistic",
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "sgd", "lr": 0.1},
    "train": {"steps": 4, "threads": 1},
}
LINES = ["a,b,kind", *(f"{n % 7},{n * 0.5},{('ox', 'ant', 'bee')[n % 3]}" for n in range(30))]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(LINES)
    return tmp_path


def write(lines: list[str], path: str = "table.csv") -> None:
    Path(path).write_text("\n".join(lines) + "\n")


def made(lines: list[str], fitted: Fitted, **args: Any) -> Dataset:
    write(lines)
    return make_data("csv", fitted=fitted, path="table.csv", target="kind", task="classes", **args)


# ---- runs of before ----------------------------------------------------------------------------------------------


@pytest.fixture
def old(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(OLD, here / "old")
    monkeypatch.chdir(here / "old")
    monkeypatch.setenv("OPTRUN_THREADS", "1")
    return here / "old"


def close(found: dict[str, Any], stored: dict[str, Any]) -> None:
    """Check numbers up to the last digits, which are a processor's own."""
    assert list(found) == list(stored)
    for key, value in stored.items():
        assert found[key] == (pytest.approx(value, rel=1e-4, abs=1e-6) if isinstance(value, float) else value), key


@pytest.mark.parametrize("name", EXPECTED)
def test_an_old_run_is_measured_as_it_was(name: str, old: Path, caplog: pytest.LogCaptureFixture) -> None:
    for part, stored in EXPECTED[name]["eval"].items():
        close(evaluate(f"{name}-stopped", split=part), stored)
    assert "standardised its data over all rows, those for testing too: it keeps that" in caplog.text


@pytest.mark.parametrize("name", EXPECTED)
def test_an_old_run_goes_on_as_it_began(name: str, old: Path) -> None:
    run = resume(f"{name}-stopped")
    rows = [json.loads(line) for line in run.dir.metrics_path.read_text().splitlines()]
    for found, stored in zip(rows, EXPECTED[name]["rows"], strict=True):
        close({key: value for key, value in found.items() if key != "time"}, stored)
    final = run.dir.read_json("summary.json")["final"]  # type: ignore[index]
    close(final, EXPECTED[name]["final"])
    measured = evaluate(f"{name}-stopped", split="test")  # from now on by its record
    assert measured["test/loss"] == final["test/loss"]
    assert stored_fitted(run.dir).rows == "all"


def test_another_file_is_scaled_as_an_old_run_scaled_its_own(old: Path) -> None:
    write([*(old / "table.csv").read_text().splitlines(), "1000,900,ox"], "more.csv")
    run = resume("csv-stopped", {"data.path": "more.csv"}, allow_change=True)
    numbers = np.loadtxt("table.csv", delimiter=",", skiprows=1, usecols=(0, 1))
    scale = stored_fitted(run.dir).scales["inputs"]
    np.testing.assert_allclose([scale.mean, scale.std], [numbers.mean(0), numbers.std(0)], rtol=1e-12)


def test_classes_that_an_old_run_sorted_as_text_keep_their_numbers(old: Path) -> None:
    """Versions without a record sorted -1 before -2; the model's outputs are in that order."""
    lines = (old / "table.csv").read_text().replace("ox", "-1").replace("ant", "-2")
    (old / "table.csv").write_text(lines)
    renamed = {"ox": "-1", "ant": "-2"}
    dataset = make_data("csv", fitted=BEFORE, path="table.csv", target="kind", task="classes")
    assert dataset.class_names == ("-1", "-2")
    assert make_data("csv", path="table.csv", target="kind", task="classes").class_names == ("-2", "-1")
    kinds = [line.split(",")[-1] for line in (OLD / "table.csv").read_text().splitlines()[1:]]
    assert [dataset.class_names[number] for number in dataset.targets] == [renamed[kind] for kind in kinds]
    assert evaluate("csv-stopped")["step"] > 0
    assert resume("csv-stopped").dir.read_json("fitted.json")["arguments"]["classes"] == ["-1", "-2"]  # type: ignore[index]


# ---- the record --------------------------------------------------------------------------------------------------


def test_it_goes_to_json_and_back_exactly() -> None:
    fitted = split(make_data("diabetes")).fitted
    assert Fitted.from_dict(json.loads(json.dumps(fitted.as_dict()))) == fitted
    assert set(fitted.scales) == {"inputs", "targets"}


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("scales"),
        lambda record: record.update(schema="optrun/fitted@2"),
        lambda record: record.update(rows="some"),
        lambda record: record["scales"]["inputs"].update(std=[1.0, 0.0]),
        lambda record: record["scales"]["inputs"].update(mean=[1.0]),
        lambda record: record["scales"]["inputs"].update(mean=[1.0, float("nan")]),
        lambda record: record["scales"]["inputs"].update(mean=["1", "2"]),
        lambda record: record["scales"]["inputs"].update(std=[1.0, 2.0, 3.0], mean=[1.0, 2.0, 3.0]),
    ],
)
def test_a_damaged_record_is_refused(change: Any) -> None:
    run = train(CONFIG, name="run")
    record = json.loads((run.path / "fitted.json").read_text())
    change(record)
    (run.path / "fitted.json").write_text(json.dumps(record))
    with pytest.raises(OptrunError, match=r"is damaged|were standardised as 3 columns, but there are 2 now"):
        build(load_config(CONFIG), stored_fitted(run.dir))


def test_nothing_is_written_where_nothing_is_fitted() -> None:
    run = train({**CONFIG, "data": "digits"}, ["train.steps=1"])
    assert not (run.path / "fitted.json").exists()


def test_a_run_that_goes_on_with_other_data_keeps_its_scale_and_takes_what_it_lacks() -> None:
    plain = {**CONFIG, "data": {**TABLE, "scaling": "none"}}
    run = train(plain, name="run")
    assert run.dir.read_json("fitted.json")["scales"] == {}  # type: ignore[index]
    resume("run", {"data.scaling": "standard", "train.steps": 6}, allow_change=True)
    fitted = stored_fitted(run.dir)
    assert fitted == build(load_config(CONFIG)).splits.fitted, "by the training rows, not as an old run"
    before = [evaluate("run", checkpoint=file.step) for file in run.checkpoints]
    assert [found["step"] for found in before][-1] == 6
    write([*LINES, *["90,90,ox"] * 30], "more.csv")
    resume("run", {"data.path": "more.csv", "train.steps": 8}, allow_change=True)
    assert stored_fitted(run.dir) == fitted


# ---- reading rows ------------------------------------------------------------------------------------------------


def test_columns_and_classes_stay_as_they_were() -> None:
    first = split(make_data("csv", path="table.csv", target="kind", task="classes"))
    again = made(["c,kind,b,a", "0,ox,2,1", "1,bee,4,3"], first.fitted)
    assert again.inputs.tolist() == [[1, 2], [3, 4]]
    assert again.targets.tolist() == [2, 1]
    assert again.class_names == ("ant", "bee", "ox")
    single = split(made(["a,b,kind", "3,7,ox"], first.fitted), val=0, test=0, fitted=first.fitted)
    scale = first.fitted.scales["inputs"]
    expected = (np.array([3, 7]) - scale.mean) / scale.std
    np.testing.assert_allclose(single.train.inputs[:1].numpy()[0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a,b,kind", "1,2,ox", "1,2,yak"], "table.csv:3: 'yak' in column 'kind' is none of the classes ant, bee, ox"),
        (["a,kind", "1,ox"], "has no column 'b'"),
    ],
)
def test_rows_that_do_not_fit_are_refused(lines: list[str], message: str) -> None:
    fitted = split(make_data("csv", path="table.csv", target="kind", task="classes")).fitted
    with pytest.raises(DataError, match=message):
        made(lines, fitted)


def test_arrays_and_folders_of_pictures_keep_their_classes() -> None:
    from PIL import Image

    np.savez("a.npz", x=np.ones((6, 2)), y=np.arange(6) % 3)
    np.savez("b.npz", x=np.ones((2, 2)), y=[0, 1])
    np.savez("c.npz", x=np.ones((4, 2)), y=[0, 1, 2, 3])
    arrays = split(make_data("arrays", path="a.npz")).fitted
    assert make_data("arrays", path="b.npz", fitted=arrays).num_outputs == 3
    with pytest.raises(DataError, match="class numbers must be 0 to 2, got 0 to 3"):
        make_data("arrays", path="c.npz", fitted=arrays)
    for folder, names in {"p": ("cat", "dog"), "q": ("dog",), "r": ("ape", "cat")}.items():
        for name in names:
            Path(folder, name).mkdir(parents=True)
            for number in range(3):
                Image.new("RGB", (8, 8)).save(Path(folder, name, f"{number}.png"))
    pictures = split(make_data("image_folder", path="p", size=8)).fitted
    assert make_data("image_folder", path="q", size=8, fitted=pictures).targets.tolist() == [1, 1, 1]
    with pytest.raises(DataError, match="the folder ape is none of the classes cat, dog"):
        make_data("image_folder", path="r", size=8, fitted=pictures)


# ---- deviations of 0, and numbers out of range -------------------------------------------------------------------


@pytest.mark.parametrize("value", [1.0, 0.1, 1e-300, 1e30, 0.0])
def test_a_column_that_is_constant_over_the_training_rows_is_divided_by_one(value: float) -> None:
    inputs = torch.full((20, 2), value, dtype=torch.float64)
    inputs[:, 1] = torch.arange(20)
    dataset = Dataset(inputs, torch.arange(20) % 2, "classes", 2, standardised=("inputs",))
    train_rows = split(dataset).train.positions
    other = split(dataset).test.positions[0]  # type: ignore[union-attr]
    inputs[other, 0] = value + 3
    parts = split(dataset)
    assert parts.train.inputs[:][:, 0].tolist() == [0.0] * len(train_rows)
    row = int((parts.test.positions == other).nonzero())  # type: ignore[union-attr]
    assert float(parts.test.inputs[:][row, 0]) == (value + 3) - value  # type: ignore[union-attr]
    assert parts.fitted.scales["inputs"].std[0] == 1.0


def test_a_number_that_no_scale_brings_into_range_is_refused() -> None:
    inputs = torch.zeros(20, 1, dtype=torch.float64)
    inputs[:, 0] = 1e-30 * torch.arange(20)
    dataset = Dataset(inputs, torch.arange(20) % 2, "classes", 2, standardised=("inputs",), columns=("width",))
    inputs[split(dataset).test.positions[0]] = 1e30  # type: ignore[union-attr]
    with pytest.raises(DataError, match="column 'width', is too far from the training rows"):
        split(dataset)


def test_only_columns_in_memory_are_standardised() -> None:
    with pytest.raises(DataError, match="inputs that are standardised must be columns in memory"):
        Dataset(torch.zeros(4, 2, 2), torch.zeros(4, dtype=torch.int64), "classes", 1, standardised=("inputs",))
    with pytest.raises(DataError, match="targets that are standardised must be columns in memory"):
        Dataset(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64), "classes", 1, standardised=("targets",))


def test_a_scale_that_is_hashed_is_another_data_set() -> None:
    plain = Dataset(torch.rand(4, 2), torch.zeros(4, dtype=torch.int64), "classes", 1)
    assert replace(plain, standardised=("inputs",)).sha256() != plain.sha256()


def test_a_scale_of_one_row_is_that_row() -> None:
    scale = Scale.fitted_to(torch.tensor([[2.0, 5.0]], dtype=torch.float64))
    assert (scale.mean, scale.std) == ((2.0, 5.0), (1.0, 1.0))

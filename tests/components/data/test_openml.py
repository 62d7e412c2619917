"""Tables that scikit-learn's `fetch_openml` has left on disk, against what `fetch_openml` itself makes of them."""

from __future__ import annotations

import gzip
import json
import logging
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optrun.experiments import Run, build, evaluate, load_config, predict, resume, train
from optrun.experiments.components.data import make_data, split
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import DataError, ExitCode, FaultsError, OptrunError, UsageError

from .openml_home import feature, put, write_home

RANDOM = np.random.default_rng(5)
ROWS = 60
HEADER = (
    "@relation credit\n@attribute id numeric\n@attribute amount numeric\n@attribute purpose {car, 'new tv', house}\n"
    "@attribute note string\n@attribute age integer\n@attribute class {good, bad}\n@data\n"
)
COLUMNS = [
    feature("id", is_row_identifier=True),
    feature("amount"),
    feature("purpose", "nominal"),
    feature("note", "string", is_ignore=True),
    feature("age"),
    feature("class", "nominal", is_target=True),
]
DATA: dict[str, Any] = {"name": "openml", "data_id": 31, "path": "home", "missing": {"amount": "mean"}}


def rows(count: int = ROWS) -> list[str]:
    drawn = np.random.default_rng(3)
    amounts = [f"{amount:.3f}" for amount in drawn.normal(1000, 300, count)]
    amounts[3] = "?"
    kinds = drawn.choice(["car", "'new tv'", "house"], count)
    labels = drawn.choice(["good", "bad"], count)
    ages = drawn.integers(18, 80, count)
    return [f"{n},{amounts[n]},{kinds[n]},'a note, {n}',{ages[n]},{labels[n]}" for n in range(count)]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a data folder with one table, in the current one; nothing may look for a network."""

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing is downloaded")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setenv("OPTRUN_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    return write_home(tmp_path / "home", 31, HEADER + "\n".join(rows()) + "\n", COLUMNS, ROWS)


def test_it_is_what_scikit_learn_makes_of_it() -> None:
    from sklearn.datasets import fetch_openml
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    bunch = fetch_openml(data_id=31, data_home="home", as_frame=True, parser="liac-arff")
    dataset = make_data("openml", data_id=31, path="home", missing={"amount": "mean"})
    assert dataset.columns == tuple(bunch.feature_names)
    assert [dataset.class_names[number] for number in dataset.targets] == bunch.target.tolist()
    assert dataset.class_names == ("good", "bad")  # as declared
    parts = split(dataset, val=0.2, test=0.2)
    train_rows = parts.train.positions.numpy()
    numbers = bunch.data[["amount", "age"]].to_numpy(float)
    numbers = SimpleImputer().fit(numbers[train_rows]).transform(numbers)
    numbers = StandardScaler().fit(numbers[train_rows]).transform(numbers)
    kinds = bunch.data[["purpose"]].to_numpy(str)
    kinds = OneHotEncoder(categories=[["car", "new tv", "house"]], sparse_output=False).fit_transform(kinds)
    whole = np.column_stack([numbers[:, 0], kinds, numbers[:, 1]])
    for part in (parts.train, parts.val, parts.test):
        np.testing.assert_allclose(part.inputs.numpy(), whole[part.positions], rtol=1e-5, atol=1e-5)


def test_what_openml_leaves_out_is_an_input_where_it_is_asked_for() -> None:
    dataset = make_data("openml", data_id=31, path="home", inputs=("id", "age"), scaling="none")
    assert dataset.columns == ("id", "age")
    values = make_data("openml", data_id=31, path="home", target="age", inputs=("id",))
    assert values.task == "values"
    asked = make_data("openml", data_id=31, path="home", target="age", task="classes", inputs=("id",))
    assert asked.task == "classes"


def test_the_data_folder_is_the_one_of_scikit_learn(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = make_data("openml", data_id=31, path=str(home), missing="mean")
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(home))
    assert make_data("openml", data_id=31, missing="mean").sha256() == given.sha256()
    monkeypatch.delenv("SCIKIT_LEARN_DATA")
    monkeypatch.setenv("HOME", str(home.parent))
    home.rename(home.with_name("scikit_learn_data"))
    assert make_data("openml", data_id=31, missing="mean").sha256() == given.sha256()


def test_the_layout_of_versions_before_is_found(tmp_path: Path) -> None:
    content = HEADER + "\n".join(rows()) + "\n"
    write_home(tmp_path / "old", 31, content, COLUMNS, ROWS, place="data/v1/download/1031")
    assert len(make_data("openml", data_id=31, path="old", missing="mean")) == ROWS


def test_what_openml_says_of_flaws_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = HEADER + "\n".join(rows()) + "\n"
    write_home(tmp_path / "home", 31, content, COLUMNS, ROWS, status="deactivated", warning="beware")
    with caplog.at_level(logging.WARNING, logger="optrun"):
        make_data("openml", data_id=31, path="home", missing="mean")
    assert [record.getMessage() for record in caplog.records] == [
        "OpenML says of data set 31: beware",
        "OpenML's data set 31 is not active, which it says of data with flaws",
    ]


COMMAND = "python -c \"from sklearn.datasets import fetch_openml; fetch_openml(data_id={}, data_home='{}')\""


@pytest.mark.parametrize("gone", ["all", "data/31", "features/31", "table.arff"])
def test_what_is_not_there_is_refused_with_the_command_that_fetches_it(home: Path, gone: str) -> None:
    data_id = 32 if gone == "all" else 31
    for path in home.rglob(f"*{gone.rpartition('/')[2]}.gz"):
        if gone in str(path):
            path.unlink()
    with pytest.raises(FaultsError) as raised:
        make_data("openml", data_id=data_id, path="home")
    ((key, message),) = raised.value.faults
    assert key == "data_id"
    assert "nothing is downloaded here; fetch it by: " + COMMAND.format(data_id, home) in message


def changed(home: Path, name: str, content: bytes | dict[str, Any]) -> None:
    put(home, name, content if isinstance(content, bytes) else json.dumps(content).encode())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data/v1/download/1031/table.arff", HEADER.encode() + b"1,2,car,x,3,bad\n", "has the MD5 "),
        ("api/v1/json/data/31", b"{", "data/31.gz cannot be read: JSONDecodeError"),
        ("api/v1/json/data/31", {"data": 1}, "data/31.gz cannot be read: KeyError"),
        ("api/v1/json/data/31", {"data_set_description": 1}, "data_set_description is no mapping"),
        (
            "api/v1/json/data/features/31",
            {"data_features": {}},
            "ValueError('it names 0 columns, and the table has 6')",
        ),
        ("api/v1/json/data/features/31", {"data_features": {"feature": [{}]}}, "features/31.gz does not describe "),
        ("api/v1/json/data/features/31", {"data_features": {"feature": 7}}, "features/31.gz does not describe "),
    ],
)
def test_a_file_that_is_damaged_is_refused(home: Path, name: str, content: Any, message: str) -> None:
    changed(home, name, content)
    with pytest.raises(DataError) as raised:
        make_data("openml", data_id=31, path="home")
    assert message in str(raised.value)
    assert "delete it, then fetch it by: python -c" in str(raised.value)


def test_what_is_no_gzip_file_and_what_lies_elsewhere_are_refused(home: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.arff"
    secret.write_bytes(gzip.compress(HEADER.encode() + b"1,2,car,x,3,bad\n"))
    about = {"url": "https://openml.invalid/../../../secret.arff", "file_id": "../../../../secret", "md5_checksum": ""}
    changed(home, "api/v1/json/data/31", {"data_set_description": about})
    with pytest.raises(OptrunError, match="names no file of it"):
        make_data("openml", data_id=31, path="home")
    (home / "openml/openml.org/api/v1/json/data/31.gz").write_bytes(b"plain")
    with pytest.raises(DataError, match=r"data/31\.gz cannot be read: BadGzipFile"):
        make_data("openml", data_id=31, path="home")


def test_a_table_without_a_target_needs_one(tmp_path: Path) -> None:
    columns = [{**each, "is_target": "false"} for each in COLUMNS]
    write_home(tmp_path / "home", 31, HEADER + "\n".join(rows()) + "\n", columns, ROWS)
    with pytest.raises(FaultsError, match="OpenML names no target of data set 31: say which of id, amount") as raised:
        make_data("openml", data_id=31, path="home")
    assert raised.value.faults[0][0] == "target"


def trained() -> Run:
    parts = {"model": "logistic", "loss": "cross_entropy", "optimizer": {"name": "sgd", "lr": 0.1}}
    return train({**parts, "data": {**DATA, "batch_size": 16}, "train": {"epochs": 2}}, name="a")


def test_a_run_is_evaluated_resumed_and_asked_for_other_rows(home: Path) -> None:
    run = trained()
    before = evaluate(run, split="test")
    Path("new.arff").write_text(HEADER + "\n".join(rows()) + "\n")
    whole, own = predict(run, "new.arff"), predict(run, split="test")
    found = {int(row): name for row, name in zip(own["row"], own["prediction"], strict=True)}
    assert {row: whole["prediction"][row] for row in found} == found
    untargeted = [{**each, "is_target": "false", "is_ignore": "false"} for each in COLUMNS]
    changed(home, "api/v1/json/data/features/31", {"data_features": {"feature": untargeted}})
    assert evaluate(run, split="test") == before  # a run keeps its target and inputs
    longer = resume(run, {"train": {"epochs": 3}}, allow_change=True)
    assert evaluate(longer)["step"] > before["step"]
    table = home / "openml/openml.org/data/v1/download/1031/table.arff.gz"
    table.write_bytes(gzip.compress(gzip.decompress(table.read_bytes()), compresslevel=1))  # as fetched anew
    assert evaluate(run, split="test", checkpoint=before["step"]) == before
    content = HEADER + "\n".join(rows()[:-1]) + "\n"
    write_home(home, 31, content, COLUMNS, ROWS - 1)
    with pytest.raises(UsageError, match=r"table\.arff\.gz has changed"):
        evaluate(run, split="test")


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"data_id": 32}, "data.data_id"),
        ({"target": "klass"}, "data.target"),
        ({"inputs": ["id", "ages"]}, "data.inputs"),
        ({"missing": "refuse"}, "data.missing"),
    ],
)
def test_what_is_wrong_is_told_at_its_key(data: dict[str, Any], key: str) -> None:
    parts = {"model": "logistic", "loss": "cross_entropy", "optimizer": "sgd", "train": {"steps": 1}}
    with pytest.raises(ConfigError) as raised:
        build(load_config({**parts, "data": {**DATA, **data}}))
    assert raised.value.exit_code == ExitCode.DATA
    assert [problem.key for problem in raised.value.problems] == [key]

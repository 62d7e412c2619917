"""Two metrics of one name: each in a column of its own, with the direction of its metric."""

from __future__ import annotations

from typing import Any

import pytest

from optrun.experiments import load_config, train
from optrun.experiments.config import ConfigError

BASE: dict[str, Any] = {
    "data": "iris", "model": "logistic", "loss": "cross_entropy", "optimizer": "sgd", "train": {"steps": 2},
}  # fmt: skip


def config(*metrics: Any, **parts: Any) -> dict[str, Any]:
    return {**BASE, "metrics": list(metrics), **parts}


SECOND = {"name": "top_k", "k": 2, "recorded_as": "top2"}


def test_one_metric_twice_is_measured_in_two_columns_and_judges_by_either(tmp_path) -> None:
    given = config({"name": "top_k", "k": 1}, SECOND, eval={"metric": "val/top2", "target": 0.1})
    run = train(given, root=tmp_path)
    final = run.result["final"]
    assert set(final) >= {"test/top_k", "test/top2", "val/top_k", "val/top2"}
    assert final["test/top2"] >= final["test/top_k"]
    assert run.summary["metrics"]["top2"] == run.summary["metrics"]["top_k"] == {"mode": "max", "margin": 0.005}
    assert run.summary["metric"]["name"] == "val/top2"
    assert run.config["metrics"] == [{"name": "top_k", "k": 1}, {"name": "top_k", "k": 2, "recorded_as": "top2"}]
    assert load_config(run.config).metrics[1].label == "top2"


@pytest.mark.parametrize(
    ("name", "key", "words"),
    [
        ("loss", "metrics.1.recorded_as", "is the column of the loss"),
        ("val/top", "metrics.1.recorded_as", "is no name of a column"),
        ("", "metrics.1.recorded_as", "is no name of a column"),
        (3, "metrics.1.recorded_as", "expected"),
        ("top_k", "metrics.1", "listed twice"),
    ],
)
def test_what_is_no_column_of_its_own_is_refused(name: Any, key: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(config({"name": "top_k", "k": 1}, {**SECOND, "recorded_as": name}))
    assert [problem.key for problem in caught.value.problems] == [key]


def test_the_way_out_is_said() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(config("accuracy", "accuracy"))
    assert "recorded_as" in (caught.value.problems[0].hint or "")

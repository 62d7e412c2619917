"""Names, labels and looks: which comparison is meant, what its entries are called, and with which seeds it was read."""

from __future__ import annotations

import pytest

from optrun.experiments.comparison.compare import compare
from optrun.experiments.comparison.entries import make_entries
from optrun.experiments.errors import UsageError
from optrun.experiments.run_directory.looks import why_exploratory


def looks(*sets):
    return [{"seeds": len(seeds), "set": list(seeds)} for seeds in sets]


@pytest.mark.parametrize(
    ("sets", "why"),
    [
        ([range(6)], ""),
        ([range(6), range(3)], "fewer seeds"),
        ([range(6), range(3), range(6)], ""),
        ([range(6), range(9)], "seeds were added"),
        ([range(3), range(9), range(6)], "fewer seeds"),
        ([range(6), range(100, 106)], "other seeds"),
        ([range(6), range(3, 9)], "other seeds"),
    ],
)
def test_a_look_is_exploratory_for_a_reason(sets, why):
    assert (why in why_exploratory(looks(*sets))) if why else why_exploratory(looks(*sets)) == ""


def test_looks_of_old_versions_have_a_number_alone():
    assert why_exploratory([{"seeds": 2}, {"seeds": 3, "exploratory": True}]).startswith("seeds were added")
    assert why_exploratory([{"seeds": 3}, *looks(range(3))]) == ""


def test_labels_say_what_sets_entries_apart(base, tmp_path):
    def labels(targets, overrides=(), **more):
        return [entry.label for entry in make_entries(targets, overrides, tmp_path / "runs", **more)]

    (base / "c1.yaml").write_text("extends: configs/sgd\nschedule: cosine\n")
    (base / "c2.yaml").write_text("extends: configs/sgd\noptimizer: {weight_decay: 0.01}\n")
    (base / "c3.yaml").write_text("extends: configs/sgd\n")
    assert labels(["c1.yaml", "c2.yaml", "c3.yaml"]) == ["cosine", "wd 0.01", "c3"]
    assert labels(["c1.yaml", "c3.yaml"]) == ["cosine", "constant"]
    assert labels(["c1.yaml", "c1.yaml"], ["c1-2:optimizer.lr=0.2"]) == ["lr 0.5", "lr 0.2"]
    assert labels(["c1.yaml", "c1.yaml"], ["c1-2:optimizer.lr=0.2"], ignored=["optimizer.lr"]) == ["c1", "c1-2"]
    assert labels(["sgd", "mom"]) == ["sgd", "mom"], "these were named by the user"
    changed = make_entries(["c1.yaml", "c2.yaml", "c3.yaml"], ["wd 0.01:optimizer.lr=0.2"], tmp_path / "runs")
    assert [entry.config.optimizer.args["lr"] for entry in changed] == [0.5, 0.2, 0.5]


def test_a_name_goes_on_with_its_question_and_refuses_another(base):
    small = {"tune": None, "jobs": 1, "name": "study"}
    first = compare(["sgd", "mom"], ["train.epochs=1"], seeds=2, **small)
    assert first.path.name == "study"
    assert "on digits with mlp, 1 epoch, " in first.sentence
    again = compare(["sgd", "mom"], ["train.epochs=1"], seeds=3, **small)
    assert again.path == first.path
    assert [look["set"] for look in again.data["looks"]] == [[0, 1], [0, 1, 2]]
    with pytest.raises(UsageError, match=r"(?s)study asks another question:.*sgd: train.epochs: 1 -> 2.*--fresh"):
        compare(["sgd", "mom"], seeds=2, **small)
    with pytest.raises(UsageError, match=r"alpha: 0.05 -> 0.01"):
        compare(["sgd", "mom"], ["train.epochs=1"], seeds=2, alpha=0.01, **small)

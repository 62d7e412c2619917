"""`log.to`: each hook that has a name there is set up by it, a plug-in's like our own; one file makes a tracker."""

from __future__ import annotations

import json
import sys

import pytest

from optrun.experiments import Hook, build, load_config, train
from optrun.experiments.components.hooks import registry
from optrun.experiments.config import ConfigError

TRACKER = """\
import json
from pathlib import Path

from optrun.experiments import Hook


class DiaryHook(Hook):
    '''Write rows into a diary.'''

    log_to = "diary"

    def __init__(self, params: dict[str, str] | None = None):
        self.params = params

    def begin(self, session):
        self.file = Path(session.summary_dir, "diary.jsonl")
        self.file.write_text(json.dumps({"rate": self.params["optimizer"]["lr"]}) + "\\n")

    def after_row(self, session, row):
        self.file.write_text(self.file.read_text() + json.dumps(row) + "\\n")
"""


def config(*to: str) -> dict:
    return {
        "name": "placed",
        "data": {"name": "digits", "subset": 128},
        "model": "logistic",
        "loss": "cross_entropy",
        "optimizer": {"name": "sgd", "lr": 0.25},
        "train": {"steps": 4},
        "log": {"every": "2 steps", "to": list(to)},
    }


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """Install a package with a tracker, under the name that it has in `log.to`."""
    (tmp_path / "trackers.py").write_text(TRACKER)
    info = tmp_path / "trackers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: trackers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[optrun.hook]\ndiary = trackers:DiaryHook\nbroken = trackers:Missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry.names()
    monkeypatch.setattr(registry, "_components", dict(registry._components))
    vars(registry).pop("_entry_points", None)
    yield
    vars(registry).pop("_entry_points", None)
    sys.modules.pop("trackers", None)


PLACES = registry.offering("log_to", ())


def test_the_places_are_those_that_the_documents_name():
    assert sorted(PLACES) == ["csv", "mlflow", "tensorboard", "wandb"]


@pytest.mark.parametrize("place", PLACES)
def test_each_place_is_known_to_the_configuration_and_needs_nothing_but_what_a_run_has(place):
    assert load_config(config("jsonl", place)).log.to == ("jsonl", place)
    arguments = PLACES[place].signature.arguments
    assert not [
        argument.name for argument in arguments if argument.required and argument.name not in ("every", "params")
    ]


def test_a_wrong_name_is_refused_with_the_nearest_and_all_names():
    with pytest.raises(ConfigError, match=r"(?s)log\.to\.1.*did you mean 'tensorboard'\?") as refusal:
        load_config(config("jsonl", "tensorbord"))
    assert "expected jsonl or tensorboard or csv or mlflow or wandb, got" in str(refusal.value)


@pytest.mark.usefixtures("plug_in")
def test_a_plug_in_brings_a_tracker_of_its_own():
    run = train(config("jsonl", "diary"))
    first, *rows = map(json.loads, (run.path / "diary.jsonl").read_text().splitlines())
    assert first == {"rate": 0.25}
    assert rows == list(run.rows)
    assert load_config(run.path / "config.yaml").log.to == ("jsonl", "diary")


@pytest.mark.usefixtures("plug_in")
def test_a_session_that_keeps_nothing_leaves_it_out():
    made = build(load_config(config("diary")))
    with made.session() as session:
        while not session.should_stop():
            session.run(made.train_op)
    assert "diary" in [hook.name for hook in made.hooks]


@pytest.mark.usefixtures("plug_in")
def test_a_plug_in_that_fails_is_an_error_at_the_key_where_it_is_named_and_nowhere_else():
    load_config(config("csv"))
    with pytest.raises(ConfigError, match=r"log\.to.*hook 'broken' \(trackers:Missing\) fails when imported"):
        load_config(config("broken"))


@pytest.mark.usefixtures("plug_in")
def test_two_hooks_of_one_place_are_refused():
    @registry.register("other_csv")
    class OtherCsv(Hook):
        log_to = "csv"

    with pytest.raises(ConfigError, match=r"two hooks have the log_to 'csv': .*CsvHook and .*OtherCsv"):
        load_config(config("csv"))

"""Digests: what they stand for is found again by later versions, and told apart when its bits differ."""

from __future__ import annotations

import copy
import dataclasses
import importlib.metadata
import inspect
from pathlib import Path

import pytest

from optrun.experiments import resume, train
from optrun.experiments.comparison import identity
from optrun.experiments.comparison.entries import make_entries
from optrun.experiments.comparison.protocol import compare_name, compare_protocol, sweep_name
from optrun.experiments.comparison.tasks import with_settings
from optrun.experiments.components.data import make_data
from optrun.experiments.components.registries import REGISTRIES
from optrun.experiments.config.defaults import changes_since
from optrun.experiments.errors import UsageError

# Of version 0.1.0, whose runs on them are not those of today.
STANDARDISED_OVER_ALL_ROWS = {
    "iris": "85485cfacf2d271c",
    "wine": "daa312629471e647",
    "breast_cancer": "4f9a7282f2b76c35",
    "diabetes": "cdc3636f1b779944",
    "linnerud": "3c27e06105482b0b",
}
NEW_OPTION = {"train": "compile", "data": "drop_last"}  # as if these had come after 0.1.0


@pytest.fixture
def entries(base):
    return make_entries(["sgd", "mom"], [], Path("runs"))


@pytest.fixture
def as_if_later(monkeypatch):
    known = copy.deepcopy(identity._known_to_0_1())
    for section, name in NEW_OPTION.items():
        known["sections"][section].remove(name)
    known["keys"].remove("init")
    del known["loss"]["cross_entropy"]
    monkeypatch.setattr(identity, "_known_to_0_1", lambda: known)


@pytest.fixture
def with_new_argument(monkeypatch):
    """A loss that has got an argument since."""
    component = REGISTRIES["loss"].get("cross_entropy")

    def cross_entropy(outputs, targets, *, temperature: float = 1.0, **args):
        return component.build(outputs / temperature, targets, **args)

    before = inspect.signature(component.build, eval_str=True)
    new = inspect.signature(cross_entropy, eval_str=True).parameters["temperature"]
    added = [*before.parameters.values(), new]
    cross_entropy.__signature__ = before.replace(parameters=sorted(added, key=lambda each: each.kind))
    cross_entropy.__module__ = component.build.__module__
    changed = dataclasses.replace(component, build=cross_entropy)
    monkeypatch.setitem(REGISTRIES["loss"]._components, "cross_entropy", changed)


def key(entry, **settings):
    return identity.run_key(entry.config, with_settings(entry.config, 0, settings), "data")


def test_groups_have_the_names_that_version_0_1_gave_them(entries):
    too_fast = make_entries(["sgd", "mom"], ["mom:optimizer.lr=1e6", "stop.loss_above=1e3"], Path("runs"))
    timed = [entry.with_target(0.2) for entry in entries]
    (swept,) = make_entries(["sgd"], ["optimizer.lr=0.01"], Path("runs"))
    assert compare_name(too_fast, compare_protocol(too_fast, seeds=2, tune=None)) == "compare-sgd-mom-748566"
    assert compare_name(timed, compare_protocol(timed, seeds=3, tune=3)) == "compare-sgd-mom-95c129"
    assert sweep_name(swept, {"optimizer.lr": [0.01, 0.1, 1.0]}, 2) == "sweep-sgd-lr-ee17e9"


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        ("digits", "885e37099bb090f4"),
        ("synthetic", "e9c6543d15a5ad4d"),
        ({"name": "iris", "scaling": "none"}, "879b817245289647"),
        ({"name": "diabetes", "scaling": "none"}, "70a45af6bc04fb77"),
    ],
)
def test_runs_on_data_that_nothing_is_fitted_to_are_those_of_version_0_1(data, digest):
    assert make_data(**({"name": data} if isinstance(data, str) else data)).sha256().startswith(digest)


@pytest.mark.parametrize("data", ["iris", "wine", "breast_cancer", "diabetes", "linnerud"])
def test_runs_on_data_that_was_standardised_over_all_rows_are_made_anew(data):
    assert not make_data(data).sha256().startswith(STANDARDISED_OVER_ALL_ROWS[data])


def test_the_programs_version_is_in_no_digest(entries, monkeypatch):
    before = key(entries[0])
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9.9")
    assert key(entries[0]) == before


def test_a_new_argument_at_its_default_changes_no_digest(entries, with_new_argument):
    (later,) = make_entries(["sgd"], [], Path("runs"))
    assert later.config.to_dict()["loss"]["temperature"] == 1.0
    assert identity.counted(later.config) == identity.counted(entries[0].config)
    assert key(later) == key(entries[0])


@pytest.mark.parametrize("given", ["loss.temperature=1.0", "loss={name: cross_entropy, temperature: 1}"])
def test_a_default_that_is_written_out_is_a_default(entries, with_new_argument, given):
    (later,) = make_entries(["sgd"], [given], Path("runs"))
    assert key(later) == key(entries[0])


def test_a_new_argument_with_another_value_does(entries, with_new_argument):
    (later,) = make_entries(["sgd"], ["loss.temperature=2"], Path("runs"))
    assert key(later) != key(entries[0])
    assert key(entries[0], **{"loss.temperature": 2.0}) == key(later)


def test_new_options_of_sections_count_where_they_are_not_the_default(entries, as_if_later):
    counted = identity.counted(entries[0].config)
    assert "compile" not in counted["train"]
    assert "drop_last" not in counted["data"]
    assert "init" not in counted
    (other,) = make_entries(["sgd"], ["data.drop_last=true"], Path("runs"))
    assert identity.counted(other.config)["data"]["drop_last"] is True
    swept = with_settings(entries[0].config, 0, {"data.drop_last": True})
    assert identity.counted(entries[0].config, swept)["data"]["drop_last"] is True


def test_a_component_of_the_users_own_counts_whole(base):
    (base / "mine.py").write_text("def loss(outputs, targets, scale: float = 1.0): ...\n")
    (entry,) = make_entries(["sgd"], ["loss=./mine.py:loss"], Path("runs"))
    assert identity.counted(entry.config)["loss"]["scale"] == 1.0


def test_other_bits_are_other_runs_and_other_groups(entries, monkeypatch):
    protocol = compare_protocol(entries)
    before = key(entries[0]), compare_name(entries, protocol)
    monkeypatch.setattr(identity, "NUMERICS", 2)
    assert key(entries[0]) != before[0]
    assert compare_name(entries, protocol) != before[1]


def test_runs_that_an_older_version_may_have_made_otherwise_are_made_anew(base, monkeypatch):
    """Of models of ours each step reaches each layer once, so that a count of its own is that of all."""
    (base / "mine.py").write_text(
        "from torch import nn\ndef net(input_shape, num_outputs): return nn.Linear(4, 3)\n"
        "class Loss(nn.Module): ...\ndef loss(outputs, targets): ...\n"
    )
    (base / "start.npz").write_bytes(b"")
    mine, ours = "model=./mine.py:net", "model=logistic"
    warm, plain = "init={from: ./start.npz}", "updates=[{name: tf_batch_norm, zero_debias: false}]"
    for settings, is_new in {
        (mine, "updates=[tf_batch_norm]"): True,
        (mine, "updates=[batch_norm]"): True,
        (ours, "updates=[tf_batch_norm]", warm): True,
        (ours, plain, warm): False,
        (ours, "updates=[tf_batch_norm]"): False,
        (mine, "updates=[ema]"): False,
        (mine, "loss=./mine.py:Loss"): True,
        (mine, "loss=./mine.py:loss"): False,
    }.items():
        (entry,) = make_entries(["sgd"], list(settings), Path("runs"))
        found = key(entry)
        with monkeypatch.context() as patch:
            patch.setattr(identity, "_changed_bits", lambda config: [])
            assert (key(entry) != found) is is_new, settings


def test_an_option_that_a_stored_run_does_not_know_is_no_change_at_its_default(entries, with_new_argument):
    (later,) = make_entries(["sgd"], [], Path("runs"))
    (other,) = make_entries(["sgd"], ["loss.temperature=2"], Path("runs"))
    stored = entries[0].config.to_dict()
    assert "temperature" not in stored["loss"]
    assert changes_since(stored, later.config, REGISTRIES) == []
    assert [change.key for change in changes_since(stored, other.config, REGISTRIES)] == ["loss.temperature"]
    shorter = {**stored, "train": {**stored["train"], "epochs": 1}}
    assert [change.key for change in changes_since(shorter, later.config, REGISTRIES)] == ["train.epochs"]


def test_a_section_that_a_stored_run_does_not_know_is_no_change_at_its_defaults(entries):
    config = entries[0].config
    stored = {key: value for key, value in config.to_dict().items() if key not in ("stop", "init", "updates")}
    assert changes_since(stored, config, REGISTRIES) == []
    (other,) = make_entries(["sgd"], ["stop.patience=3"], Path("runs"))
    assert [change.key for change in changes_since(stored, other.config, REGISTRIES)] == ["stop.patience"]


def test_a_run_that_was_begun_before_an_option_came_goes_on(base, request):
    first = train("sgd", ["train.epochs=1"], name="sgd")
    request.getfixturevalue("with_new_argument")
    assert train("sgd", ["train.epochs=1"], name="sgd").path == first.path
    assert resume("sgd").path == first.path
    with pytest.raises(UsageError, match=r"loss.temperature: \(not set\) -> 2"):
        train("sgd", ["train.epochs=1", "loss.temperature=2"], name="sgd")


def test_what_an_earlier_version_began_keeps_its_name_where_it_lies(tmp_path, monkeypatch):
    """Names are taken over files by their names in the project; before 0.3 these were whole paths."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef net(input_shape, num_outputs): return nn.Linear(4, 3)\n"
    )
    monkeypatch.chdir(tmp_path)
    entry = make_entries(["sgd"], ["data=iris", "model=./net.py:net"], tmp_path)[0]
    name = sweep_name(entry, {"optimizer.lr": [0.1, 1.0]}, 1, tmp_path)
    assert name == sweep_name(entry, {"optimizer.lr": [0.1, 1.0]}, 1)
    whole = [identity.counted_before_0_3(entry.config), "optimizer.lr", [0.1, 1.0], 1]
    before = f"sweep-sgd-lr-{identity.group_digest(whole)}"
    assert before != name
    (tmp_path / before).mkdir()
    assert sweep_name(entry, {"optimizer.lr": [0.1, 1.0]}, 1, tmp_path) == before
    (tmp_path / name).mkdir()
    assert sweep_name(entry, {"optimizer.lr": [0.1, 1.0]}, 1, tmp_path) == name


def test_a_compiled_run_is_told_from_others_and_from_one_without_a_compiler(base, monkeypatch):
    """And `auto` from both, since what it chooses follows from what the key has."""
    kinds = [make_entries(["sgd"], [f"train.compile={value}"], Path("runs"))[0] for value in ("false", "true", "auto")]
    keys = [key(entry) for entry in kinds]
    monkeypatch.setattr(identity, "has_compiler", lambda: False)
    assert key(kinds[0]) == keys[0]
    assert len({*keys, key(kinds[1]), key(kinds[2])}) == 5

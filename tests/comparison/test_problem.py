"""What makes two entries different problems: every section of a configuration, by every way of naming an entry."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from optrun.experiments.comparison.compare import compare
from optrun.experiments.comparison.entries import make_entries
from optrun.experiments.comparison.entries_file import read_entries_file
from optrun.experiments.comparison.optimizers import command_for_optimizers
from optrun.experiments.comparison.protocol import compare_protocol
from optrun.experiments.comparison.sweep_settings import checked_entry, entries_of_settings
from optrun.experiments.comparison.tasks import with_settings
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import NothingMatchedError, UsageError

from ..helpers import in_turn

OWN = """\
data: {name: digits, batch_size: 64, subset: 128}
model: {name: mlp, hidden: [16]}
loss: cross_entropy
metrics: [accuracy, {name: top_k, k: 3}]
optimizer: {name: sgd, lr: 0.5}
eval: {metric: val/accuracy, target: 0.9}
train: {epochs: 2}
"""

#: A change, and what it makes of an entry beside one without it: no pair, another problem, or a contender.
CHANGES = {
    "data=iris": "no pair",
    "data.scaling=unit": "no pair",
    "data.val=0.3": "no pair",
    "data.test=0.3": "no pair",
    "data.split_seed=1": "no pair",
    "data.subset=100": "no pair",
    "eval.metric=val/loss": "no pair",
    "eval.mode=max": "no pair",
    "eval.target=0.8": "no pair",
    "eval.every=2 epochs": "no pair",
    "data.batch_size=32": "another problem",
    "data.drop_last=true": "another problem",
    "model=logistic": "another problem",
    "model.hidden=[8]": "another problem",
    "loss.label_smoothing=0.1": "another problem",
    "train.epochs=3": "another problem",
    "train.accumulate=2": "another problem",
    "train.l2=0.01": "another problem",
    "stop.patience=3": "another problem",
    "stop.at_target=true": "another problem",
    "stop.loss_above=100": "another problem",
    "optimizer=adam": "contender",
    "optimizer.weight_decay=0.01": "contender",
    "schedule=cosine": "contender",
    "updates=[ema]": "contender",
    "hooks=[norms]": "contender",
    "train.clip_norm=1": "contender",
    "train.precision=bf16": "contender",
    "log.every=5 steps": "contender",
    "checkpoint.keep=3": "contender",
    "stop.on_nan=stop": "contender",
    "data.eval_batch_size=64": "contender",
}
WAYS = ("two files", "a file beside itself", "a file of entries", "a preset")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "own.yaml").write_text(OWN)
    return tmp_path


def entries_by(way: str, change: str):
    key, _, value = change.partition("=")
    if way == "a file beside itself":
        return make_entries(["own.yaml", "own.yaml"], [f"own-2:{change}"], Path("runs"))
    changed: object = yaml.safe_load(value)
    for part in reversed(key.split(".")):
        changed = {part: changed}
    if way == "a file of entries":
        Path("study.yaml").write_text(yaml.safe_dump({"base": "own", "entries": {"a": {}, "b": changed}}))
        file = read_entries_file(Path("study.yaml"))
        assert file is not None
        return file.make_entries([], Path("runs"))
    Path("other.yaml").write_text(yaml.safe_dump({"extends": "own", **changed}))  # type: ignore[dict-item]
    own, other = make_entries(["own.yaml", "other.yaml"], [], Path("runs"))
    return [own, dataclasses.replace(other, shipped=way == "a preset")]


def seen(entries) -> tuple[str, str]:
    """Return what becomes of the entries, and what is said of it."""
    try:
        protocol = compare_protocol(entries)
    except UsageError as error:
        codes = {problem.code for problem in getattr(error, "problems", ())}
        return "no pair" if codes == {"unpairable"} else "refused", str(error)
    assert protocol.paired
    return "compared", ""


@pytest.mark.parametrize(("change", "way"), in_turn(CHANGES, WAYS, others=pytest.mark.slow))
def test_what_differs_is_refused_named_or_compared(folder, change, way):
    kind = CHANGES[change]
    found, said = seen(entries_by(way, change))
    if way == "a preset":
        assert found == ("compared" if kind == "contender" else "refused")
    else:
        assert found == ("no pair" if kind == "no pair" else "compared")
    if found != "compared":
        assert change.partition("=")[0] in said
        assert "--across-problems" in said or change.startswith("eval.")


def test_every_section_has_its_part_in_the_table(folder):
    (entry,) = make_entries(["own.yaml"], [], Path("runs"))
    tried = {change.partition("=")[0].partition(".")[0] for change in CHANGES}
    assert tried | {"name", "seed", "metrics", "init"} == set(entry.config.to_dict())


def test_arguments_of_the_metric_that_judges_count_and_those_of_others_do_not(folder):
    entries = make_entries(["own.yaml", "own.yaml"], ["own-2:metrics.1.k=5"], Path("runs"))
    assert seen(entries)[0] == "compared"
    judged = make_entries(["own.yaml", "own.yaml"], ["own-2:metrics.1.k=5", "eval.metric=val/top_k"], Path("runs"))
    assert seen(judged)[0] == "no pair"


def test_the_loss_counts_where_it_judges(folder):
    judged = ["own-2:loss.label_smoothing=0.1", "eval.metric=val/loss"]
    with pytest.raises(ConfigError, match=r"loss.label_smoothing: 0.1 in own-2 and 0.0 in own"):
        compare_protocol(make_entries(["own.yaml", "own.yaml"], judged, Path("runs")), margin=0.01)


def test_different_problems_that_are_meant_are_compared_without_pairs(folder):
    entries = entries_by("two files", "data=iris")
    protocol = compare_protocol(entries, across_problems=True)
    assert not protocol.paired
    assert protocol.problem == ""
    with pytest.raises(ConfigError, match=r"eval\.metric"):
        compare_protocol(entries_by("two files", "eval.metric=val/loss"), across_problems=True)


def test_the_report_of_different_problems_tests_nothing(folder):
    overrides = ["own-2:data=iris", "metrics=[accuracy]", "data.subset=80"]
    found = compare(["own.yaml", "own.yaml"], overrides, seeds=2, tune=None, across_problems=True, jobs=1)
    assert found.analysis.pairs == ()
    assert "Across problems" in found.sentence
    document = found.as_dict()
    assert all(row["p"] is None and row["difference"] is None for row in document["entries"])


# ---- optimizers on a problem -----------------------------------------------------------------------------------------


def planned(**options):
    """Return the entries of a comparison by name, its runs not made."""
    plans = []
    with pytest.raises(NothingMatchedError):
        compare(**{"targets": "own.yaml", "train": False, "on_event": plans.append, **options})
    return next(event["plan"] for event in plans if event["kind"] == "plan")


def test_optimizers_run_on_the_users_problem_at_their_centres(folder):
    plan = planned(optimizers=["adam", "sgd", "mom"])
    assert [entry["name"] for entry in plan["entries"]] == ["sgd", "adam", "mom"], "sgd is the file's own, once"
    assert plan["protocol"]["problem"] == "digits with mlp, 2 epochs"
    keys = {difference["key"] for difference in plan["differences"]}
    assert all(key.startswith("optimizer.") for key in keys)
    rates = next(each["values"] for each in plan["differences"] if each["key"] == "optimizer.lr")
    assert rates == {"sgd": 0.5, "adam": 0.01, "mom": 0.1}


@pytest.mark.parametrize(
    ("said", "rate"), [("adam", 0.01), ("{optimizer: adam}", 0.01), ("{optimizer: {name: adam, lr: 0.3}}", 0.3)]
)
def test_a_name_under_a_base_is_that_optimizer_on_the_base(folder, said, rate):
    (folder / "study.yaml").write_text(f"base: own.yaml\nentries: {{adam: {said}, plain: {{}}}}\n")
    plan = planned(targets=["study.yaml"])
    values = {each["key"]: each["values"] for each in plan["differences"]}
    assert values["optimizer.lr"] == {"adam": rate, "plain": 0.5}
    assert all(key.startswith("optimizer.") for key in values)


def test_rates_of_groups_and_schedules_keep_their_ratio(folder):
    (folder / "own.yaml").write_text(OWN.replace("lr: 0.5}", "lr: 0.5, groups: [{match: ['*.bias'], lr: 0.05}]}"))
    rates = next(e for e in planned(optimizers=["mom"])["differences"] if e["key"] == "optimizer.groups.0.lr")
    assert rates["values"] == {"sgd": 0.05, "mom": pytest.approx(0.01)}
    absolute = OWN.replace(", lr: 0.5}", "}") + "schedule: {name: piecewise, boundaries: [50%], values: [0.4, 0.04]}\n"
    (folder / "own.yaml").write_text(absolute)
    values = next(e for e in planned(optimizers=["adam"])["differences"] if e["key"] == "schedule.values")
    assert values["values"] == {"sgd": [0.4, 0.04], "adam": pytest.approx([0.01, 0.001])}


STEPS_DOWN = "{name: piecewise, boundaries: [50%], values: [0.4, 0.04]}"
ABSOLUTE = OWN.replace(", lr: 0.5}", "}") + "schedule: "


@pytest.mark.parametrize("key", ["schedule", "schedule.schedules.0"])
def test_absolute_rates_are_no_rates_of_an_optimizer_without_a_centre(folder, key):
    """The user's own optimizer registers none, so that the file's rates, which are another's, cannot be scaled."""
    nested = f"{{name: sequence, at: [50%], schedules: [{STEPS_DOWN}, {STEPS_DOWN}]}}"
    (folder / "own.yaml").write_text(ABSOLUTE + (STEPS_DOWN if key == "schedule" else nested) + "\n")
    (folder / "mine.py").write_text("import torch\n\nclass Mine(torch.optim.SGD): ...\n")
    mine = "./mine.py:Mine"
    with pytest.raises(ConfigError, match=r"those of sgd: optimizer Mine registers no rate") as caught:
        planned(optimizers=[mine])
    assert caught.value.problems[0].key == f"{key}.values"
    assert "give `factors` in place of `values`" in (caught.value.problems[0].hint or "")
    (folder / "study.yaml").write_text(f"base: own.yaml\nentries: {{a: {{}}, b: {mine}}}\n")
    with pytest.raises(ConfigError, match=r"registers no rate"):
        planned(targets=["study.yaml"])
    # Rates that stand beside the optimizer are its own, as are those of the user's override.
    (folder / "study.yaml").write_text(
        f"base: own.yaml\nentries: {{a: {{}}, b: {{optimizer: {mine}, schedule: {STEPS_DOWN}}}}}\n"
    )
    assert len(planned(targets=["study.yaml"])["entries"]) == 2
    overrides = [f"Mine:schedule={STEPS_DOWN.replace('0.4', '0.2')}"]
    differences = planned(optimizers=[mine], overrides=overrides)["differences"]
    assert {each["key"]: each["values"]["Mine"] for each in differences}["schedule.values"] == [0.2, 0.04]


def test_nested_absolute_rates_keep_their_ratio(folder):
    nested = f"{{name: sequence, at: [50%], schedules: [{STEPS_DOWN}, {STEPS_DOWN.replace('0.4,', '0.8,')}]}}"
    (folder / "own.yaml").write_text(f"{ABSOLUTE}{nested}\n")
    entries = make_entries(["own.yaml"], [], Path("runs"))
    (first, second) = with_settings(entries[0].config, 0, {"optimizer.lr": 0.08})["schedule"]["schedules"]
    assert (first["values"], second["values"]) == (pytest.approx([0.04, 0.004]), pytest.approx([0.08, 0.004]))
    found = {e["key"]: e["values"]["adam"] for e in planned(optimizers=["adam"])["differences"]}
    assert found["schedule.schedules.0.values"] == pytest.approx([0.005, 0.0005])
    assert found["schedule.schedules.1.values"] == pytest.approx([0.01, 0.0005])


def test_rates_beside_an_optimizer_are_its_own(folder):
    """An entry that names its schedule has its rates from there, not scaled to the centre."""
    (folder / "own.yaml").write_text(f"{ABSOLUTE}{STEPS_DOWN}\n")
    schedule = STEPS_DOWN.replace("[0.4, 0.04]", "[0.003, 0.001]")
    (folder / "study.yaml").write_text(
        f"base: own.yaml\nentries: {{a: {{}}, b: {{optimizer: adam, schedule: {schedule}}}}}\n"
    )
    values = next(e for e in planned(targets=["study.yaml"])["differences"] if e["key"] == "schedule.values")
    assert values["values"] == {"a": [0.4, 0.04], "b": [0.003, 0.001]}


def test_a_swept_rate_takes_those_of_groups_along(folder):
    groups = "groups: [{match: ['*.bias'], lr: 0.05}, {match: ['*.weight'], weight_decay: 0}]"
    (folder / "own.yaml").write_text(OWN.replace("lr: 0.5}", f"lr: 0.5, {groups}}}"))
    settings = [{"optimizer.lr": rate} for rate in (0.1, 0.5, 1.0)]
    asked = ("own.yaml", {"optimizer.lr": "0.1,0.5,1"}, settings, [], Path("runs"))
    entry = checked_entry(entries_of_settings(*asked), *asked, lambda entry: None)
    for rate in (0.1, 0.5, 1.0):
        optimizer = with_settings(entry.config, 0, {"optimizer.lr": rate})["optimizer"]
        assert optimizer["lr"] == rate
        assert optimizer["groups"][0]["lr"] == pytest.approx(rate / 10)
        assert "lr" not in optimizer["groups"][1]


def test_a_file_beside_presets_is_refused_with_the_command_that_was_meant(folder):
    with pytest.raises(UsageError, match=r"optrun compare own\.yaml --optimizers adam,mom train.epochs=3"):
        compare(["own.yaml", "adam", "mom"], ["train.epochs=3"])
    entries = make_entries(["own.yaml", "vit-digits"], [], Path("runs"))
    assert command_for_optimizers(["own.yaml", "vit-digits"], entries, []) == ""


def test_a_configuration_of_python_beside_optimizers_is_refused_with_the_call_that_was_meant(folder):
    own = {"extends": str(folder / "own.yaml")}
    with pytest.raises(UsageError) as caught:
        compare({"mine": own, "adam": "adam"})
    assert 'The same optimizers on the problem of mine: compare({…}, optimizers=["adam"])' in str(caught.value)
    assert "across_problems=True" in str(caught.value)
    names = [entry["name"] for entry in planned(targets=[own], optimizers=["adam"])["entries"]]
    assert names == ["sgd", "adam"]  # what is offered works


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": ["own.yaml", "mom"], "optimizers": ["adam"]}, "takes one configuration, whose problem it is"),
        ({"optimizers": ["adan"]}, "Did you mean 'adam'"),
        ({"optimizers": ["adam", "adam"]}, "adam is named twice"),
        ({"optimizers": []}, "give the names of optimizers"),
        ({"optimizers": ["adam"], "overrides": ["optimizer=mom"]}, "an override replaces the optimizer"),
        ({"optimizers": ["adam"], "overrides": ["adm:optimizer.lr=1"]}, "Did you mean 'adam'"),
        ({"optimizers": ["adam"], "overrides": ["seed=100"]}, "--first-seed 100"),
        ({"optimizers": ["adam"], "first_seed": 995}, "include 1000, with which rates are chosen"),
    ],
)
def test_what_optimizers_on_a_problem_cannot_be_is_refused(folder, options, message):
    with pytest.raises(UsageError, match=message):
        compare(**{"targets": ["own.yaml"], **options})
    assert not (folder / "runs").exists()

"""A question that is asked again: answered without work where nothing has changed, worked out where something has."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

import pytest

from optrun.experiments.comparison import asked_again
from optrun.experiments.comparison.asked_again import Asked
from optrun.experiments.comparison.compare import compare
from optrun.experiments.comparison.sweep import sweep
from optrun.experiments.errors import UsageError
from optrun.experiments.report.statistics import special
from optrun.experiments.system import stamps, surroundings

MINE = """
data: {name: csv, path: table.csv, target: y, task: classes, batch_size: 30}
model: ./net.py:Net
loss: cross_entropy
metrics: [accuracy]
train: {epochs: 2}
optimizer: {name: sgd, lr: 0.1}
"""
OTHER = "extends: mine.yaml\noptimizer: {name: adam, lr: 0.05}\n"
NET = """
from torch import nn

from sizes import HIDDEN


class Net(nn.Module):
    def __init__(self, input_shape: tuple[int, ...], num_outputs: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, num_outputs))

    def forward(self, inputs):
        return self.layers(inputs)
"""
TABLE = "a,b,y\n" + "".join(f"{i % 7},{i % 11},{'one' if i % 7 > i % 11 else 'two'}\n" for i in range(120))
TARGETS = ["mine.yaml", "other.yaml"]
OPTIONS = {"seeds": 2, "tune": None, "jobs": 1}
GIVEN = {"targets": TARGETS, **OPTIONS}


class WorkIsDone(Exception):
    """Says that the way through the configurations is taken."""


def work():
    raise WorkIsDone


@pytest.fixture(scope="module", autouse=True)
def _torch_has_set_its_variables(tmp_path_factory):
    """Set what torch sets in the process once it is asked about compiling: a command asks before, each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with a comparison whose answer is kept."""
    folder = tmp_path_factory.mktemp("asked")
    for name, text in (("mine.yaml", MINE), ("other.yaml", OTHER), ("net.py", NET), ("table.csv", TABLE)):
        (folder / name).write_text(text)
    (folder / "sizes.py").write_text("HIDDEN = 3\n")
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.syspath_prepend(str(folder))
        patch.setattr(special, "_values", {})
        patch.setattr(special, "_is_keeping", False)
        asked = Asked("compare", GIVEN)
        done = asked.answer(lambda: compare(TARGETS, **OPTIONS), lambda event: None)
        assert done.sentence  # which works out the statistics
        asked.keep()
    shutil.copytree(folder, folder.with_name("as it was"))
    return folder


@pytest.fixture
def folder(place, monkeypatch):
    """Be in that folder, as it was left."""
    shutil.rmtree(place)
    shutil.copytree(place.with_name("as it was"), place)
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setattr(special, "_values", {})
    monkeypatch.setattr(special, "_is_keeping", False)
    return place


@pytest.fixture
def group(folder):
    return next(path.parent for path in folder.glob("runs/*/comparison.json"))


@pytest.fixture
def run(group):
    return sorted(path.parent for path in group.glob("*/summary.json"))[0]


def ask(given=GIVEN, command="compare", **options):
    """Return the answer that is known, and the events that are told with it."""
    told = []
    return Asked(command, given, **options).answer(work, told.append), told


def is_known(given=GIVEN, **options) -> bool:
    try:
        ask(given, **options)
    except WorkIsDone:
        return False
    return True


def kept(folder: Path) -> Path:
    return next(folder.glob("runs/.cache/answers/*.json"))


def settled(data: dict) -> dict:
    return {key: value for key, value in data.items() if key not in ("updated", "wall_secs")}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def edit_kept(folder: Path, change) -> None:
    """Change what is kept, and put the checksum right."""
    content = json.loads(kept(folder).read_bytes().partition(b"\n")[2])
    change(content)
    text = json.dumps(content)
    kept(folder).write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")


def test_it_is_answered_as_a_repeat_answers(folder, group):
    found, told = ask()
    left = json.loads((group / "comparison.json").read_text())
    events = []
    repeated = compare(TARGETS, **OPTIONS, on_event=events.append)
    assert told == events
    assert [event["kind"] for event in told[:3]] == ["question", "plan", "phase"]
    assert settled(left) == settled(repeated.data)
    assert all(run["cached"] for run in left["runs"])
    assert settled(found.as_dict()) == settled(repeated.as_dict())
    assert (found.path, found.sentence) == (group, repeated.sentence)


def test_statistics_are_known_as_well(folder, monkeypatch):
    found, _ = ask()
    before = special.kept_values()
    assert before
    assert found.as_dict()["analysis"]["pairs"]
    assert special.kept_values() == before  # nothing new was asked of scipy


def test_the_options_that_only_say_what_is_done_do_not_count(folder, group):
    (group / ".worker-1-0@nowhere").touch()
    assert is_known(train=False)
    assert not is_known(fresh=True)
    assert is_known()


@pytest.mark.parametrize(
    "given",
    [
        {**GIVEN, "seeds": 3},
        {**GIVEN, "targets": TARGETS[::-1]},
        {**GIVEN, "overrides": ["train.epochs=2"]},
        {**GIVEN, "metric": "test/accuracy"},
    ],
    ids=["seeds", "order", "override", "option"],
)
def test_another_question_is_not_known(folder, given):
    assert not is_known(given)


def test_the_same_question_in_another_folder_is_another(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("OPTRUN_RUNS_DIR", str(folder / "runs"))
    monkeypatch.chdir(tmp_path)
    assert not is_known()


def one_byte(path: Path) -> None:
    """Change a byte, and put the time back."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


FILES = {
    "a base": lambda f: edit(f / "mine.yaml", "epochs: 2", "epochs: 3"),
    "a comment in code": lambda f: (f / "net.py").write_text(f"{NET}# more\n"),
    "imported code": lambda f: edit(f / "sizes.py", "3", "4"),
    "a module that comes first": lambda f: (f / "sizes").mkdir(),
    "code is gone": lambda f: (f / "sizes.py").unlink(),
    "a byte of data": lambda f: one_byte(f / "table.csv"),
    "data is gone": lambda f: (f / "table.csv").unlink(),
    "a mark of a project": lambda f: (f / "pyproject.toml").touch(),
    "beside a run's files": lambda f: (f / "status.json").touch(),
}


@pytest.mark.parametrize("change", FILES.values(), ids=FILES)
def test_a_file_that_was_changed_came_or_went(folder, change):
    change(folder)
    assert not is_known()


RUNS = {
    "a byte of its metrics": lambda run: one_byte(run / "metrics.jsonl"),
    "its result": lambda run: edit(run / "summary.json", '"seed"', '"sead"'),
    "its status": lambda run: edit(run / "status.json", '"done"', '"stopped"'),
    "its environment": lambda run: edit(run / "env.json", '"torch"', '"tarch"'),
    "its pairing": lambda run: (run / "pairing.json").unlink(),
    "all of it": shutil.rmtree,
}


@pytest.mark.parametrize("change", RUNS.values(), ids=RUNS)
def test_a_run_that_was_changed_or_removed(run, change):
    change(run)
    assert not is_known()


def test_a_group_that_was_asked_with_other_seeds_meanwhile(folder, group):
    edit(group / "comparison.json", '"exploratory": false', '"exploratory": true')
    assert not is_known()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_group_whose_file_is_damaged(group, text):
    (group / "comparison.json").write_text(text)
    assert not is_known()


def test_keys_of_runs_that_are_gone(folder):
    for path in (folder / "runs" / ".cache").iterdir():
        if path.is_file():
            path.unlink()
    assert not is_known()


@pytest.mark.parametrize("damage", [b"", b"\n", b"text\n{}", b"\xff\xfe\n"])
def test_what_is_kept_is_damaged(folder, damage):
    kept(folder).write_bytes(damage)
    assert not is_known()


def test_a_byte_of_what_is_kept_has_turned(folder):
    one_byte(kept(folder))
    assert not is_known()


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(schema="optrun/answer@0"),
        lambda content: content["surroundings"]["packages"].update(torch="2.0.0"),
        lambda content: content["surroundings"]["machine"].append("more"),
        lambda content: content.pop("events"),
        lambda content: content.update(more=1),
        lambda content: content["values"].update(ndtri="much"),
        lambda content: content["files"].update({__file__: [1, 2]}),
    ],
    ids=["another form", "torch", "machine", "a part is missing", "a part too many", "no number", "no stamp"],
)
def test_what_is_kept_is_of_another_version_or_form(folder, change):
    edit_kept(folder, change)
    assert not is_known()


@pytest.mark.parametrize("name", ["OPTRUN_THREADS", "OPTRUN_DEVICE", "OMP_NUM_THREADS", "ONES_OWN"])
def test_another_variable(folder, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    assert not is_known()


def test_something_was_installed(folder, monkeypatch):
    monkeypatch.setattr(surroundings, "_changed_ns", lambda folder: 7)
    assert not is_known()


def test_what_was_touched_gets_new_stamps(folder, monkeypatch):
    os.utime(folder / "net.py")
    asked = Asked("compare", GIVEN)
    asked.answer(work, lambda event: None)
    asked.keep()
    in_a_while = os.stat(kept(folder)).st_mtime_ns + 60 * 10**9
    edit_kept(folder, lambda content: content.update(written_ns=in_a_while))
    monkeypatch.setattr(stamps, "file_sha256", lambda path: pytest.fail(f"{path} was read"))
    assert is_known()


def test_a_new_value_of_scipys_is_kept_too(folder):
    asked = Asked("compare", GIVEN)
    asked.answer(work, lambda event: None)
    special.ndtri(0.123)
    asked.keep()
    special._values.clear()
    ask()
    assert "ndtri(0.123,)" in special.kept_values()


def test_several_ranks_are_refused_as_ever(folder, monkeypatch):
    edit_kept(folder, lambda content: content["surroundings"]["variables"].update(WORLD_SIZE="2"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(Asked, "_is_around", lambda self, kept: True)
    with pytest.raises(UsageError, match="WORLD_SIZE=2"):
        ask()


def test_what_hears_the_plan_may_refuse_it_before_anything_is_written(folder, group):
    before = (group / "comparison.json").read_bytes()

    def refuse(event):
        raise UsageError("not this one")

    with pytest.raises(UsageError, match="not this one"):
        Asked("compare", GIVEN).answer(work, refuse)
    assert (group / "comparison.json").read_bytes() == before


# ---- what is kept, and what is not -----------------------------------------------------------------------------------


def keeps(given, work) -> bool:
    """Ask, and return True if the answer is kept."""
    asked = Asked("compare", given)
    asked.answer(work, lambda event: None)
    asked.keep()
    return is_known(given)


@pytest.fixture
def doubts(caplog):
    """Return a function that asks, and returns why the answer is not kept."""
    caplog.set_level(logging.DEBUG, "optrun")

    def why(work) -> str:
        caplog.clear()
        assert not keeps({}, work)
        said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("the answer is not")]
        assert len(said) == 1
        return said[0].removeprefix("the answer is not kept: ")

    return why


DIGITS = """
data: {name: iris, batch_size: 30}
model: logistic
loss: cross_entropy
metrics: [accuracy]
train: {epochs: 1}
optimizer: {name: sgd, lr: LR}
"""


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, lr in (("p", "0.1"), ("q", "0.05")):
        (tmp_path / f"{name}.yaml").write_text(DIGITS.replace("LR", lr))
    return tmp_path


SMALL = {"seeds": 1, "tune": None, "jobs": 1}


def compared(*targets, **options):
    return lambda: compare([*targets], **{**SMALL, **options})


def test_names_that_appear_count(small):
    (small / "configs").mkdir()
    for name in ("p", "q"):
        (small / f"{name}.yaml").rename(small / "configs" / f"{name}.yaml")
    given = {"targets": ["p", "q"]}
    assert keeps(given, compared("p", "q"))
    (small / "notes.txt").touch()
    assert is_known(given)
    (small / "p").write_text(DIGITS.replace("LR", "0.3"))  # `p` is a path first
    assert not is_known(given)


def test_variables_that_only_own_code_could_read_do_not_count_without_any(small, monkeypatch):
    assert keeps({}, compared("p.yaml", "q.yaml"))
    monkeypatch.setenv("ONES_OWN", "1")
    assert is_known({})


def test_a_sweep_is_known_too(small):
    def swept():
        return sweep("p.yaml", "optimizer.lr", "0.1,0.2", seeds=1, jobs=1, on_event=events.append)

    events, told = [], []
    asked = Asked("sweep", {})
    asked.answer(swept, events.append)
    asked.keep()
    events.clear()
    Asked("sweep", {}).answer(work, told.append)
    swept()
    assert told == events


def test_files_in_a_folder_of_data_count(small, monkeypatch):
    images = pytest.importorskip("PIL.Image")
    for label in ("light", "dark"):
        (small / "pictures" / label).mkdir(parents=True)
        for number in range(8):
            images.new("L", (4, 4), 30 * (label == "light") + number).save(small / "pictures" / label / f"{number}.png")
    data = "data: {name: image_folder, path: pictures, size: 4, color: gray, batch_size: 4}"
    for name in ("p", "q"):
        edit(small / f"{name}.yaml", "data: {name: iris, batch_size: 30}", data)
    assert keeps({}, compared("p.yaml", "q.yaml"))
    one_byte(small / "pictures" / "dark" / "3.png")
    assert not is_known({})
    assert keeps({}, compared("p.yaml", "q.yaml"))
    shutil.copy(small / "pictures" / "dark" / "3.png", small / "pictures" / "dark" / "9.png")
    assert not is_known({})


OWN_DATA = """
import torch
from optrun.experiments.components.data.dataset import Dataset


def rows():
    inputs = torch.linspace(-1, 1, 60).reshape(30, 2)
    return Dataset(inputs, (inputs[:, 0] > 0).long(), "classes", 2)
"""


def test_data_of_ones_own_may_be_read_from_anywhere(small, doubts):
    (small / "rows.py").write_text(OWN_DATA)
    for name in ("p", "q"):
        edit(small / f"{name}.yaml", "name: iris", 'name: "./rows.py:rows"')
    assert doubts(compared("p.yaml", "q.yaml")) == "p: its data is made by the user's code, which may read anything"


def test_finished_runs_are_looked_up_again(small, doubts):
    done = compare(["p.yaml", "q.yaml"], **SMALL)
    name = f"run:{done.data['runs'][0]['path']}"
    assert doubts(compared(name, "q.yaml")).endswith(": it was made of finished runs")


FAILING_HOOK = """
from optrun.experiments import Hook


class Fail(Hook):
    def after_run(self, ctx, values):
        raise RuntimeError("my own hook broke")
"""


def test_a_run_that_failed_is_made_anew(small, doubts):
    (small / "fail.py").write_text(FAILING_HOOK)
    with (small / "q.yaml").open("a") as file:
        file.write("hooks: [./fail.py:Fail]\n")
    assert doubts(compared("p.yaml", "q.yaml")) == "a run has no result"


def test_what_is_warned_of_is_warned_of_again(small, monkeypatch, doubts):
    monkeypatch.setenv("OPTRUN_CONFIG_PATH", str(small / "missing"))
    cheap = {"overrides": ["train.steps=2", "train.epochs=null", "data.subset=64"]}
    assert "OPTRUN_CONFIG_PATH names what is no folder" in doubts(compared("sgd", "mom", **cheap))


def test_a_file_that_is_changed_while_the_runs_are_made_is_not_the_one_that_was_asked(small, doubts):
    def change(event):
        if event["kind"] == "phase":
            (small / "p.yaml").write_text(DIGITS.replace("LR", "0.7"))

    assert doubts(compared("p.yaml", "q.yaml", on_event=change)) == f"{small / 'p.yaml'} was changed meanwhile"


def test_answers_of_groups_that_are_gone_are_forgotten(small):
    assert keeps({"n": 1}, compared("p.yaml", "q.yaml"))
    assert keeps({"n": 2}, compared("p.yaml", "q.yaml"))
    answers = small / "runs" / ".cache" / "answers"
    assert len(list(answers.iterdir())) == 2
    shutil.rmtree(next(path.parent for path in small.glob("runs/*/comparison.json")))
    assert keeps({"n": 3}, compared("p.yaml", "q.yaml", metric="test/loss", margin=0.1))
    assert len(list(answers.iterdir())) == 1


def test_a_process_that_has_torch_is_another_matter():
    assert Asked.by_a_command("compare", {}) is None


def test_an_answer_that_cannot_be_kept_is_told_all_the_same(small, monkeypatch):
    def fail(root, answer):
        raise OSError("no room")

    monkeypatch.setattr(asked_again, "write_answer", fail)
    asked = Asked("compare", {})
    assert asked.answer(compared("p.yaml", "q.yaml"), lambda event: None).data["complete"]
    asked.keep()
    assert not (small / "runs" / ".cache" / "answers").exists()


@pytest.mark.parametrize(("more", "is_kept"), [({}, True), ({"verify_batched": 1}, False)])
def test_a_batch_is_answered_as_well_but_one_that_is_verified_anew(tmp_path, monkeypatch, more, is_kept):
    monkeypatch.chdir(tmp_path)
    targets, overrides = ["sgd", "mom"], ["data=iris", "model=logistic", "loss=cross_entropy", "train.epochs=2"]
    options = {**OPTIONS, "engine": "batched", **more}
    given = {"targets": targets, "overrides": overrides, **options}
    asked = Asked("compare", given)
    assert asked.answer(lambda: compare(targets, overrides, **options), lambda event: None).sentence
    asked.keep()
    if is_kept:
        assert Asked("compare", given).answer(work, lambda event: None).data["engine"]["name"] == "batched"
    else:
        with pytest.raises(WorkIsDone):
            Asked("compare", given).answer(work, lambda event: None)

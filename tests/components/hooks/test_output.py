"""Where the hooks of a configuration write: inside the run directory, and never over what is not theirs."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from optrun.experiments.components.hooks.csv import CsvHook
from optrun.experiments.errors import OptrunError, UsageError
from optrun.experiments.training.load import load_config
from optrun.experiments.training.train import dry_run, train

from ...helpers import run_steps, small_train_op

TINY = {
    "data": {"name": "gaussian_classes", "num_examples": 60, "batch_size": 20},
    "model": "logistic",
    "loss": "cross_entropy",
    "optimizer": {"name": "sgd", "lr": 0.1},
    "train": {"steps": 2},
    "log": {"every": "1 steps"},
}
#: The hooks that take a path, by the argument.
WRITERS = {
    "csv": ("path", "rows.csv", {}),
    "summary": ("log_dir", "events", {}),
    "step_counter": ("log_dir", "rates", {"every": "1 steps"}),
    "profiler": ("output_dir", "traces", {"every": "1 steps"}),
}
OF_THE_RUN = ("metrics.jsonl", "checkpoints", "status.json", "summary.json", "config.yaml", ".lock", "diverged/x")


def with_hook(name: str, path: str | None, **more: object) -> dict[str, object]:
    argument, _, args = WRITERS[name]
    return {**TINY, "hooks": [{"name": name, argument: path, **args, **more}]}


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """Return a folder beside the working folder, which is empty."""
    (tmp_path / "work").mkdir()
    (tmp_path / "outside").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "outside"


@pytest.mark.parametrize("name", WRITERS)
def test_a_relative_path_is_one_in_the_run_directory(name, outside):
    place = f"mine/{WRITERS[name][1]}"
    run = train(with_hook(name, place), name="a")
    assert (run.path / place).exists()
    assert files_in(Path()) - files_in(Path("runs")) >= {"runs"}
    assert os.listdir() == ["runs"]
    train(with_hook(name, str(run.path.resolve() / place)), {"train.steps": 3}, name="a", allow_change=True)
    assert os.listdir() == ["runs"]


@pytest.mark.parametrize("name", WRITERS)
def test_a_path_that_leads_out_is_refused_unless_it_is_meant(name, outside):
    (outside.parent / "work/link").symlink_to(outside)
    for path in ("../x", "../../../outside/x", str(outside / "x"), "a/../../b", f"{outside}", "~/../../x/../../../y"):
        with pytest.raises(OptrunError, match="is outside of the run directory") as caught:
            train(with_hook(name, path))
        assert "outside: true" in str(caught.value)
        assert files_in(outside) == set()
    assert files_in(Path()) == {"link", "runs", *(f"runs/{each}" for each in files_in(Path("runs")))}
    train(with_hook(name, str(outside / "x"), outside=True), name="meant")
    assert (outside / "x").exists()


@pytest.mark.parametrize("name", WRITERS)
def test_a_link_inside_the_run_directory_leads_out_too(name, outside):
    run = train(TINY, name="a")
    (run.path / "deep").mkdir()
    (run.path / "deep/link").symlink_to(outside)
    with pytest.raises(OptrunError, match="is outside of the run directory"):
        train(with_hook(name, "deep/link/x"), {"train.steps": 3}, name="a", allow_change=True)
    assert files_in(outside) == set()


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("path", OF_THE_RUN)
def test_the_runs_own_files_are_no_place(name, path, outside):
    with pytest.raises(OptrunError, match="is a place of the run itself"):
        train(with_hook(name, path), name="a")


@pytest.mark.parametrize("name", WRITERS)
def test_a_session_that_keeps_nothing_writes_nothing(name, outside):
    for path in (None, "here", str(outside / "x")):
        with contextlib.suppress(UsageError):  # of the absolute path
            dry_run(load_config(with_hook(name, path)))
    assert (files_in(Path()), files_in(outside)) == (set(), set())


@pytest.mark.parametrize("content", ["precious\n", "a,b\n1,2\n", "{}", "\0", '{"step": 1}\n'])
def test_no_file_is_replaced_that_the_hook_did_not_write(content, outside):
    precious = outside / "rows.csv"
    precious.write_text(content)
    with pytest.raises(OptrunError, match="is there already, and no file of this hook"):
        train(with_hook("csv", str(precious), outside=True), name="a")
    with pytest.raises(UsageError, match="is there already"):
        run_steps(small_train_op(), 2, CsvHook(str(precious)))
    (outside / "trace-1.json").write_text(content)
    with pytest.raises(OptrunError, match="is there already"):
        train(with_hook("profiler", str(outside), outside=True), name="b")
    (outside / "link.csv").symlink_to(precious)
    with pytest.raises(OptrunError, match="is a link"):
        train(with_hook("csv", str(outside / "link.csv"), outside=True), name="c")
    assert (precious.read_text(), (outside / "trace-1.json").read_text()) == (content, content)


def test_its_own_file_it_replaces(outside):
    for steps in (2, 3):
        given = with_hook("csv", str(outside / "rows.csv"), outside=True)
        train(given, {"train.steps": steps}, name="a", allow_change=True)
        train(with_hook("profiler", str(outside), outside=True), {"train.steps": steps}, name="b", allow_change=True)
    assert len((outside / "rows.csv").read_text().splitlines()) >= 4
    assert {"trace-1.json", "trace-2.json", "trace-3.json"} <= files_in(outside)


def test_two_runs_share_a_folder_of_summaries(outside):
    for name in ("a", "b", "a"):
        train(with_hook("summary", str(outside), outside=True), name=name, fresh=name == "a")
    assert len([file for file in files_in(outside) if "tfevents" in file]) == 2

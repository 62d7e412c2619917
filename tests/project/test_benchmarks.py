"""The scripts of tests/benchmarks start, and the table of speeds measures what it says."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import runpy
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path for path in FOLDER.glob("*.py") if "__main__" in path.read_text(encoding="utf-8"))


@pytest.fixture
def table(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("table", "contenders", "session_overhead"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("table")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_names_its_command_and_can_be_loaded(script, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    with mock.patch.dict(os.environ):  # some choose a number of threads for their process
        names = runpy.run_path(str(script), run_name="benchmark")
    assert f"python tests/benchmarks/{script.name}" in names["__doc__"]
    assert callable(names["main"])


def test_the_table_has_a_row_for_each_contender_and_figures_for_those_that_run(table, monkeypatch, capsys):
    installed = table.importlib.util.find_spec
    monkeypatch.setattr(
        table.importlib.util, "find_spec", lambda name: None if name == "lightning" else installed(name)
    )
    asked = ["--only", "lightning", "optrun", "checked", "--pieces", "3", "--steps", "20", "--clock", "cpu"]
    table.main([*asked, "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["installed"]) for row in answer["rows"]] == [
        ("hand", True), ("checked", True), ("optrun", True), ("lightning", False),
    ]  # fmt: skip
    by_hand, *others, absent = answer["rows"]
    assert by_hand["ratio"] == {"median": 1.0, "quartiles": [1.0, 1.0]}
    for row in others:
        low, high = row["ratio"]["quartiles"]
        assert 0 < low <= row["ratio"]["median"] <= high
        assert row["steps_per_sec"] > 0
    assert set(absent) == {"name", "installed", "label"}
    assert answer["machine"]["versions"]["torch"] == torch.__version__

    table.main(asked)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split() == ["Lightning", "not", "installed"]
    assert [line[:26].rstrip() for line in lines[5:]] == ["by hand", "by hand, checked", "optrun", "Lightning"]
    assert all(len(line) <= 80 for line in lines[4:])


def test_a_contender_of_the_table_goes_on_where_it_was_and_draws_every_example_once_an_epoch(table):
    work = table.Work.digits(num_steps=5)
    drawn = torch.cat(list(itertools.islice(work.indices(), 16)))
    assert len(drawn.unique()) == 16 * 64 <= len(work.targets) == 1079

    model = work.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for inputs, targets in itertools.islice(work.batches(), 10):
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    loop = table.contenders.by_hand(work, table.Watch(lambda: 0.0))
    reached = [next(loop), next(loop)][-1].weights()
    for ours, theirs in zip(reached, model.parameters(), strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_the_table_refuses_a_contender_that_trains_something_else(table, monkeypatch):
    def without_momentum(model):
        return torch.optim.SGD(model.parameters(), lr=0.05)

    def other(work, watch):
        monkeypatch.setattr(table.contenders, "sgd", without_momentum)
        return table.contenders.by_hand(work, watch)

    monkeypatch.setitem(table.CONTENDERS, "checked", table.Contender("another", other))
    with pytest.raises(AssertionError, match="checked trains something else than by hand: a weight differs by 0"):
        table.measure(["checked"], 1, 5, lambda: 0.0)


def test_the_watch_of_the_table_counts_from_the_last_start_to_the_first_stop(table):
    times = iter([0.0, 3.0, 5.0, 9.0])
    watch = table.Watch(lambda: next(times))

    def loop():
        watch.start()  # the tool's own beginning, at 3
        watch.stop()  # its end, at 5
        yield table.contenders.Piece(4, list)

    assert watch.time(loop()) == 0.5
    assert next(times) == 9.0  # the stop of whoever asked reads no clock


@pytest.fixture
def steps(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, "optimizer_steps", raising=False)
    module = importlib.import_module("optimizer_steps")

    def small(device: str) -> torch.nn.Module:
        layer = torch.nn.Linear(3, 2)
        for parameter in layer.parameters():
            parameter.grad = torch.ones_like(parameter)
        return layer

    monkeypatch.setattr(module, "model", small)
    return module


def test_rules_are_held_against_one_of_torchs_with_as_many_slots(steps):
    for label in steps.SETTINGS:
        optimizers = steps.optimizers_of(label, "cpu")
        for optimizer in optimizers.values():
            optimizer.step()
        assert len({steps.num_slots(optimizer) for optimizer in optimizers.values()}) == 1, label


def test_the_benchmark_of_steps_prints_a_line_for_each_setting_that_is_asked_for(steps, capsys):
    steps.main(["--blocks", "2", "--steps", "1", "ftrl"])
    head, *lines = capsys.readouterr().out.splitlines()
    assert "to foreach" in head
    assert [line[:36].rstrip() for line in lines] == ["ftrl", "ftrl, l1 and l2"]
    assert all("Adam (2)" in line for line in lines)

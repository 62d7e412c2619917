"""How problems read: golden texts, and the same as data."""

from __future__ import annotations

import json
import pickle
import textwrap

import pytest

from optrun.experiments.config import ConfigError, Origin, Problem

from .small_registries import BASE


def text_of(load, target, *overrides) -> str:
    with pytest.raises(ConfigError) as caught:
        load(target, *overrides)
    return str(caught.value)


def golden(text: str) -> str:
    return textwrap.dedent(text).strip("\n")


def test_an_unknown_argument(load, folder):
    (folder / "configs").mkdir()
    (folder / "configs" / "bad.yaml").write_text(
        "optimizer:\n  name: mom\n  lr: 1\n  momentun: 0.9\ndata: digits\nmodel: mlp\nloss: cross_entropy\n"
        "train: {epochs: 1}\nhooks: [grad_norn]\n"
    )
    assert text_of(load, "bad") == golden("""
    configs/bad.yaml:4:3: optimizer.momentun: optimizer 'mom' has no argument 'momentun'
        4 |   momentun: 0.9
          |   ^^^^^^^^ did you mean 'momentum'?
    configs/bad.yaml:9:9: hooks.0.name: no hook named 'grad_norn'
        9 | hooks: [grad_norn]
          |         ^^^^^^^^^ did you mean 'grad_norm'?
    Found 2 problems in 1 file.
    """)


def test_overrides_and_extended_files(load, folder):
    (folder / "base.yaml").write_text(BASE.replace("0.1", "fast"))
    (folder / "a.yaml").write_text("extends: base\n")
    assert text_of(load, "a.yaml", "lr=1", "model.hidden=[1, 0]") == golden("""
    base.yaml:5:28: optimizer.lr: expected a number > 0, got 'fast' (via extends of a.yaml)
        5 | optimizer: {name: mom, lr: fast}
          |                            ^^^^
    command line: lr: unknown key 'lr'
          | lr=1
          | ^^ did you mean 'optimizer.lr'?
    command line: model.hidden.1: expected an int >= 1, got 0
          | model.hidden=[1, 0]
          |                  ^
    Found 3 problems in 1 file and on the command line.
    """)


def test_an_empty_file(load):
    assert text_of(load, "# nothing\n\n") == golden("""
    test.yaml:1:1: data: no data is given
        hint: add `data: NAME`; known: blobs, digits
    test.yaml:1:1: model: no model is given
        hint: add `model: NAME`; known: mlp
    test.yaml:1:1: loss: no loss is given
        hint: add `loss: NAME`; known: cross_entropy
    test.yaml:1:1: optimizer: no optimizer is given
        hint: add `optimizer: NAME`; known: adam, mom, sgd
    test.yaml:1:1: train: how long? Give train.epochs or train.steps (or train.max_time)
    Found 5 problems in 1 file.
    """)


def test_python_values(load):
    values = {"data": "digits", "model": "mlp", "loss": "cross_entropy", "optimizer": "sgd", "train": {"epochs": "3"}}
    assert text_of(load, values) == golden("""
    <python>: train.epochs: expected an int >= 1, got '3'
        hint: remove the quotes
    Found 1 problem.
    """)


def test_a_comparison_of_two_places(load):
    text = BASE + "schedule: {name: piecewise, boundaries: [5], values: [1, 0.1]}\n"
    assert text_of(load, text) == golden("""
    test.yaml:7:54: schedule.values: absolute rates (test.yaml:7) and optimizer.lr (test.yaml:5) exclude each other
        7 | schedule: {name: piecewise, boundaries: [5], values: [1, 0.1]}
          |                                                      ^^^^^^^^ remove optimizer.lr, or give `factors` of it
    Found 1 problem in 1 file.
    """)


def test_a_group_with_its_own_rate_under_absolute_values(load):
    groups = "{name: mom, groups: [{match: a, momentum: 0.5}, {match: b, lr: 0.5}]}"
    nested = "{name: restarts, all: [constant, {name: piecewise, boundaries: [2], values: [1, 0.1]}]}"
    for schedule in ("{name: piecewise, boundaries: [5], values: [1, 0.1]}", nested):
        text = BASE.replace("{name: mom, lr: 0.1}", groups) + f"schedule: {schedule}\n"
        with pytest.raises(ConfigError) as caught:
            load(text)
        (problem,) = caught.value.problems
        assert problem.key == "optimizer.groups.1.lr"
        assert "no optimizer.lr that a group's own rate could be a multiple of" in problem.message
        assert "`factors` of it" in (problem.hint or "")
        load(text.replace(", lr: 0.5", ""))


def test_arguments_that_do_not_fit_together_are_reported_beside_others(load):
    text = BASE + "schedule: {name: piecewise, boundaries: [5], factors: [1], warmup: 5x}\n"
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert [problem.key for problem in caught.value.problems] == ["schedule.factors", "schedule.warmup"]


def test_a_broken_byte(load, folder):
    (folder / "a.yaml").write_bytes(b"data: digits\nmodel: \xffmlp\n")
    assert text_of(load, "a.yaml") == golden("""
    a.yaml:2:8: byte 0xff is not UTF-8: save the file as UTF-8
        2 | model: �mlp
          |        ^
    Found 1 problem in 1 file.
    """)


def test_long_lines_are_cut_around_the_place(load):
    text = text_of(load, BASE + "model: {name: mlp, hidden: [" + "1, " * 500 + "0]}\n")
    assert max(map(len, text.splitlines())) < 130
    snippet, carets = text.splitlines()[1:3]
    assert snippet[carets.index("^")] in "0m"


def test_tabs_and_unprintable_characters_keep_the_carets_in_place():
    origin = Origin("file", "a.yaml", 1, 4, snippet="a\t\x1b[31m:", width=2)
    assert str(Problem(origin, "k", "syntax", "bad")).splitlines()[1:] == ["    1 | a �[31m:", "      |    ^^"]
    assert "\x1b" not in str(Problem(origin, "k", "syntax", "bad"))


def test_problems_as_data(load):
    with pytest.raises(ConfigError) as caught:
        load(BASE.replace("0.1", "-1"))
    (problem,) = caught.value.problems
    assert json.loads(json.dumps(problem.as_dict())) == {
        "file": "test.yaml",
        "line": 5,
        "column": 28,
        "key": "optimizer.lr",
        "code": "invalid-value",
        "message": "expected a number > 0, got -1",
        "hint": None,
        "snippet": "optimizer: {name: mom, lr: -1}",
        "via": None,
    }


def test_many_problems_are_counted_not_all_printed(load):
    text = text_of(load, BASE + "".join(f"k{i}: 1\n" for i in range(500)))
    assert text.splitlines()[-2:] == ["… and 400 more", "Found 500 problems in 1 file."]


def test_errors_survive_pickling(load):
    with pytest.raises(ConfigError) as caught:
        load(BASE + "x: 1\n")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.problems, str(copy)) == (caught.value.problems, str(caught.value))


def test_a_long_message_is_told_once():
    origin = Origin("file", "a.yaml", 1, 1)
    long, short = "mine.py fails when imported: " + "x" * 200, "expected a number"
    keys = {"loss": long, "model": long, "train": short, "eval": short}
    text = str(ConfigError(Problem(origin, key, "invalid-value", message) for key, message in keys.items()))
    assert text.count(long) == 1
    assert "a.yaml:1:1: model: the same as loss" in text
    assert text.count(short) == 2
    assert text.endswith("Found 4 problems in 1 file.")

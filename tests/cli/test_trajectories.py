"""`optrun trajectories`, and the page that is illustrated by it."""

from __future__ import annotations

import inspect
import re
import shlex
import textwrap
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = re.findall(r"^optrun (trajectories .* -o docs/.*)$", TEXT, re.MULTILINE)
RULES = dict(re.findall(r"^## [^\n]*\(`(\w+)`\)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


def test_the_table_has_a_row_for_each_rule_and_the_minimum(optrun):
    done = optrun("trajectories", "beale", "sgd", "mom", "mom:lr=0.002", "--steps", "20")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split() == ["optimizer", "lr", "steps", "value", "distance"]
    assert [line.split()[:3] for line in lines[1:3]] == [["sgd", "0.01", "20"], ["mom", "0.002", "20"]]
    assert lines[3] == "minimum 0 at (3, 0.5)"
    assert done.err == ""


def test_divergence_is_a_result_and_is_named(optrun):
    done = optrun("trajectories", "quadratic", "sgd", "sgd", "sgd-2:lr=3")
    assert done.code == 0
    assert [line.rsplit(None, 1)[-1] == "diverged" for line in done.out.splitlines()[1:3]] == [False, True]
    assert "sgd lr=3" in done.out


def test_without_optimizers_it_is_the_race_of_seven(optrun):
    done = optrun("trajectories", "saddle", "--json", "--steps", "3")
    assert [way["name"] for way in done.json["trajectories"]] == [
        "sgd", "mom", "nag", "adagrad", "adadelta", "rmsprop", "adam",
    ]  # fmt: skip


def test_json_has_every_point(optrun):
    done = optrun("trajectories", "beale", "adam", "--json", "--steps", "5", "--start", "-1", "2.5", "-o", "x.svg")
    assert done.json["schema"] == "optrun/trajectories@1"
    assert (done.json["function"], done.json["minima"], done.json["files"]) == ("beale", [[3.0, 0.5]], ["x.svg"])
    (way,) = done.json["trajectories"]
    assert way["points"][0] == [-1.0, 2.5]
    assert len(way["points"]) == len(way["values"]) == way["steps"] + 1 == 6
    assert way["value"] == way["values"][-1]


@pytest.mark.parametrize(
    ("args", "files", "said"),
    [
        (["-o", "x.png"], ["x.png"], "wrote x.png"),
        (["-o", "x.svg", "--frames", "2"], ["x.svg"], "wrote x.svg"),
        (["-o", "x.gif", "--frames", "2"], ["x.gif"], "wrote x.gif"),
        (["-o", "f/", "--frames", "4"], ["f"], "wrote f/ (4 frames)"),
    ],
)
def test_what_is_asked_for_is_drawn(optrun, folder, args, files, said):
    done = optrun("trajectories", "quadratic", "sgd", "--steps", "4", *args)
    assert done.code == 0
    assert {path.name for path in folder.iterdir()} == {"tiny.yaml", *files}
    assert done.err == f"{said}\n"
    assert optrun("trajectories", "quadratic", "sgd", "--steps", "1", "-q", *args).err == ""


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Missing argument"),
        (["lr=1"], "over which function?"),
        (["beal"], "Did you mean 'beale'?"),
        (["beale", "--frames", "3"], "--frames needs a place"),
        (["beale", "-o", "x.mp4"], "x.mp4: a picture ends in"),
        (["beale", "--view", "1", "0", "0", "1"], "--view 1 0 0 1: expected left < right and bottom < top"),
        (["beale", "sgd", "sgd-2:lr=1"], "no optimizer 'sgd-2' takes part"),
        (["beale", "sgd", "sgd:lr=-1"], "optimizer.lr"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(optrun, folder, args, message):
    done = optrun("trajectories", *args)
    assert done.code == 2
    assert message in done.err
    assert [path.name for path in folder.iterdir()] == ["tiny.yaml"]


# ---- docs/rules.md ---------------------------------------------------------------------------------------------------


def test_the_page_has_the_rules_of_the_overview():
    expected = ["sgd", "mom", "nag", "adagrad", "adadelta", "rmsprop", "adam", "adamax", "nadam", "amsgrad"]
    assert list(RULES) == expected


@pytest.mark.parametrize("name", RULES)
def test_each_rule_is_registered_with_the_formula_and_the_line_of_the_page(name, folder):
    from optrun.experiments import load_config
    from optrun.experiments.components.optimizers import registry

    component = registry.get(name)
    (formula,) = re.findall(r"```text\n(.*?)```", RULES[name], re.DOTALL)
    doc = inspect.getdoc(component.build)
    assert textwrap.indent(formula, "    ").rstrip() in doc, "as in its docstring"
    (line,) = re.findall(r"```yaml\n(.*?)```", RULES[name], re.DOTALL)
    (folder / "rule.yaml").write_text(f"extends: mom\n{line}")
    config = load_config("rule.yaml")
    assert config.optimizer.name == name
    assert "lr" in config.optimizer.args
    assert re.search(r"^Reference: .*\d{4}", RULES[name], re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_page_run(optrun, folder, command):
    (folder / "docs" / "pictures").mkdir(parents=True)
    args = shlex.split(command)
    if args[-1].endswith(".gif"):
        args += ["--frames", "2"]  # of sixty, which take their time
    done = optrun(*args)
    assert done.code == 0
    picture = args[args.index("-o") + 1]
    assert (folder / picture).is_file()
    assert f"]({picture.removeprefix('docs/')})" in TEXT, "it is shown"
    assert (PAGE.parent.parent / picture).is_file(), "run the command"


def test_the_table_of_the_page_is_what_is_printed(optrun):
    (shown,) = re.findall(r"^optimizer +lr .*?(?=^```$)", TEXT, re.MULTILINE | re.DOTALL)
    printed = optrun("trajectories", "beale").out
    assert [line.split()[:3] for line in printed.splitlines()] == [line.split()[:3] for line in shown.splitlines()]
    for ours, theirs in zip(printed.splitlines()[1:-1], shown.splitlines()[1:-1], strict=True):
        assert [float(x) for x in ours.split()[3:]] == pytest.approx([float(x) for x in theirs.split()[3:]], rel=0.05)


def test_the_pictures_are_small_and_all_on_the_page():
    shown = set(re.findall(r"\]\((pictures/[^)]+)\)", TEXT))
    made = {shlex.split(command)[shlex.split(command).index("-o") + 1].removeprefix("docs/") for command in COMMANDS}
    assert shown == made
    assert sum((PAGE.parent / file).stat().st_size for file in shown) < 1_500_000

"""`plot schedule`: the rate of a run before it is run."""

from __future__ import annotations

import subprocess
import sys

import pytest

PIECEWISE = "schedule={name: piecewise, boundaries: [50%, 8], factors: [1, 0.1, 0.01]}"


def test_it_draws_the_rate_and_lists_the_boundaries_with_both_sides(optrun):
    done = optrun("plot", "schedule", "tiny.yaml", PIECEWISE)
    lines = done.out.splitlines()
    assert (done.code, lines[0]) == (0, "learning rate")
    assert max(map(len, lines)) <= 80
    assert "step 11" in done.out  # 120 examples to train on, in batches of 20, twice
    rows = [line.split() for line in lines[lines.index("  step  rate before   rate") + 1 :]]
    assert rows == [["0", "0.1"], ["6", "0.1", "0.01"], ["8", "0.01", "0.001"], ["11", "0.001"]]


def test_its_json_has_the_curve_and_every_boundary(optrun):
    shown = optrun("plot", "schedule", "tiny.yaml", "optimizer.lr=2", PIECEWISE, "--json").json
    (schedule,) = shown["schedules"]
    assert shown["schema"] == "optrun/plot_schedule@1"
    assert schedule["boundaries"] == [
        {"step": 6, "before": 2.0, "at": 0.2},
        {"step": 8, "before": 0.2, "at": 0.02},
    ]
    assert (schedule["num_steps"], schedule["unit"], schedule["x"]) == (12, "learning rate", list(range(12)))
    assert schedule["y"] == [2.0] * 6 + [0.2] * 2 + [0.02] * 4


def test_absolute_values_are_the_rates(optrun, folder):
    text = (folder / "tiny.yaml").read_text().replace("sgd, lr: 0.1", "sgd")
    (folder / "values.yaml").write_text(f"{text}schedule: {{name: piecewise, boundaries: [3], values: [0.5, 0.25]}}\n")
    (schedule,) = optrun("plot", "schedule", "values.yaml", "--json").json["schedules"]
    assert schedule["boundaries"] == [{"step": 3, "before": 0.5, "at": 0.25}]


@pytest.mark.parametrize("file", ["lr.svg", "lr.png"])
def test_it_writes_a_figure_of_several(optrun, other, folder, file):
    assert optrun("plot", "schedule", "tiny.yaml", other, "schedule=cosine", "-o", file).out == f"{file}\n"
    content = (folder / file).read_bytes()
    assert b"tiny" in content if file.endswith("svg") else content.startswith(b"\x89PNG")


def test_a_run_in_steps_needs_no_data(optrun, folder):
    """The file that the data would be read from does not exist."""
    (folder / "far.yaml").write_text(
        "data: {name: arrays, path: missing.npz}\nmodel: logistic\nloss: cross_entropy\noptimizer: {name: sgd, lr: 1}\n"
        "schedule: {name: linear, warmup: 10%}\ntrain: {steps: 100}\n"
    )
    (schedule,) = optrun("plot", "schedule", "far.yaml", "--json").json["schedules"]
    assert [boundary["step"] for boundary in schedule["boundaries"]] == [10]
    for overrides in (["train.epochs=3", "train.steps=null"], ["schedule.warmup=1 epoch"]):
        assert optrun("plot", "schedule", "far.yaml", *overrides).code == 4


def test_a_long_list_of_boundaries_is_cut_in_the_table_alone(optrun):
    args = ("plot", "schedule", "tiny.yaml", "train.epochs=null", "train.steps=200", "schedule={name: step, every: 2}")
    out = optrun(*args).out
    assert "(75 more)" in out
    assert len(optrun(*args, "--json").json["schedules"][0]["boundaries"]) == 99


def test_a_plateau_is_said_to_depend_on_what_is_measured(optrun):
    done = optrun("plot", "schedule", "tiny.yaml", "schedule=plateau")
    assert done.err == "tiny: goes by val/loss; drawn as if that never stopped improving\n"


def test_a_run_that_only_a_clock_ends_is_drawn_as_far_as_one_says(optrun):
    args = ("plot", "schedule", "tiny.yaml", "train.epochs=null", "train.max_time=10s")
    done = optrun(*args)
    assert done.code == 2
    assert "--steps 1000" in done.err
    assert optrun(*args, "--steps", "50", "--json").json["schedules"][0]["num_steps"] == 50


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        ([], 2, "which one? Give a target"),
        (["tiny.yaml", "-o", "a.pdf"], 2, "a figure ends in .png or .svg"),
        (["tiny.yaml", "schedule=cosin"], 2, "did you mean 'cosine'?"),
        (["tiny.yaml", "schedule={name: step, every: 0}"], 2, "every: expected at least one step"),
        (["nothing"], 2, "nothing"),
    ],
)
def test_it_refuses(optrun, args, code, words):
    done = optrun("plot", "schedule", *args)
    assert done.code == code
    assert words in " ".join(done.err.split())


def test_a_run_called_schedule_is_given_as_a_path(optrun):
    assert optrun("train", "tiny.yaml", "--name", "schedule", "-q").code == 0
    assert optrun("plot", "runs/schedule", "--y", "loss").out.startswith("loss\n")
    assert optrun("plot", "schedule").code == 2


def test_its_help_and_completion_are_its_own(optrun):
    assert "Usage: optrun plot schedule [OPTIONS] TARGET..." in optrun("plot", "schedule", "--help").out
    assert "Usage: optrun plot [OPTIONS] RUN..." in optrun("plot", "--help").out
    words = {"_OPTRUN_COMPLETE": "bash_complete", "COMP_WORDS": "optrun plot sch", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "optrun.cli"], capture_output=True, text=True, env=words | {"PATH": ""}, check=False
    )
    assert done.stdout.strip() == "plain,schedule"

"""`optrun lr-find`, as a user types it."""

from __future__ import annotations

import math

import pytest

STEPS = ("--steps", "40", "--from", "1e-4")


def test_it_draws_the_curve_and_marks_the_suggestions(optrun, folder):
    done = optrun("lr-find", "tiny.yaml", *STEPS)
    lines = done.out.splitlines()
    assert done.code == 0
    assert max(map(len, [*lines, *done.err.splitlines()])) <= 80
    assert lines[0].startswith("tiny: smoothed loss after 40 steps of 20 examples")
    rows = [line.split() for line in lines if line[:4].strip() in ("●", "◆", "▲")]
    assert [row[1] for row in rows] == ["steepest", "minimum/10", "valley"]
    picture = [line for line in lines if "│" in line]
    for mark in "●◆▲":
        assert sum(mark in line for line in picture) == 1
    assert "Compare rates by what whole" in done.out
    assert [path.name for path in folder.iterdir()] == ["tiny.yaml"]


def test_its_suggestions_are_in_its_json_and_lead_to_a_sweep_around_them(optrun):
    done = optrun("lr-find", "tiny.yaml", "data.batch_size=10", "optimizer.lr=7", *STEPS, "--json")
    found = done.json
    assert found["schema"] == "optrun/lr-find@1"
    assert len(found["rates"]) == len(found["losses"]) == len(found["smoothed"]) == 40
    assert "may be several times higher or lower" in found["caveat"]
    rates = [rate for rate in found["suggestions"].values() if rate is not None]
    (sweep,) = [line for line in done.err.splitlines() if line.startswith("next: ")]
    words = sweep.split()
    assert words[:4] == ["next:", "optrun", "sweep", "tiny.yaml"]
    assert words[5:] == ["data.batch_size=10"], "all that was changed but the rate"
    _, low, high = words[4].split(":")
    assert float(low) < min(rates) <= max(rates) < float(high)


def test_quiet_says_the_rates_alone(optrun):
    done = optrun("lr-find", "tiny.yaml", *STEPS, "-q")
    assert len(done.out.splitlines()) == 3
    assert done.err == ""


@pytest.mark.parametrize("file", ["lr.svg", "lr.png"])
def test_it_writes_a_figure(optrun, folder, file):
    done = optrun("lr-find", "tiny.yaml", *STEPS, "-o", file)
    content = (folder / file).read_bytes()
    assert f"wrote {file}" in done.err
    assert b"mathdefault" not in content, "no formulas for the rates"
    assert b"steepest: " in content if file.endswith("svg") else content.startswith(b"\x89PNG")
    optrun("lr-find", "tiny.yaml", *STEPS, "-o", f"again-{file}")
    assert (folder / f"again-{file}").read_bytes() == content


def test_a_loss_that_never_falls_is_an_answer_too(optrun, folder):
    """Nothing to learn: all targets are what the model says already."""
    (folder / "flat.yaml").write_text(
        "data: none\nmodel: {name: quadratic, spectrum: [1], start: [1]}\nloss: output\n"
        "optimizer: {name: sgd, lr: 1}\ntrain: {steps: 5}\n"
    )
    done = optrun("lr-find", "flat.yaml", "--from", "2.01", "--to", "2.3", "--steps", "10")
    assert done.code == 1
    assert "no suggestion: the loss did not fall; begin lower than --from 2.01" in done.err
    assert done.out.count("none") == 3


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--from", "3", "--to", "1"], 2, "the smaller one first"),
        (["--steps", "1"], 2, "too few"),
        (["--beta", "1"], 2, "below 1"),
        (["-o", "lr.pdf"], 2, "a figure ends in .png or .svg"),
        (["optimizer.lrr=1"], 2, "did you mean 'lr'?"),
        (["--from", "1e37", "--to", "1e38"], 3, "begin lower"),
    ],
)
def test_mistakes_are_said(optrun, folder, args, code, message):
    done = optrun("lr-find", "tiny.yaml", *args)
    assert done.code == code
    assert message in done.err
    assert done.out == ""
    assert [path.name for path in folder.iterdir()] == ["tiny.yaml"]


def test_a_target_is_needed_and_the_name_has_a_hyphen(optrun):
    assert "which one? Give a target" in optrun("lr-find").err
    assert "Did you mean 'lr-find'?" in optrun("lr_find", "tiny.yaml").err


def test_a_curve_that_ends_high_above_its_start_does_not_flatten_the_picture():
    from optrun.experiments.report.figures.lr_range import RangeCurve, range_text

    rates = [10.0**place for place in range(-5, 1)]
    lines = range_text(RangeCurve(rates, [], [2.0, 1.8, 1.4, 1.0, 1.2, 400.0], {"a": 1e-4}), width=40, unicode=False)
    assert float(lines[0].split()[0]) == 2.5, "half the descent above the start"
    assert lines[-1].split() == ["1e-05", "rate", "1"]
    assert all(len(line) <= 40 for line in lines)


def test_a_flat_curve_can_be_drawn():
    from optrun.experiments.report.figures.lr_range import RangeCurve, range_text

    lines = range_text(RangeCurve([0.1, 1.0], [], [3.0, 3.0], {}), width=40)
    assert all(math.isfinite(float(lines[row].split()[0])) for row in (0, 6, 11))

"""The sentence: what was shown, what limits it, and nothing beyond."""

from __future__ import annotations

import json
import random

import pytest

from optrun.experiments.report.group import Group
from optrun.experiments.report.results import Results
from optrun.experiments.report.statistics import verdicts
from optrun.experiments.report.words.headline import say, say_sweep
from optrun.experiments.report.words.protocol import protocol_sentences

A = [0.90, 0.92, 0.91, 0.93, 0.90, 0.94, 0.92, 0.91]
SAME = [value + shift for value, shift in zip(A, (0.01, -0.01, 0.02, -0.02, 0.01, -0.01, 0.01, -0.01), strict=True)]
BETTER = [value + 0.05 + 0.001 * (i % 3) for i, value in enumerate(A)]


def timed(values, epochs):
    return list(zip(values, epochs, strict=True))


def said(folder):
    return say(Results(Group(folder)))


def test_sooner_and_no_difference_at_the_end(write_group):
    slow, fast = timed(A, [4, 3, 4, 4, 4, 3, 4, 4]), timed(SAME, [2, 2, 2, 2, 2, 1, 2, 2])
    text = said(write_group({"sgd": slow, "adam": fast}, tuned=True)).headline
    assert text.startswith("adam reached 0.8 in 2.0 times fewer epochs than sgd (95 % CI ")
    assert "test/accuracy: no difference shown, about " in text
    assert text.endswith("seeds would be needed to show 0.005")


def test_better_is_said_with_size_and_direction(write_group):
    text = said(write_group({"sgd": A, "adam": BETTER}, target=False, tuned=True))
    assert text.headline.startswith("test/accuracy: adam is 0.0509 higher than sgd (95 % CI 0.050-0.052, p < .001")
    assert text.notes == ()


def test_less_is_better_where_the_metric_says_so(write_group):
    protocol = {"mode": "min"}
    text = said(write_group({"sgd": A, "adam": BETTER}, target=False, tuned=True, protocol=protocol)).headline
    assert text.startswith("test/accuracy: sgd is 0.0509 lower than adam")


def test_runs_that_missed_are_counted_and_give_no_ratio(write_group):
    folder = write_group({"sgd": [0.7, 0.9, 0.9, 0.7], "adam": [0.9, 0.91, 0.92, 0.93]}, tuned=True)
    text = said(folder).headline
    assert text.startswith("Runs that reached 0.8: sgd 2 of 4, adam 4 of 4; ")
    assert "times fewer" not in text


def test_identical_runs_are_called_identical_and_nothing_else(write_group):
    text = said(write_group({"mom": A, "mom-2": A}))
    assert text.headline == "mom and mom-2 are identical: every difference in test/accuracy over 8 seeds is exactly 0"
    assert not any("p " in note or "Not tuned" in note for note in text.notes)


def test_ahead_by_less_than_the_margin_is_one_reading_and_not_two(write_group):
    """A difference that is shown, and may be too small to matter: who is ahead is said in one breath with that."""
    shifts = [0.004, 0.006, 0.002, 0.005, 0.003, 0.0045, 0.0035, 0.004]
    entries = {"sgd": A, "mom": [a + s for a, s in zip(A, shifts, strict=True)], "adam": SAME}
    results = Results(Group(write_group(entries, target=False, protocol={"margin": 0.004})))
    assert {pair.verdict.kind for pair in results.analysis.pairs} >= {verdicts.WITHIN_MARGIN}
    text = say(results).headline
    assert text == (
        "test/accuracy: none of mom, sgd and adam is better than another by more than the margin of 0.004; "
        "mom is ahead of sgd by less"
    )


@pytest.mark.parametrize(
    ("spacing", "text"),
    [
        (0.002, "each of the other 2"),
        (0.02, "entry-23 is better than each of the other 23; closest is entry-22 (by 0.0193, p < .001"),
    ],
)
def test_of_many_entries_the_sentence_names_a_few(write_group, spacing, text):
    draw = random.Random(0)
    entries = {f"entry-{i:02d}": [value / 2 + spacing * i + 0.004 * draw.random() for value in A] for i in range(24)}
    headline = say(Results(Group(write_group(entries, protocol={"margin": 0.001})))).headline
    shares = [sum(value >= 0.8 for value in values) for values in entries.values()]
    counts = {"all": shares.count(8), "none": shares.count(0)}
    counts["some"] = 24 - sum(counts.values())
    for which, number in counts.items():
        assert (f"{which} of {number} entr" in headline) == (number > 0)
    assert text in headline
    assert len(headline) < 220


def test_a_single_winner_among_three(write_group):
    text = said(write_group({"sgd": A, "mom": SAME, "adam": BETTER}, target=False, tuned=True)).headline
    assert text.startswith("test/accuracy: adam is better than ")
    assert "mom (by 0.05" in text
    assert "sgd (by 0.05" in text


def test_no_winner_among_three(write_group):
    text = said(write_group({"sgd": A, "mom": SAME, "nag": list(reversed(SAME))}, target=False, tuned=True)).headline
    assert "no difference shown between" in text
    assert "better than" not in text


def test_two_ahead_of_one(write_group):
    near = [value + shift for value, shift in zip(BETTER, (0.01, -0.01) * 4, strict=True)]
    text = said(write_group({"sgd": A, "mom": BETTER, "adam": near}, target=False, tuned=True)).headline
    assert "no single winner: mom and adam may each be the best" in text or "adam and mom may each" in text
    assert "sgd is worse than" in text


def test_diverged_runs_are_counted(write_group):
    folder = write_group({"calm": [0.9, 0.91, 0.92], "wild": [None, None, 0.9]}, target=False, tuned=True)
    text = said(folder).headline
    assert "wild 2/3" in text
    assert "undecided" in text


@pytest.mark.parametrize(
    ("facts", "note"),
    [
        ({"tuned": False}, "Not tuned: "),
        ({"looks": [{"seeds": 5}, {"seeds": 8, "exploratory": True}]}, "Exploratory: "),
        ({"pairing": {}}, "not checked"),
    ],
)
def test_limits_are_said(write_group, facts, note):
    text = said(write_group({"a": A, "b": BETTER}, **{"tuned": True, "target": False, **facts}))
    assert [note in line for line in text.notes].count(True) == 1
    assert note in str(text)


def test_an_edge_and_missing_runs_are_said(write_group):
    folder = write_group({"a": A, "b": BETTER}, tuned=True)
    data = json.loads((folder / "comparison.json").read_text())
    data["entries"][0]["tuning"]["bracketed"] = False
    data["runs"][-1]["state"] = "failed"
    (folder / "comparison.json").write_text(json.dumps(data))
    notes = " ".join(said(folder).notes)
    assert "Not bracketed: the optimizer.lr of a lies at the edge" in notes
    assert "Incomplete: 1 of 16 evaluation runs take no part (1 failed)" in notes


def test_a_sweep_says_what_was_chosen_and_how_wide_the_good_range_is(write_group):
    protocol = {"margin": 0.3, "select": "val/accuracy"}
    group = Group(write_group({"mom": [0.9]}, tuned=True, kind="sweep", protocol=protocol))
    assert say_sweep(group).headline == (
        "mom: val/accuracy was best at optimizer.lr = 0.1 (0.905, mean of 2 runs); "
        "within 0.3 of it: at most 0.0316 to 0.1"
    )


def test_the_protocol_in_words(write_group):
    folder = write_group({"a": A, "b": [None, *BETTER[1:]]}, tuned=True)
    group = Group(folder)
    text = "\n".join(protocol_sentences(group, Results(group)))
    assert "every entry got 3 values of optimizer.lr on a grid with a factor of 3.16" in text
    assert "centre 0.1 from its paper, 6 runs spent, 0.1 kept" in text
    assert "Evaluated on 8 seeds (0-7)" in text
    assert "None of them was used for tuning." in text
    assert "Differences up to 0.005 (registered with metric accuracy) do not matter." in text
    assert "Runs that diverged (b 1 of 8) stay in the count and rank worst." in text
    assert "Ratios of times were withheld" in text
    assert "looked at every epoch" in text
    assert "In all 28 runs in 2.5 s, at most 2 at a time." in text


def test_seeds_that_were_tuned_on_are_said(write_group):
    group = Group(write_group({"a": A, "b": BETTER}, tuned=True, protocol={"tune_seeds": [0, 1]}))
    assert any("Seeds 0 and 1 were used for tuning too." in line for line in protocol_sentences(group))

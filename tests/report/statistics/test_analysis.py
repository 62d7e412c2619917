from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from optrun.experiments.errors import UsageError
from optrun.experiments.report.records import analysis_record
from optrun.experiments.report.statistics.analysis import compare_entries
from optrun.experiments.report.statistics.multiplicity import holm
from optrun.experiments.report.statistics.paired import paired
from optrun.experiments.report.statistics.ranking import letters, ranks
from optrun.experiments.report.words.limits import overall_limits
from optrun.experiments.report.words.verdicts import overall_sentence, pair_sentence

RNG = np.random.default_rng(21)
SEEDS = range(10)
SHARED = RNG.normal(0, 0.004, size=10)


def runs(mean: float, spread: float = 0.002) -> dict[int, float | None]:
    return {seed: float(mean + SHARED[seed] + spread * RNG.normal()) for seed in SEEDS}


ADAM, MOM, SGD = runs(0.960), runs(0.959), runs(0.93)
VALUES = {"sgd": SGD, "mom": MOM, "adam": ADAM}


def analyse(**changes):
    return compare_entries(VALUES, **{"mode": "max", "margin": 0.005, **changes})


def test_all_pairs_are_made_and_corrected_together():
    found = analyse()
    assert [(pair.a, pair.b) for pair in found.pairs] == [("sgd", "mom"), ("sgd", "adam"), ("mom", "adam")]
    alone = [paired(VALUES[pair.a], VALUES[pair.b]) for pair in found.pairs]
    assert [pair.result for pair in found.pairs] == alone
    assert [pair.adjusted.p for pair in found.pairs] == list(holm([result.p for result in alone]))
    flips = [result.sign_flip.p for result in alone if result.sign_flip is not None]
    assert [pair.adjusted.flip_p for pair in found.pairs] == list(holm(flips))
    assert {pair.adjusted.num_tests for pair in found.pairs} == {3}


def test_entries_are_in_order_with_places_and_letters():
    found = analyse()
    assert [entry.name for entry in found.entries] == ["adam", "mom", "sgd"]
    assert [str(entry.rank) for entry in found.entries] == ["1-2", "1-2", "3"]
    assert [entry.letters for entry in found.entries] == ["a", "a", "b"]
    assert found.entry("sgd").mean == pytest.approx(np.mean(list(SGD.values())))
    assert found.winner is None
    assert overall_sentence(found) == "no single winner: adam and mom may each be the best; sgd is not"


def test_places_and_letters_follow_from_the_verdicts():
    found = analyse(margin=0.0)
    better = [(pair.verdict.winner, pair.verdict.loser) for pair in found.pairs if pair.verdict.winner]
    names = [entry.name for entry in found.entries]
    assert {entry.name: entry.rank for entry in found.entries} == ranks(names, better)
    assert {entry.name: entry.letters for entry in found.entries} == letters(names, better)


def test_less_is_better():
    found = analyse(mode="min")
    assert [entry.name for entry in found.entries] == ["sgd", "mom", "adam"]
    assert found.winner == "sgd"
    assert overall_sentence(found) == "sgd is better than each of the other 2"


def test_two_entries_have_one_sentence():
    found = compare_entries({"adam": ADAM, "sgd": SGD}, mode="max", margin=0.005)
    assert overall_sentence(found) == pair_sentence(found.pairs[0])
    assert found.winner == "adam"


def test_a_baseline_makes_fewer_pairs():
    found = analyse(baseline="mom")
    assert [(pair.a, pair.b) for pair in found.pairs] == [("sgd", "mom"), ("adam", "mom")]
    assert {pair.adjusted.num_tests for pair in found.pairs} == {2}
    assert [entry.letters for entry in found.entries] == ["", "", ""]
    assert [str(entry.rank) for entry in found.entries] == ["1-3", "1-2", "2-3"]
    with pytest.raises(UsageError, match="each entry was compared with 'mom' alone"):
        found.pair("adam", "sgd")


def test_a_pair_is_found_in_either_order():
    found = analyse()
    assert found.pair("adam", "sgd") is found.pair("sgd", "adam")
    with pytest.raises(UsageError, match="Did you mean 'adam'"):
        found.pair("adem", "sgd")
    with pytest.raises(UsageError, match="compared with itself"):
        found.pair("adam", "adam")


def test_other_questions_join_the_family():
    alone, joined = analyse(), analyse(other_p=[0.01, None, 0.2])
    assert {pair.adjusted.num_tests for pair in joined.pairs} == {5}
    p_values = [*(pair.result.p for pair in joined.pairs), 0.01, None, 0.2]
    assert joined.other_p == holm(p_values)[3:]
    assert alone.other_p == ()


def test_identical_entries_cost_the_others_nothing():
    twin = compare_entries({"mom": MOM, "mom 2": dict(MOM)}, mode="max", margin=0.005)
    assert twin.pairs[0].verdict.kind == "identical"
    assert twin.pairs[0].adjusted.p is None
    assert overall_sentence(twin) == "mom and mom 2 are identical: every difference over 10 seeds is exactly 0"
    three = compare_entries({"mom": MOM, "mom 2": dict(MOM), "adam": ADAM}, mode="max", margin=0.005)
    assert {pair.adjusted.num_tests for pair in three.pairs} == {2}
    assert overall_limits(three) == []


def test_diverged_runs_stay_and_rank_worst():
    broken = {**ADAM, 3: None, 4: float("nan")}
    found = compare_entries({"broken": broken, "sgd": SGD}, mode="max", margin=0.005)
    assert [entry.name for entry in found.entries] == ["sgd", "broken"]
    entry = found.entry("broken")
    assert (entry.n, entry.num_diverged, entry.mean, entry.interval) == (10, 2, None, None)
    assert entry.median is not None
    assert found.pairs[0].verdict.kind == "undecided: diverged"


def test_all_diverged():
    dead = dict.fromkeys(SEEDS)
    found = compare_entries({"dead": dead, "sgd": SGD}, mode="min", margin=0.005)
    assert found.winner == "sgd"
    assert found.entry("dead").median is None


def test_too_few_seeds_are_said():
    few = {name: {seed: row[seed] for seed in range(6)} for name, row in VALUES.items()}
    assert overall_limits(compare_entries(few, mode="max", margin=0.005)) == [
        "with 6 seeds the smallest p of the sign-flip test is 0.0312: it needs 7 seeds to reach 0.05 over 3 pairs"
    ]


def test_seeds_without_a_partner_are_said():
    found = compare_entries({"a": ADAM, "b": {seed: SGD[seed] for seed in range(1, 10)}}, mode="max", margin=0.005)
    assert overall_limits(found) == [
        "a and b: left out, because only one entry has them: 1 seed (0)",
    ]
    assert found.pairs[0].result.n == 9


def test_one_entry_alone():
    found = compare_entries({"adam": ADAM}, mode="max", margin=0.005)
    assert (found.pairs, found.winner) == ((), None)
    assert overall_sentence(found) == "adam stands alone: there is nothing to compare it with"


@pytest.mark.parametrize(
    "values", [VALUES, {"a": {0: 1.0}, "b": {0: 2.0}}, {"a": {0: None, 1: 1.0}, "b": {0: 1, 1: 2}}]
)
def test_as_dict_is_json(values):
    found = analysis_record(compare_entries(values, mode="max", margin=0.005))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_as_dict_holds_what_is_printed():
    found = analyse()
    pair, record = found.pairs[1], analysis_record(found)["pairs"][1]
    assert (record["a"], record["b"], record["n"]) == ("sgd", "adam", 10)
    assert record["adjusted_p"] == pair.adjusted.p
    assert record["interval"]["low"] == pair.result.interval.low
    assert record["sentence"] == pair_sentence(pair)
    assert record["sign_flip"]["method"] == "exact"
    assert record["p_better"]["share"] == pair.result.better.share


@pytest.mark.parametrize(
    ("values", "changes", "message"),
    [
        ({}, {}, "no entries"),
        ({"a": {}}, {}, "entry 'a' has no runs"),
        ({"a": {0: 1.0}, "b": {1: 1.0}}, {}, r"'a' \(a\) against 'b' \(b\): a and b have no seed in common"),
        ({"a": {0: "x"}}, {}, r"a\[0\] is 'x'"),
        (VALUES, {"baseline": "adan"}, "baseline: .*Did you mean 'adam'"),
        (VALUES, {"margin": -1}, "margin = -1"),
        (VALUES, {"mode": "most"}, "mode = 'most'"),
        (VALUES, {"alpha": 5}, "alpha = 5"),
    ],
)
def test_what_cannot_be_compared(values, changes, message):
    with pytest.raises(UsageError, match=message):
        compare_entries(values, **{"mode": "max", "margin": 0.005, **changes})


def test_the_import_is_cheap():
    code = (
        "import sys, optrun.experiments.report.statistics.analysis; "
        "print(sorted({'numpy', 'scipy', 'torch', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_an_analysis_needs_no_torch():
    code = (
        "import sys; from optrun.experiments.report.statistics.analysis import compare_entries; "
        "compare_entries({'a': {0: 1.0, 1: 3.0}, 'b': {0: 2.0, 1: 2.5}}, mode='max', margin=0.1); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"

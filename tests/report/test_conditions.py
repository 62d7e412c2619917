from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from optrun.experiments.errors import UsageError
from optrun.experiments.report.conditions import Condition, Spellings, check_form, parse_condition
from optrun.experiments.report.decisions import decide
from optrun.experiments.report.statistics.analysis import compare_entries

ENTRIES = ["adam", "sgd", "mom-2", "adam:optimizer.lr=3e-3", "./my.yaml", "two words"]
METRICS = ["test/accuracy", "test/loss", "val/top-5"]


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("operator", [">=", "<=", ">", "<"])
def test_bounds(entry, operator):
    text = f"{entry}.test/accuracy {operator} 0.96"
    assert parse_condition(text, ENTRIES, METRICS) == Condition(
        text, "bound", entry, metric="test/accuracy", operator=operator, number=0.96
    )


def test_a_label_stands_for_its_entry_where_it_is_one_of_one_entry_alone():
    entries = [("a", "wd 0.01"), ("b", "cosine"), ("b-2", "cosine"), ("c", "a"), ("d", "")]
    known = Spellings(entries)
    assert known == {"a": "a", "b": "b", "b-2": "b-2", "c": "c", "d": "d", "wd 0.01": "a"}
    condition = parse_condition("wd 0.01 better than b", known)
    assert (condition.a, condition.b, condition.text) == ("a", "b", "wd 0.01 better than b")
    assert parse_condition("wd 0.01.test/loss < 1", known, METRICS).a == "a"
    with pytest.raises(UsageError, match="no entry named 'cosine'"):
        parse_condition("cosine better than a", known)


@pytest.mark.parametrize("text", ["adam.test/loss<1e-3", "  adam.test/loss  <  1e-3  ", "adam.test/loss < +.001"])
def test_spaces_and_numbers(text):
    condition = parse_condition(text, ENTRIES, METRICS)
    assert (condition.a, condition.metric, condition.operator, condition.number) == ("adam", "test/loss", "<", 0.001)


@pytest.mark.parametrize("a", ENTRIES)
def test_relations(a):
    b = "sgd" if a != "sgd" else "adam"
    for relation in ("better than", "not worse than", "equivalent to"):
        condition = parse_condition(f"{a} {relation} {b}", ENTRIES, METRICS)
        assert (condition.a, condition.relation, condition.b, condition.number) == (a, relation, b, None)
    condition = parse_condition(f"{a}  not  worse than {b}  within  5e-3", ENTRIES)
    assert (condition.a, condition.relation, condition.b, condition.number) == (a, "not worse than", b, 0.005)


def test_the_longest_entry_counts():
    condition = parse_condition("a.b.c > 1", ["a", "a.b"], ["c"])
    assert (condition.a, condition.metric) == ("a.b", "c")
    assert parse_condition("a.b.c > 1", ["a", "a.b"], ["b.c"]).a == "a"


WRONG = [
    ("adm.test/accuracy >= 0.96", 1, "no entry .*'adm'.*Did you mean 'adam'"),
    ("adam.test/acuracy >= 0.96", 6, "no metric .*'test/acuracy'.*Did you mean 'test/accuracy'"),
    ("adam >= 0.96", 6, "which metric of 'adam'"),
    ("adam.test/accuracy >= ", 23, "'' is no number"),
    ("adam.test/accuracy >= 96%", 23, "'96%' is no number"),
    ("adam.test/accuracy >= nan", 23, "'nan' is no number"),
    ("adam.test/accuracy == 0.96", 20, "'==' is none of"),
    ("adam.test/accuracy = 0.96", 1, "no relation"),
    ("adam is the best", 1, "no relation is in it"),
    ("", 1, "no relation is in it"),
    ("adem better than sgd", 1, "Did you mean 'adam'"),
    ("adam better than sdg", 18, "Did you mean 'sgd'"),
    ("adam better than", 17, "the name of an entry is missing"),
    ("better than sgd", 1, "the name of an entry is missing"),
    ("adam better than adam", 18, "held against itself"),
    ("adam better than sgd within 0.1", 22, "takes the margin of the comparison"),
    ("adam not worse than sgd within", 31, "'' is no number"),
    ("adam not worse than sgd within much", 32, "'much' is no number"),
    ("adam not worse than sgd within -1", 32, "a margin is at least 0"),
]


@pytest.mark.parametrize(("text", "column", "message"), WRONG)
def test_errors_name_the_place(text, column, message):
    with pytest.raises(UsageError, match=message) as caught:
        parse_condition(text, ENTRIES, METRICS)
    assert f"column {column}:" in str(caught.value)


@pytest.mark.parametrize(("text", "column", "message"), WRONG)
def test_what_no_names_can_mend_is_refused_without_them(text, column, message):
    if any(word in message for word in ("no entry", "no metric", "Did you", "which metric", "itself")):
        check_form(text)
        return
    with pytest.raises(UsageError, match=message) as caught:
        check_form(text)
    assert f"column {column}:" in str(caught.value)


@given(st.text(alphabet="adm.sg/ <>=0123betrhnwoi-", max_size=40))
def test_any_text_is_a_condition_or_a_usage_error(text):
    try:
        condition = parse_condition(text, ENTRIES, METRICS)
    except UsageError:
        return
    assert condition.a in ENTRIES
    check_form(text)


NOISE = np.random.default_rng(2).normal(0, 0.004, size=10)
NOISE = NOISE - NOISE.mean()


def entries(lead: float, spread: float = 1.0, n: int = 10) -> dict[str, dict[int, float | None]]:
    """Return values of `new` and `old`; new is ahead by `lead` on the mean of ten."""
    old = {seed: 0.9 + 0.001 * seed for seed in range(n)}
    return {"new": {seed: v + lead + spread * float(NOISE[seed]) for seed, v in old.items()}, "old": dict(old)}


def ask(text: str, values, *, mode="max", margin=0.005):
    analysis = compare_entries(values, mode=mode, margin=margin)
    return decide(parse_condition(text, list(values), ["m"]), analysis, {"m": values})


@pytest.mark.parametrize(
    ("text", "holds"),
    [("new.m >= 0.95", True), ("new.m > 0.96", False), ("new.m <= 0.96", True), ("new.m < 0.95", False)],
)
def test_bounds_are_decided_by_the_mean(text, holds):
    found = ask(text, entries(0.05))
    assert found.holds is holds
    assert "The mean is 0.9545 (n = 10, 95 % CI " in found.message


def test_a_bound_inside_the_interval_is_told():
    found = ask("new.m >= 0.954", entries(0.05))
    assert found.holds is True
    assert "0.954 is inside the interval, so that other seeds may decide otherwise" in str(found)
    assert "inside the interval" not in ask("new.m >= 0.9", entries(0.05)).message


def test_a_bound_on_one_seed():
    assert ask("new.m >= 0.5", entries(0.05, n=1)).message.endswith("one seed tells nothing about others")


def test_no_bound_holds_for_a_diverged_run():
    values = entries(0.05)
    values["new"][3] = None
    for text in ("new.m >= 0.1", "new.m <= 0.99"):
        found = ask(text, values)
        assert (found.holds, found.message) == (False, "1 of 10 runs diverged: no mean")


@pytest.mark.parametrize("mode", ["max", "min"])
def test_better_than_follows_the_verdict(mode):
    lead = 0.05 if mode == "max" else -0.05
    values = entries(lead)
    assert ask("new better than old", values, mode=mode).holds is True
    assert ask("old better than new", values, mode=mode).holds is False
    swapped = {"old": values["old"], "new": values["new"]}
    assert ask("new better than old", swapped, mode=mode).holds is True


@pytest.mark.parametrize("mode", ["max", "min"])
def test_better_than_is_undecided_or_refuted(mode):
    sign = 1 if mode == "max" else -1
    undecided = ask("new better than old", entries(sign * 0.006, spread=4.0), mode=mode)
    assert undecided.holds is None
    assert "would be needed" in undecided.message
    # Equivalence is no win, and neither is a lead that ends below the margin.
    assert ask("new better than old", entries(0.0), mode=mode).holds is False
    assert ask("new better than old", entries(-sign * 0.004, spread=1.6), mode=mode).holds is False
    # Turned around, the same lead of old may be larger than the margin: that is open.
    assert ask("old better than new", entries(-sign * 0.004, spread=1.6), mode=mode).holds is None


def test_too_few_seeds_are_told():
    found = ask("new better than old", entries(0.006, spread=4.0, n=5))
    assert found.holds is None
    assert "it needs 6 seeds to reach 0.05" in found.message


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("lead", [-0.02, -0.005, -0.002, 0.0, 0.01])
@pytest.mark.parametrize("margin", [0.0, 0.005])
def test_not_worse_is_a_one_sided_test(mode, lead, margin):
    """Against scipy: the lower end of the one-sided 95 % interval lies above -margin."""
    sign = 1 if mode == "max" else -1
    values = entries(sign * lead)
    differences = [sign * (values["new"][s] - values["old"][s]) for s in range(10)]
    low = stats.ttest_1samp(differences, 0, alternative="greater").confidence_interval(0.95).low
    high = stats.ttest_1samp(differences, 0, alternative="less").confidence_interval(0.95).high
    expected = True if low > -margin else False if high < -margin else None
    assert ask(f"new not worse than old within {margin}", values, mode=mode).holds is expected


def test_not_worse_says_what_it_would_take():
    found = ask("new not worse than old within 0.001", entries(-0.0005))
    assert found.holds is None
    assert "; 10 seeds cannot decide, about " in found.message
    assert "at least -" in found.message


def test_within_is_the_margin_unless_stated():
    values = entries(0.0)
    assert ask("new not worse than old", values, margin=0.005).holds is True
    assert ask("new not worse than old", values, margin=0.0001).holds is None
    assert ask("new equivalent to old", values, margin=0.0001).holds is None


def test_equivalent_to():
    assert ask("new equivalent to old within 0.005", entries(0.001)).holds is True
    assert ask("new equivalent to old within 0.005", entries(0.02)).holds is False
    found = ask("new equivalent to old within 0.005", entries(0.005))
    assert found.holds is None
    assert str(found).startswith("new equivalent to old within 0.005: undecided. The mean difference is 0.005 (n = 10")


def test_identical_entries():
    values = {"new": entries(0.0)["old"], "old": entries(0.0)["old"]}
    assert ask("new better than old", values).holds is False
    assert ask("new not worse than old within 0", values).holds is True
    assert ask("new equivalent to old", values).holds is True


def test_one_seed_decides_no_relation():
    for relation in ("better than", "not worse than", "equivalent to"):
        assert ask(f"new {relation} old", entries(0.5, n=1)).holds is None


def test_equal_differences_need_five_seeds():
    for n, holds in ((4, None), (5, True)):
        assert ask("new not worse than old", entries(0.25, spread=0.0, n=n)).holds is holds


@pytest.mark.parametrize("relation", ["not worse than", "equivalent to"])
def test_relations_after_divergence(relation):
    values = entries(0.002)
    values["new"][0] = None
    found = ask(f"new {relation} old", values)
    dead = ask(f"new {relation} old", {**values, "new": dict.fromkeys(values["new"])})
    saved = ask(f"old {relation} new", {**values, "new": dict.fromkeys(values["new"])})
    assert found.holds is None
    assert "1/10" in found.message
    assert dead.holds is False
    assert saved.holds is (relation == "not worse than")


def test_a_pair_that_was_not_compared():
    values = {**entries(0.01), "third": entries(0.0)["old"]}
    analysis = compare_entries(values, mode="max", margin=0.005, baseline="third")
    with pytest.raises(UsageError, match="compared with 'third' alone"):
        decide(parse_condition("new better than old", list(values)), analysis)


def test_bounds_need_their_values():
    values = entries(0.01)
    analysis = compare_entries(values, mode="max", margin=0.005)
    with pytest.raises(UsageError, match="Did you mean 'test/accuracy'"):
        decide(parse_condition("new.test/acuracy > 0", values), analysis, {"test/accuracy": values})
    with pytest.raises(UsageError, match="'new'"):
        decide(parse_condition("new.m > 0", values), analysis, {"m": {"old": values["old"]}})

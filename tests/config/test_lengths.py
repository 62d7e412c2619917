from __future__ import annotations

import math
import pickle
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrun.experiments.config.lengths import Interval, Length, RunLength

RUN = RunLength(num_steps=1000, steps_per_epoch=50)


@pytest.mark.parametrize(
    ("value", "amount", "unit", "text"),
    [
        (0, 0, "steps", "0 steps"),
        (1, 1, "steps", "1 step"),
        (300, 300, "steps", "300 steps"),
        ("300", 300, "steps", "300 steps"),
        ("300 steps", 300, "steps", "300 steps"),
        ("1step", 1, "steps", "1 step"),
        ("5 st", 5, "steps", "5 steps"),
        ("3.0 steps", 3, "steps", "3 steps"),
        ("100000 steps", 100_000, "steps", "100000 steps"),
        ("1234567", 1_234_567, "steps", "1234567 steps"),
        ("  2   EPOCHS ", 2, "epochs", "2 epochs"),
        ("1 epoch", 1, "epochs", "1 epoch"),
        ("2ep", 2, "epochs", "2 epochs"),
        (".5 epochs", 0.5, "epochs", "0.5 epochs"),
        ("1. epochs", 1, "epochs", "1 epoch"),
        ("1.2345678 epochs", 1.2345678, "epochs", "1.2345678 epochs"),
        ("0.00000001 epochs", 1e-8, "epochs", "0.00000001 epochs"),
        ("5%", 5, "%", "5%"),
        ("12.5 %", 12.5, "%", "12.5%"),
        ("100%", 100, "%", "100%"),
        ("0%", 0, "%", "0%"),
    ],
)
def test_parse_and_print(value, amount, unit, text):
    for kind in (Length, Interval):
        parsed = kind.parse(value)
        assert (type(parsed), parsed.amount, parsed.unit, str(parsed)) == (kind, amount, unit, text)


@pytest.mark.parametrize(
    ("value", "secs", "text"),
    [
        ("10s", 10, "10s"),
        ("10 sec", 10, "10s"),
        ("0 secs", 0, "0s"),
        ("10m", 600, "10m"),
        ("10 min", 600, "10m"),
        ("90 mins", 5400, "90m"),
        ("60 mins", 3600, "1h"),
        ("2h", 7200, "2h"),
        ("1 hour", 3600, "1h"),
        ("1.5 hours", 5400, "90m"),
        ("0.57h", 2052, "2052s"),  # in binary floats 0.57 × 3600 is 2051.9999999999995
        ("0.1s", 0.1, "0.1s"),
        ("100000.5s", 100_000.5, "100000.5s"),
        ("1234567h", 1234567 * 3600, "1234567h"),
    ],
)
def test_times_are_intervals_and_no_lengths(value, secs, text):
    parsed = Interval.parse(value)
    assert (parsed.amount, parsed.unit, str(parsed)) == (secs, "secs", text)
    with pytest.raises(ValueError, match=r"expected a length such as .*must not depend on a clock") as caught:
        Length.parse(value)
    assert repr(value) in str(caught.value)
    with pytest.raises(ValueError, match=f"got the time {text}: this must not depend on a clock"):
        Length.parse(parsed)
    with pytest.raises(ValueError, match="is a time, not a number of steps"):
        parsed.steps(RUN)


@pytest.mark.parametrize(
    "value",
    [
        True, False, None, 300.0, 0.5, math.nan, math.inf, [1], {"steps": 1}, b"5",
        -1, "-1", "-5 epochs", "+5", "", " ", "steps", "%", "5 5", "5%%", "5 percent", "5 weeks", "five",
        "1e3", "1_000", "1,5", "0x10", "nan", "inf", "٣ steps", "３", "²", "5\u00a0steps", "5.5.5", ".", "1 step 2",
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [Length, Interval])
def test_what_is_no_length_is_refused_with_what_was_expected_and_got(kind, value):
    with pytest.raises(ValueError, match=f"^expected {kind.expected}, got ") as caught:
        kind.parse(value)
    assert str(caught.value).endswith(repr(value))


@pytest.mark.parametrize(
    "value", [10**16, 10**400, 10**5000, "9" * 400, "9" * 5000, -(10**5000), f"{10**16} epochs"], ids=range(7)
)
@pytest.mark.parametrize("kind", [Length, Interval])
def test_huge_amounts_are_refused_in_a_short_message(kind, value):
    with pytest.raises(ValueError, match=r"^expected an? (length|interval).*got") as caught:
        kind.parse(value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("2.5 steps", "expected a whole number of steps, got 2.5 steps"),
        ("0.5", "expected a whole number of steps, got 0.5 steps"),
        ("100.5%", "expected at most 100%, got 100.5%"),
        ("300%", "expected at most 100%, got 300.0%"),
    ],
)
def test_amounts_that_a_unit_does_not_have(value, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Length.parse(value)


@pytest.mark.parametrize("amount", [-1, -0.5, math.nan, math.inf, 10**16, 10**400])
def test_impossible_amounts_are_refused_however_they_come(amount):
    for unit in ("steps", "epochs", "%"):
        with pytest.raises(ValueError, match="expected an amount from 0 to"):
            Length(amount, unit)


@pytest.mark.parametrize(("kind", "unit"), [(Length, "secs"), (Length, "weeks"), (Interval, "mins"), (Interval, "")])
def test_unknown_units_are_refused_however_they_come(kind, unit):
    with pytest.raises(ValueError, match=f"expected {kind.expected}, got 5 "):
        kind(5, unit)


@pytest.mark.parametrize(
    ("value", "steps"),
    [
        (300, 300),
        ("2 epochs", 100),
        ("0.01 epochs", 1),  # 0.5 goes up
        ("0.009 epochs", 0),
        ("0.29 epochs", 15),  # 14.5; in binary floats 0.29 × 50 is 14.499999999999998
        ("5%", 50),
        ("100%", 1000),
        ("0.05%", 1),  # 0.5
        ("0.25%", 3),  # 2.5 goes up, not to the even number
        ("0.049%", 0),
        ("0%", 0),
    ],
)
def test_steps_are_rounded_to_the_nearest_a_half_up(value, steps):
    assert Length.parse(value).steps(RUN) == steps
    assert Interval.parse(value).steps(RUN) == steps


@given(hundredths=st.integers(0, 10_000), num_steps=st.integers(0, 10**9))
def test_percentages_are_exact(hundredths, num_steps):
    expected = math.floor(Fraction(hundredths, 10_000) * num_steps + Fraction(1, 2))
    text = f"{hundredths // 100}.{hundredths % 100:02d}%"
    assert Length.parse(text).steps(RunLength(num_steps)) == expected


@given(thousandths=st.integers(0, 10**7), steps_per_epoch=st.integers(1, 10**6))
def test_epochs_are_exact(thousandths, steps_per_epoch):
    expected = math.floor(Fraction(thousandths, 1000) * steps_per_epoch + Fraction(1, 2))
    text = f"{thousandths // 1000}.{thousandths % 1000:03d} epochs"
    assert Length.parse(text).steps(RunLength(None, steps_per_epoch)) == expected


def test_a_length_needs_something_to_be_measured_against():
    with pytest.raises(ValueError, match="'2 epochs' needs data with epochs"):
        Length(2, "epochs").steps(RunLength(num_steps=10))
    with pytest.raises(ValueError, match=r"'5%' needs a run length: set train\.steps or train\.epochs"):
        Length(5, "%").steps(RunLength(steps_per_epoch=10))
    assert Length(5).steps(RunLength()) == 5


amounts = st.floats(0, 1e15)
lengths = st.one_of(
    st.builds(Interval, st.integers(0, 10**15).map(float), st.just("steps")),
    st.builds(Interval, amounts, st.sampled_from(["epochs", "secs"])),
    st.builds(Interval, st.floats(0, 100), st.just("%")),
)


@given(lengths)
def test_what_is_printed_reads_back_as_the_same(length):
    assert Interval.parse(str(length)) == length
    if length.unit != "secs":
        assert Length.parse(str(length)) == Length(length.amount, length.unit)


@given(st.one_of(st.text(max_size=12), st.from_regex(r"[0-9.eE+\-_ ]{1,9}[a-zA-Z%]{0,6}")))
def test_any_text_is_a_length_or_a_value_error(text):
    try:
        parsed = Interval.parse(text)
    except ValueError:
        with pytest.raises(ValueError, match=r"^expected .*got"):
            Interval.parse(text)
    else:
        assert parsed.amount >= 0
        assert Interval.parse(str(parsed)) == parsed


def test_a_length_is_a_value():
    assert Length.parse(Interval(300)) == Length(300)
    assert Interval.parse(Length(300)) == Interval(300)
    assert Length(300) != Interval(300), "they accept different things"
    assert len({Length(300), Length(300.0), Interval(300)}) == 2
    assert pickle.loads(pickle.dumps(Interval(10, "secs"))) == Interval(10, "secs")


def test_pydantic_reads_and_writes_lengths():
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(Interval | None)
    assert adapter.validate_python("10m") == Interval(600, "secs")
    assert adapter.dump_python(Interval(600, "secs")) == "10m"
    assert adapter.dump_json(Interval(2, "epochs")) == b'"2 epochs"'
    with pytest.raises(ValidationError, match="must not depend on a clock"):
        TypeAdapter(Length).validate_python("10m")

from __future__ import annotations

import pytest

from optrun.experiments.report.statistics.text import count_text, number_text, p_text


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0, "p < .001"),
        (0.00099, "p < .001"),
        (0.001, "p = .001"),
        (0.0044, "p = .004"),
        (0.047, "p = .047"),
        (0.33, "p = .33"),
        (0.994, "p = .99"),
        (0.9951, "p = .995"),
        (1.0, "p = 1"),
    ],
)
def test_p(p, text):
    assert p_text(p) == text


def test_p_by_name():
    assert p_text(0.02, "adjusted p") == "adjusted p = .020"


def test_numbers():
    assert [number_text(x) for x in (0.0012345, 1.0, 123.4, -0.5, 0)] == ["0.00123", "1", "123", "-0.5", "0"]
    assert [count_text(n, "seed") for n in (0, 1, 2)] == ["0 seeds", "1 seed", "2 seeds"]

"""Special functions whose values are kept: the same bits as scipy's, and known without it."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from scipy import special as scipy_special
from scipy.stats import beta, binom, nct, norm, t

from optrun.experiments.report.statistics import special

CALLS = [
    ("stdtr", (9, -2.3), t.cdf(-2.3, 9)),
    ("stdtrit", (9, 0.025), t.ppf(0.025, 9)),
    ("nctdtr", (9, 1.5, 2.0), nct.cdf(2.0, 9, 1.5)),
    ("ndtri", (0.975,), norm.ppf(0.975)),
    ("betaincinv", (3, 8, 0.025), beta.ppf(0.025, 3, 8)),
    ("bdtr", (2, 10, 0.5), binom.cdf(2, 10, 0.5)),
]


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch):
    monkeypatch.setattr(special, "_values", {})
    monkeypatch.setattr(special, "_is_keeping", False)


@pytest.mark.parametrize(("name", "args", "expected"), CALLS, ids=[call[0] for call in CALLS])
def test_they_are_scipys_and_mean_what_they_say(name, args, expected):
    value = getattr(special, name)(*args)
    assert value == float(getattr(scipy_special, name)(*args))
    assert value == pytest.approx(expected, rel=1e-9)


def test_nothing_is_kept_unless_that_is_wanted():
    special.ndtri(0.9)
    assert special.kept_values() == {}


def test_what_is_kept_is_exact_and_needs_no_scipy():
    special.keep_values()
    expected = {name: getattr(special, name)(*args).hex() for name, args, _ in CALLS}
    kept = json.dumps(special.kept_values())
    calls = [(name, args) for name, args, _ in CALLS]
    code = f"""
import json, sys
from optrun.experiments.report.statistics import special
special.know(json.loads({kept!r}))
found = {{name: getattr(special, name)(*args).hex() for name, args in {calls!r}}}
assert "scipy" not in sys.modules
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == expected


def test_infinities_and_nan_are_kept():
    special.keep_values()
    low, none = special.ndtri(0.0), special.ndtri(2.0)
    assert (low, math.isnan(none)) == (-math.inf, True)
    kept = json.loads(json.dumps(special.kept_values()))
    special.know(kept)
    assert special.ndtri(0.0) == -math.inf
    assert math.isnan(special.ndtri(2.0))


def test_what_is_no_number_is_refused_whole():
    with pytest.raises(ValueError, match="could not convert"):
        special.know({"ndtri(0.5,)": "0.0", "ndtri(0.6,)": "much"})
    assert special.kept_values() == {}

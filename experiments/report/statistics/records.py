"""The analysis as plain records, for JSON and tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .proportions import Proportion
from .student import Interval

if TYPE_CHECKING:
    from .analysis import Pair
    from .standings import Entry


def entry_record(entry: Entry) -> dict[str, Any]:
    """Return one row of the table of entries."""
    return {
        "name": entry.name,
        "n": entry.n,
        "num_diverged": entry.num_diverged,
        "mean": entry.mean,
        "sd": entry.sd,
        "interval": _interval(entry.interval),
        "median": entry.median,
        "success": _proportion(entry.success),
        "rank": [entry.rank.best, entry.rank.worst],
        "letters": entry.letters,
    }


def pair_record(pair: Pair) -> dict[str, Any]:
    """Return one row of the table of pairs; differences are a - b."""
    result, tests, verdict = pair.result, pair.adjusted, pair.verdict
    flip = result.sign_flip
    return {
        "a": pair.a,
        "b": pair.b,
        "verdict": verdict.kind,
        "winner": verdict.winner,
        "sentence": verdict.sentence,
        "seeds_needed": verdict.seeds_needed,
        "n": result.n,
        "seeds": list(result.seeds),
        "unmatched": list(result.unmatched),
        "differences": list(result.differences),
        "mean": result.mean,
        "sd": result.sd,
        "standard_error": result.standard_error,
        "interval": _interval(result.interval),
        "test": result.test,
        "p": result.p,
        "adjusted_p": tests.p,
        "adjusted_interval": _interval(tests.interval),
        "num_tests": tests.num_tests,
        "sign_flip": None if flip is None else {"p": flip.p, "adjusted_p": tests.flip_p, "method": flip.method},
        "agrees": verdict.agrees,
        "equivalence": {
            "holds": tests.equivalence.holds,
            "margin": tests.equivalence.margin,
            "adjusted_p": tests.equivalence.p,
            "interval": _interval(tests.equivalence.interval),
        },
        "p_better": _proportion(result.better),
        "num_ties": result.num_ties,
        "correlation": result.correlation,
        "welch_p": result.welch_p,
        "identical": result.identical,
        "success_a": _proportion(result.success_a),
        "success_b": _proportion(result.success_b),
        "median_a": result.median_a,
        "median_b": result.median_b,
        "limits": list(result.limits),
    }


def _interval(interval: Interval | None) -> dict[str, float | None] | None:
    if interval is None:
        return None
    return {"low": _number(interval.low), "high": _number(interval.high), "level": interval.level}


def _proportion(proportion: Proportion) -> dict[str, Any]:
    interval = proportion.interval
    return {
        "count": proportion.count,
        "n": proportion.n,
        "share": proportion.share,
        "low": interval.low,
        "high": interval.high,
        "level": interval.level,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None

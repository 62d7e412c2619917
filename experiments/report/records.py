"""The analysis as plain records, for JSON."""

from __future__ import annotations

import math
from typing import Any

from .statistics.analysis import Analysis
from .statistics.proportions import Proportion
from .statistics.standings import Standing
from .statistics.student import Interval
from .statistics.verdicts import Pair
from .words.limits import overall_limits, pair_limits
from .words.verdicts import overall_sentence, pair_sentence


def analysis_record(analysis: Analysis) -> dict[str, Any]:
    """Return everything as plain dicts, lists, numbers, texts and None, as JSON takes them."""
    return {
        "mode": analysis.mode,
        "margin": analysis.margin,
        "alpha": analysis.alpha,
        "baseline": analysis.baseline,
        "winner": analysis.winner,
        "sentence": overall_sentence(analysis),
        "entries": [_entry(entry) for entry in analysis.entries],
        "pairs": [_pair(pair) for pair in analysis.pairs],
        "other_p": list(analysis.other_p),
        "limits": overall_limits(analysis),
    }


def _entry(entry: Standing) -> dict[str, Any]:
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


def _pair(pair: Pair) -> dict[str, Any]:
    """Return one row of the table of pairs; differences are a - b."""
    result, tests, verdict = pair.result, pair.adjusted, pair.verdict
    flip = result.sign_flip
    return {
        "a": pair.a,
        "b": pair.b,
        "verdict": verdict.kind,
        "winner": verdict.winner,
        "sentence": pair_sentence(pair),
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
        "limits": pair_limits(result),
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

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

_RESULT = ("n", "seeds", "unmatched", "differences", "mean", "sd", "standard_error", "interval", "test", "p")
_BESIDE = ("num_ties", "correlation", "welch_p", "identical", "success_a", "success_b", "median_a", "median_b")


def analysis_record(analysis: Analysis) -> dict[str, Any]:
    """Return everything as plain dicts, lists, numbers, texts and None, as JSON takes them."""
    return {
        **_fields(analysis, "mode", "margin", "alpha", "baseline", "winner"),
        "sentence": overall_sentence(analysis),
        "entries": [_entry(entry) for entry in analysis.entries],
        "pairs": [_pair(pair) for pair in analysis.pairs],
        "other_p": list(analysis.other_p),
        "limits": overall_limits(analysis),
    }


def _entry(entry: Standing) -> dict[str, Any]:
    return {
        **_fields(entry, "name", "n", "num_diverged", "mean", "sd", "interval", "median", "success"),
        "rank": [entry.rank.best, entry.rank.worst],
        "letters": entry.letters,
    }


def _pair(pair: Pair) -> dict[str, Any]:
    """Return one row of the table of pairs; differences are a - b."""
    result, tests, verdict, flip = pair.result, pair.adjusted, pair.verdict, pair.result.sign_flip
    return {
        **_fields(pair, "a", "b"),
        "verdict": verdict.kind,
        "winner": verdict.winner,
        "sentence": pair_sentence(pair),
        "seeds_needed": verdict.seeds_needed,
        **_fields(result, *_RESULT),
        "adjusted_p": tests.p,
        "adjusted_interval": _plain(tests.interval),
        "num_tests": tests.num_tests,
        "sign_flip": None if flip is None else {"p": flip.p, "adjusted_p": tests.flip_p, "method": flip.method},
        "agrees": verdict.agrees,
        "equivalence": {
            **_fields(tests.equivalence, "holds", "margin"),
            "adjusted_p": tests.equivalence.p,
            "interval": _plain(tests.equivalence.interval),
        },
        "p_better": _plain(result.better),
        **_fields(result, *_BESIDE),
        "limits": pair_limits(result),
    }


def _fields(thing: Any, *names: str) -> dict[str, Any]:
    return {name: _plain(getattr(thing, name)) for name in names}


def _plain(value: Any) -> Any:
    """Return a value as JSON takes it; an end of an interval without bound is None."""
    if isinstance(value, Interval):
        low, high = (end if math.isfinite(end) else None for end in (value.low, value.high))
        return {"low": low, "high": high, "level": value.level}
    if isinstance(value, Proportion):
        return {**_fields(value, "count", "n", "share"), **_plain(value.interval)}
    return list(value) if isinstance(value, tuple) else value

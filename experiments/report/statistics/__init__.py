"""The statistics of a comparison: paired tests, corrected, with verdicts in words. It knows rows, never run folders.

numpy and scipy are imported where they are used, so that this package is cheap to import.
"""

from __future__ import annotations

from .adjusted import Adjusted, adjust
from .analysis import Analysis, Pair, compare_entries
from .censored import RestrictedMean, TimeToTarget, expected_running_time, kaplan_meier, restricted_mean
from .equivalence import Equivalence, equivalent
from .gate import Gate, parse_gate
from .gate_result import GateResult, evaluate_gate
from .multiplicity import holm, holm_levels
from .paired_result import PairedResult
from .pairing import paired
from .power import power_of, seeds_needed
from .proportions import Proportion, clopper_pearson, sign_test, wilson
from .ranking import Rank, letters, ranks
from .ratios import TimeRatio, time_ratio
from .resampling import bca_interval, expected_best_of
from .sign_flips import SignFlip, min_seeds, sign_flip, smallest_p
from .standings import Entry
from .student import Interval, Spread
from .verdicts import Verdict, verdict

__all__ = [
    "Adjusted",
    "Analysis",
    "Entry",
    "Equivalence",
    "Gate",
    "GateResult",
    "Interval",
    "Pair",
    "PairedResult",
    "Proportion",
    "Rank",
    "RestrictedMean",
    "SignFlip",
    "Spread",
    "TimeRatio",
    "TimeToTarget",
    "Verdict",
    "adjust",
    "bca_interval",
    "clopper_pearson",
    "compare_entries",
    "equivalent",
    "evaluate_gate",
    "expected_best_of",
    "expected_running_time",
    "holm",
    "holm_levels",
    "kaplan_meier",
    "letters",
    "min_seeds",
    "paired",
    "parse_gate",
    "power_of",
    "ranks",
    "restricted_mean",
    "seeds_needed",
    "sign_flip",
    "sign_test",
    "smallest_p",
    "time_ratio",
    "verdict",
    "wilson",
]

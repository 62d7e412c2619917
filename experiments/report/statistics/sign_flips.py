"""The sign-flip permutation test of paired differences, and how many seeds it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .samples import check_alpha, finite

if TYPE_CHECKING:
    import numpy

EXACT_UP_TO = 32  # pairs: two halves of 2^16 sums
NUM_DRAWS = 99_999  # beyond it; with the observed signs themselves, p is a multiple of 0.00001
_CHUNK = 4096  # draws at a time


@dataclass(frozen=True)
class SignFlip:
    """The result of the sign-flip test.

    Args:
        p: the two-sided p.
        num_draws: 0 when all 2^n sign vectors were counted, else the number of random ones.
    """

    p: float
    num_draws: int = 0

    @property
    def method(self) -> str:
        return f"{self.num_draws:,} random sign vectors" if self.num_draws else "exact"


def sign_flip(differences: Sequence[float], *, seed: int = 0) -> SignFlip:
    """Test whether differences are symmetric around 0, by giving each of them both signs.

    p = #{s in {-1, 1}^n: |Σ s_i d_i| >= |Σ d_i|} / 2^n, ties counted. Exact for up to 32 differences: the sums of each
    half are tabulated, and for each sum of one half those of the other that reach the bound are counted by bisection
    (Horowitz and Sahni, J. ACM 21, 1974). Beyond that p = (1 + count) / (1 + draws) over 99,999 seeded random sign
    vectors (Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9, 2010).

    Args:
        differences: per seed, a - b.
        seed: of the random sign vectors.

    Raises:
        UsageError: no differences, or one that is no finite number.

    Source: Fisher, "The Design of Experiments", 1935, section 21.
    """
    import numpy as np

    values = np.abs(np.asarray(finite(differences, "differences")))
    observed = abs(math.fsum(finite(differences, "differences")))
    # Sums that differ by rounding alone are ties, and ties count: p errs on the large side.
    bound = observed - 1e-9 * float(values.sum())
    if bound <= 0:
        return SignFlip(1.0)
    if len(values) <= EXACT_UP_TO:
        half = len(values) // 2
        left, right = np.sort(_all_sums(values[:half])), np.sort(_all_sums(values[half:]))
        num_above = (len(right) - np.searchsorted(right, bound - left, side="left")).sum()
        return SignFlip(2.0 * float(num_above) / 2.0 ** len(values))
    rng = np.random.default_rng(seed)
    count = 0
    for start in range(0, NUM_DRAWS, _CHUNK):
        signs = rng.integers(0, 2, size=(min(_CHUNK, NUM_DRAWS - start), len(values))) * 2 - 1
        count += int((np.abs(signs @ values) >= bound).sum())
    return SignFlip((1 + count) / (1 + NUM_DRAWS), NUM_DRAWS)


def _all_sums(values: numpy.ndarray) -> numpy.ndarray:
    import numpy as np

    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def smallest_p(n: int) -> float:
    """Return the smallest two-sided p that the sign-flip test can give for n pairs: 2 / 2^n."""
    return 1.0 if n < 1 else 2.0 ** (1 - n)


def min_seeds(alpha: float = 0.05, num_pairs: int = 1) -> int:
    """Return the fewest seeds with which the sign-flip test can reach `alpha`, also after Holm's correction.

    The first step of Holm's procedure over k pairs asks for p <= alpha / k, so n = ⌈1 + log2(k / alpha)⌉.

    Args:
        alpha: error rate.
        num_pairs: k, the number of p-values in the family.
    """
    check_alpha(alpha)
    n = 1
    while smallest_p(n) > alpha / max(1, num_pairs):
        n += 1
    return n

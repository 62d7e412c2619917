"""Memory: training is flat once it is warm, and takes no more at its peak than a loop that is written by hand."""

from __future__ import annotations

import sys

import pytest

from .memory import measure

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts the bytes of glibc's heap")

MIB = 1 << 20
WARM = 300  # steps, six evaluations and six checkpoints


@pytest.mark.sample
def test_a_thousand_steps_are_flat_and_a_leak_would_be_seen():
    """A leak of one scalar a step, the least that a hook can keep of it, is 2.5 times the bound."""
    bound = MIB / 5
    flat = measure(mode="growth", warm=WARM, steps=WARM + 1000)
    assert flat["heap"] < bound
    leaking = measure(mode="growth", warm=WARM, steps=WARM + 1000, leak=True)
    assert leaking["heap"] > flat["heap"] + 1000 * 300  # bytes of a tensor without its number


@pytest.mark.slow
def test_ten_thousand_steps_stay_within_a_mebibyte():
    """In the first thousand torch's own caches fill, in a loop that is written by hand too.

    The bytes in use are exact, and count tensors and Python's objects alike; the resident set counts pages, of which
    holes between blocks keep some, in a loop by hand as well (0.6 MiB where it was measured).
    """
    flat, leaking = (measure(mode="growth", warm=1000, steps=11_000, leak=leak) for leak in (False, True))
    assert flat["heap"] <= MIB
    assert flat["resident"] <= 2 * MIB
    assert leaking["heap"] > 3 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("width", [64, 2048])
def test_the_peak_is_that_of_a_loop_by_hand(width):
    """Both with the same imports, model (9 thousand and 4 million parameters), data, optimizer, average, and a copy of
    all this for a checkpoint.
    """
    ours, by_hand = (measure(mode=mode, steps=110, width=width)["peak"] for mode in ("peak", "peak by hand"))
    assert ours <= 1.1 * by_hand, f"{ours / MIB:.1f} and {by_hand / MIB:.1f} MiB"

"""Schedules made of phases: one cycle, warm-up with inverse square root, stable with cooldown, triangles."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Literal

from ...registry.arguments import Fraction, NonNegative, Positive
from . import Steps, register_schedule
from .spans import Problems, check_lengths, check_span, elapsed, since


def _turns(length: int, rise: float, three_phase: bool) -> list[float]:
    """Return the last step of each phase, counted from the start; all but the last may lie between steps."""
    peak = rise * length - 1
    return [peak, 2 * peak, length - 1] if three_phase else [peak, length - 1]


def _phase_changes(args: Mapping[str, Any]) -> list[int]:
    start, length = args["start"], args["end"] - args["start"]
    *turns, last = _turns(length, args["rise"], args["three_phase"])
    return [start, *(start + max(0, math.floor(turn) + 1) for turn in turns), start + int(last)]


def _check_rise(args: Mapping[str, Any]) -> Problems:
    problems = check_span(args)
    if args.get("three_phase") and args.get("rise", 0) > 0.5:
        problems.append(("rise", "with three_phase the way up and the equal way down must fit: expected at most 0.5"))
    return problems


@register_schedule(
    "one_cycle", source="Smith and Topin, 2018, arXiv:1708.07120", check=_check_rise, changes=_phase_changes
)
def one_cycle(
    step: int,
    *,
    start: Steps | None = None,
    end: Steps | None = None,
    rise: Fraction = 0.3,
    initial: NonNegative = 0.04,
    final: NonNegative = 0.000004,
    shape: Literal["cosine", "linear"] = "cosine",
    three_phase: bool = False,
) -> float:
    """Rise from `initial` to 1, then fall to `final`, each along half a cosine or a straight line.

        n = end - start,  s = step - start,  turns at s = rise n - 1 (the peak) and s = n - 1 (the last step)
        between two turns, with t the part of the way:  g = (1 - cos(π t)) / 2,  or g = t with shape linear
        value(step) = from + (to - from) * g
        three_phase: from the peak down to `initial` at s = 2 (rise n - 1), then to `final`

    For the momentum that goes the other way, give a `hyperparameter` hook a one_cycle with `initial` and `final`
    above 1.

    Args:
        step: the number of updates applied before this one.
        start: its first step; left out, it begins after the warm-up, or with its piece of a sequence.
        end: the first step after it, the last of it being at `final`; left out, the end of the run, or of its piece of
            a sequence.
        rise: the part of it that goes up (torch: pct_start).
        initial: the multiple of optimizer.lr that it begins at (torch: 1 / div_factor).
        final: the multiple of optimizer.lr that it ends at (torch: 1 / (div_factor * final_div_factor)).
        shape: of the ways up and down (torch: anneal_strategy).
        three_phase: come back to `initial` as fast as it rose before falling further.

    Source: Smith and Topin, "Super-convergence: very fast training of neural networks using large learning rates",
    2018; torch's OneCycleLR, whose max_lr is optimizer.lr.

    Example:
        >>> from optrun.experiments import make_schedule
        >>> schedule = make_schedule("one_cycle", num_steps=100)
        >>> [round(schedule(step), 4) for step in (0, 29, 99)]
        [0.04, 1.0, 0.0]
    """
    done, length = elapsed(step, start, end, "one_cycle")
    done = min(done, length - 1)
    levels = [initial, 1.0, initial, final] if three_phase else [initial, 1.0, final]
    begin = 0.0
    for index, turn in enumerate(_turns(length, rise, three_phase)):
        if done <= turn:
            part = (done - begin) / (turn - begin) if turn > begin else 1.0
            gone = part if shape == "linear" else 0.5 * (1 - math.cos(math.pi * part))
            return levels[index] + (levels[index + 1] - levels[index]) * gone
        begin = turn
    return float(final)


def _check_cooldown(args: Mapping[str, Any]) -> Problems:
    cooldown, end = args.get("cooldown"), args.get("end")
    if isinstance(cooldown, int) and isinstance(end, int) and cooldown > end:
        return [("cooldown", f"it would begin before the run, which ends at step {end}")]
    return []


@register_schedule(
    "wsd",
    source="Hu et al., 2024, arXiv:2404.06395; Hägele et al., 2024, arXiv:2405.18392",
    check=_check_cooldown,
    changes=lambda args: [args["end"] - args["cooldown"], args["end"]],
    example={"cooldown": "20%"},
)
def wsd(
    step: int,
    *,
    cooldown: Steps,
    end: Steps | None = None,
    final: Fraction = 0.0,
    shape: Literal["linear", "1-sqrt"] = "linear",
) -> float:
    """Keep the rate, and cool down at the end: the last two parts of warm-up, stable, decay.

        t = (step - (end - cooldown)) / cooldown, kept within 0 and 1;  f = t,  or f = √t with shape 1-sqrt
        value(step) = 1 - (1 - final) * f

    `warmup` beside it is the first part.

    Args:
        step: the number of updates applied before this one.
        cooldown: how long the cooldown takes.
        end: the first step at `final`; left out, the end of the run, or of its piece of a sequence.
        final: the multiple of optimizer.lr that it ends at.
        shape: of the cooldown: a straight line, or one that falls fast first.

    Source: Hu et al., "MiniCPM: unveiling the potential of small language models with scalable training strategies",
    2024; the cooldown 1-sqrt of Hägele et al., "Scaling laws and compute-optimal training beyond fixed training
    durations", 2024.

    Example:
        >>> from optrun.experiments import make_schedule
        >>> schedule = make_schedule("wsd", num_steps=100, cooldown="20%")
        >>> [round(schedule(step), 4) for step in (0, 80, 90, 100)]
        [1.0, 1.0, 0.5, 0.0]
    """
    done, length = elapsed(step, 0, end, "wsd")
    if done == length:
        return float(final)
    part = max(0, done - (length - cooldown)) / cooldown if cooldown else 0.0
    return 1 - (1 - final) * (part if shape == "linear" else math.sqrt(part))


@register_schedule(
    "inverse_sqrt",
    source="Vaswani et al., 2017, arXiv:1706.03762, section 5.3",
    check=check_lengths("peak"),
    changes=lambda args: [args["start"] + args["peak"]],
    example={"peak": "10%"},
)
def inverse_sqrt(step: int, *, peak: Steps, start: Steps | None = None) -> float:
    """Rise in a straight line, then fall like one over the square root of the time.

        s = step - start + 1
        value(step) = min(s / peak, √(peak / s))

    It has a warm-up of its own, and needs no `warmup`.

    Args:
        step: the number of updates applied before this one.
        peak: the length of the way up, whose last step runs at 1 (the paper's warmup_steps).
        start: its first step; left out, the beginning of the run, or of its piece of a sequence.

    Source: Vaswani et al., "Attention is all you need", 2017; optimizer.lr is the paper's d_model^-0.5 *
    warmup_steps^-0.5.

    Example:
        >>> from optrun.experiments import make_schedule
        >>> schedule = make_schedule("inverse_sqrt", peak=10)
        >>> [round(schedule(step), 4) for step in (4, 9, 39)]
        [0.5, 1.0, 0.5]
    """
    number = since(step, start) + 1
    return min(number / peak, math.sqrt(peak / number))


def _triangle_turns(args: Mapping[str, Any]) -> Iterator[int]:
    start, up, down = args["start"], args["up"], args["up"] if args["down"] is None else args["down"]
    return (start + cycle * (up + down) + turn for cycle in count() for turn in (0, up))


@register_schedule(
    "cyclic",
    source="Smith, 2017, arXiv:1506.01186",
    check=check_lengths("up", "down"),
    changes=_triangle_turns,
    example={"up": "20%"},
)
def cyclic(
    step: int,
    *,
    up: Steps,
    down: Steps | None = None,
    low: Fraction = 0.1,
    factor: Positive = 1.0,
    start: Steps | None = None,
) -> float:
    """Go up and down in triangles, each `factor` times as high as the one before.

        value(step) = low + (1 - low) * factor^i * h,  i = the number of whole triangles before this step
        h rises from 0 to 1 in `up` steps and falls to 0 in `down` steps

    Args:
        step: the number of updates applied before this one.
        up: the length of each way up (torch: step_size_up).
        down: the length of each way down; left out, that of the way up.
        low: the multiple of optimizer.lr at the feet of the triangles (torch: base_lr / max_lr).
        factor: 1 is torch's mode triangular, 0.5 its triangular2.
        start: where the first triangle begins; left out, after the warm-up, or with its piece of a sequence.

    Source: Smith, "Cyclical learning rates for training neural networks", 2017; torch's CyclicLR.

    Example:
        >>> from optrun.experiments import make_schedule
        >>> schedule = make_schedule("cyclic", up=10)
        >>> [round(schedule(step), 4) for step in (0, 10, 15, 20)]
        [0.1, 1.0, 0.55, 0.1]
    """
    down = up if down is None else down
    cycle, place = divmod(since(step, start), up + down)
    height = place / up if place <= up else (up + down - place) / down
    return low + (1 - low) * factor**cycle * height

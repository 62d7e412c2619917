"""Where the time of a run's steps went, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import style
from .table import aligned

_WIDEST = 36  # columns of a name


def profile_text(profile: Mapping[str, Any]) -> str:
    """Return a profile as a table: share, milliseconds a step and seconds of each part, in the order of a step.

    Args:
        profile: of `run.result["profile"]` or `session.profile()`.
    """
    title = f"{style.many(profile['steps'], 'step')} in {style.seconds(profile['secs'], 2)}"
    waits = profile["waited_secs"] is not None
    rows = [("part", "share", "ms/step", "seconds", *(["waits"] if waits else []))]
    for part in profile["parts"]:
        each = "" if part["ms_per_step"] is None else f"{part['ms_per_step']:.3f}"
        waited = [f"{part['waited_secs']:.3f}"] if waits else []
        rows.append(
            (style.shortened(part["name"], _WIDEST), f"{part['share']:.1%}", each, f"{part['secs']:.3f}", *waited)
        )
    lines = [f"  {line}" for line in aligned(rows, right=range(1, 5))]
    if waits:
        lines.append("  waits: seconds, of these, in which the host waited for the device")
    return "\n".join([f"where the time went: {title}", *lines])


def slow_hook_text(slow: Mapping[str, Any]) -> str:
    """Return a hook that took much of a run's time as a sentence, with what makes it take less.

    Args:
        slow: of `slow_hooks` in a run's result.
    """
    when = f" ({slow['when']})" if slow["when"] else ""
    way_out = f": {slow['key']} changes that" if slow["key"] else ""
    return f"hook {slow['hook']} took {slow['share']:.0%} of the time of the steps{when}{way_out}"

"""A check of resuming in words: equal or not, and the first value that differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...experiments.report.tables.table import aligned
from ..terminal.console import filled

if TYPE_CHECKING:
    from ...experiments.studies.resume.check import ResumeCheck
    from ...experiments.studies.resume.trace import Difference

_NAMES = {"model": "weights", "optimizer": "optimizer state", "rng": "random states", "rows": "metric rows"}
_STAGES = {
    "repeated": "before it was stopped",
    "restored": "as it came from the checkpoint",
    "resumed": "after it was resumed",
}


def check_lines(check: ResumeCheck) -> list[str]:
    """Return the lines that say whether a resumed run was equal, and what differed first."""
    lines = [f"{check.name}: {check.num_steps} steps in one go, and in two processes"]
    differences = {each.save_point: each for each in check.differences}
    rows = []
    for point in check.save_points:
        found = differences.get(point)
        differs = f"differs at step {found.step}: {_place(found)}" if found else "equal"
        rows.append((f"stopped after {point}", differs))
    lines += [f"  {line}" for line in aligned(rows)]
    lines += _difference(check.first) if check.first else _digests(check)
    for note in check.notes:
        lines += filled(note, "note: ", 2)
    return lines


def _digests(check: ResumeCheck) -> list[str]:
    rows = [(_NAMES.get(section, section), digest[:16]) for section, digest in check.digests.items()]
    heading = f"SHA-256 after step {check.num_steps}, the same in all runs (--json has them in full)"
    return [heading, *(f"  {line}" for line in aligned(rows))]


def _difference(first: Difference) -> list[str]:
    equal = f"equal at step {first.last_equal}" if first.last_equal is not None else "nothing before it compared"
    lines = [f"first: stopped after {first.save_point}, {_STAGES[first.stage]}, at step {first.step} ({equal})"]
    lines += filled(_place(first), "  what        ")
    lines += filled(_value(first.expected), "  in one go   ")
    lines += filled(_value(first.found), "  in parts    ")
    lines += filled(first.cause, "  often since ")
    if first.last_equal is not None and first.step - first.last_equal > 1:
        lines += filled("between the two steps anything may have come first: --every finds it", "  ")
    return lines


def _place(found: Difference) -> str:
    index = f"[{', '.join(map(str, found.index))}]" if found.index else ""
    return f"{'/'.join(part for part in (found.section, found.name) if part)}{index}"


def _value(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)

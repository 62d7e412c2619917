"""The end of a session: every hook ends, whatever the others raise, and the first error is the one that is raised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...components.hooks.hook import Hook, noting
from ...errors import DivergedError
from ...system.raised import type_and_text


def call_guarded(hooks: Mapping[str, Hook], step: int, event: str, *args: Any) -> list[BaseException]:
    """Call an event of every hook, each in its own guard; return what they raised."""
    failures: list[BaseException] = []
    for name, hook in hooks.items():
        try:
            with noting(hook, event, step, name):
                getattr(hook, event)(*args)
        except BaseException as failure:  # noqa: BLE001 (even an exit must not keep the others from ending)
            failures.append(failure)
    return failures


def note_others(first: BaseException, failures: Sequence[BaseException]) -> None:
    """Add to an error what else failed after it."""
    for failure in failures:
        if failure is not first:
            notes = "; ".join(getattr(failure, "__notes__", ()))
            first.add_note(f"and, while ending: {type_and_text(failure)}{f' ({notes})' if notes else ''}")


def outcome_of(outcome: str | None, error: BaseException | None) -> str:
    """Return how a session has ended: what was asked for, unless an error ends it."""
    if error is None:
        return outcome or "stopped"  # the caller left the loop
    if isinstance(error, DivergedError):
        return "diverged"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"

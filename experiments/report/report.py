"""A comparison or sweep with everything that is shown of it, each part worked out once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from .group import Group, Row
from .results import Results
from .rows import comparison_rows, final_metrics, run_rows
from .sensitivity import sensitivity_rows
from .words.headline import Said, say, say_nothing, say_sweep
from .words.protocol import protocol_sentences


class Report:
    """One comparison or sweep, as pages, files, figures and terminals show it.

    Args:
        comparison: a `Group`, its folder, or an object that has the folder as `path`.
        labels: call entries by their labels, as people read them, instead of their names.

    Raises:
        NothingMatchedError: no comparison there.
        DataError: it is damaged, or of a version that this program does not know.
    """

    def __init__(self, comparison: Any, labels: bool = True):
        own = comparison if isinstance(comparison, Group) else Group(comparison)
        self.group = own.labelled() if labels else own
        self.named = self if self.group is own else Report(own, labels=False)  # by names: for programs, and for gates

    @cached_property
    def results(self) -> Results | None:
        """Return the analysis of a comparison; None for a sweep, and where every entry is lost.

        Raises:
            NothingMatchedError: an entry has no finished run yet; the message names it.
        """
        group = self.group
        if group.kind != "compare" or (group.names and all(group.lost(name) for name in group.names)):
            return None
        return Results(group)

    @cached_property
    def said(self) -> Said:
        """Return the sentence, and what limits it."""
        if self.group.kind == "sweep":
            return say_sweep(self.group)
        return say_nothing(self.group) if self.results is None else say(self.results)

    @cached_property
    def protocol(self) -> list[str]:
        """Return what was done, as sentences."""
        return protocol_sentences(self.group, self.results)

    @cached_property
    def entries(self) -> list[Row]:
        """Return one row for each entry of a comparison, best first; none for a sweep."""
        return [] if self.results is None else comparison_rows(self.results)

    @cached_property
    def trials(self) -> list[Row]:
        """Return one row for each value that was tried while tuning."""
        return sensitivity_rows(self.group)

    @cached_property
    def metrics(self) -> list[str]:
        """Return the names of the final values that the runs have."""
        return final_metrics(self.group)

    @cached_property
    def runs(self) -> list[Row]:
        """Return one row for each run, tuning included."""
        return run_rows(self.group.records, self.metrics)

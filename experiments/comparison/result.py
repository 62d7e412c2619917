"""A comparison that is on disk, for notebooks and reports."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ..errors import UsageError
from ..report.export import as_dict
from ..report.report import Report
from ..report.results import Results
from ..report.tables.comparison_tables import cost_table, result_table, sensitivity_table
from ..run_directory.run import Run
from ..system.frames import data_frame
from ..system.html_text import html_table, paragraph


class Comparison:
    """The result of a comparison or a sweep, read from its folder.

    Args:
        path: the group's folder.

    Raises:
        NothingMatchedError: there is none.
    """

    def __init__(self, path: str | Path):
        self._report = Report(path)
        self._named = self._report.named
        self.group = self._named.group
        self.path = self.group.path

    @property
    def name(self) -> str:
        return self.group.name

    @property
    def data(self) -> dict[str, Any]:
        """Return comparison.json as it is."""
        return self.group.data

    @property
    def entries(self) -> list[str]:
        return list(self.group.names)

    @cached_property
    def results(self) -> Results:
        """Return the statistics: verdicts, ranks, times to target."""
        return Results(self.group) if self._named.results is None else self._named.results

    @property
    def analysis(self) -> Any:
        """Return the pairwise verdicts, with every p that is printed in one Holm family."""
        return self.results.analysis

    @property
    def sentence(self) -> str:
        """Return the one sentence that a person can repeat."""
        return str(self._report.said)

    def values(self, metric: str | None = None) -> dict[str, dict[int, float | None]]:
        """Return each entry's final values by seed; None for a diverged run."""
        return self.group.values(metric or self.group.metric)

    def runs(self, entry: str, role: str = "evaluate") -> list[Run]:
        """Return the finished runs of an entry."""
        return [record.run for record in self.group.finished(entry, role) if record.run is not None]

    def to_pandas(self, table: Literal["entries", "trials", "runs"] = "runs") -> Any:
        """Return one of the tables as a data frame, raw numbers with the names of the entries.

        Args:
            table: `entries` (none in a sweep), `trials` of tuning or of a sweep, or `runs`, tuning included.

        Raises:
            UsageError: there is no such table, or pandas is not installed.
        """
        if table not in ("entries", "trials", "runs"):
            raise UsageError(f"no table {table!r}: there are entries, trials and runs")
        return data_frame(getattr(self._named, table))

    def failed(self) -> list[str]:
        """Return what went wrong, one line for each failed run."""
        return [f"{record.path}: {record.message}" for record in self.group.records if record.state == "failed"]

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON-able data, schema optrun/comparison-result@1."""
        return as_dict(self._report)

    def _repr_html_(self) -> str:
        report = self._report
        if self.group.kind == "sweep":
            tables = [sensitivity_table(report)]
        else:
            tables = [result_table(report), cost_table(report)] if report.entries else []
        found = [
            html_table(
                table.cells(),
                [column.title for column in table.columns],
                right=[index for index, column in enumerate(table.columns) if column.right],
                caption=table.title,
            )
            for table in tables
        ]
        return "".join([paragraph(self.sentence), *found])

    def __repr__(self) -> str:
        return f"Comparison({str(self.path)!r})\n{self.sentence}"

"""Many runs at once, as they go: a board with a row for each entry where a person watches, lines where a file does."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...experiments.report.style import duration
from ...experiments.system.visible import one_line
from ..terminal.charts import bar, sparkline
from ..terminal.console import say, say_error, say_warning
from ..terminal.live import Silence, live_display, with_bars
from ..terminal.screen import width
from ..terminal.streams import is_utf8

if TYPE_CHECKING:
    from rich.console import RenderableType

_FIRST_SILENCE_SECS, _LONGEST_SILENCE_SECS = 5.0, 60.0
_BAR, _CURVE = 10, 8
_WIDEST_NAME = 20


@dataclass
class EntryState:
    """State of one entry in the current phase.

    Args:
        name: of the entry.
        total: runs in the phase.
        done: of them.
        running: the share that is done of each run in progress, by its number.
        waiting: who makes each run that is waited for, by its number.
        failed: runs of all phases that failed.
        diverged: runs of all phases that diverged.
        unmeasured: runs of all phases that ended without a value of what they are judged by.
        shown: the run in progress whose losses are shown; those of several at once would be no curve.
        loss: its latest.
        losses: from its beginning.
        scores: of the phase's finished runs.
    """

    name: str
    total: int = 0
    done: int = 0
    running: dict[int, float] = field(default_factory=dict)
    waiting: dict[int, str] = field(default_factory=dict)
    failed: int = 0
    diverged: int = 0
    unmeasured: int = 0
    shown: int | None = None
    loss: float | None = None
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=200))
    scores: list[float] = field(default_factory=list)

    @property
    def work(self) -> float:
        """Return the runs that are done, those in progress in parts."""
        return self.done + sum(self.running.values())


class Progress:
    """Base of the board and the lines: how far every entry is. It draws nothing, and so is right for `--quiet`.

    A failed run is told at once, whoever listens.
    """

    def __init__(self) -> None:
        self.entries: dict[str, EntryState] = {}
        self.phase = ""
        self.total = self.done = self.cached = 0
        self._protocol: Mapping[str, Any] = {}
        self._phase_began, self._work_before = time.monotonic(), 0.0

    def handle(self, event: Mapping[str, Any]) -> None:
        """Take in one event of a comparison."""
        getattr(self, f"_on_{event['kind']}")(event)

    def close(self) -> None:
        """Take away what is drawn."""

    def eta(self, entry: EntryState) -> float | None:
        """Return the seconds until an entry has done its runs of this phase, at the pace so far."""
        work, left = entry.work, entry.total - entry.work
        secs = time.monotonic() - self._phase_began
        if left <= 0:
            return 0.0
        return left * secs / work if work > 0 and secs > 0 else None

    def _on_question(self, event: Mapping[str, Any]) -> None:
        """Draw nothing yet."""

    def _on_plan(self, event: Mapping[str, Any]) -> None:
        plan = event["plan"]
        self._protocol, self.total = plan["protocol"], plan["runs"]
        self.entries = {entry["name"]: EntryState(entry["name"]) for entry in plan["entries"]}

    def _on_phase(self, event: Mapping[str, Any]) -> None:
        self.phase, self._phase_began = event["phase"], time.monotonic()
        if self.phase in ("extend", "verify"):
            self.total += event["total"]
        for entry in self.entries.values():
            entry.total, entry.done, entry.scores = event["entries"].get(entry.name, 0), 0, []
            if self.phase == "evaluate" and not entry.total:  # nothing is known of any value that was tried
                self.total -= len(self._protocol["seeds"])
            entry.running.clear()
            entry.waiting.clear()
            entry.shown = None

    def _on_progress(self, event: Mapping[str, Any]) -> None:
        entry, run = self.entries[event["entry"]], event["run"]
        entry.waiting.pop(run, None)
        entry.running[run] = event["step"] / event["num_steps"] if event["num_steps"] else 0.0
        if entry.shown is None:
            entry.shown = run
            entry.losses.clear()
        if run == entry.shown and event["loss"] is not None:
            entry.loss = event["loss"]
            entry.losses.append(event["loss"])

    def _on_waiting(self, event: Mapping[str, Any]) -> None:
        self.entries[event["entry"]].waiting[event["run"]] = event["holder"]

    def _on_retried(self, event: Mapping[str, Any]) -> None:
        self.entries[event["entry"]].running.pop(event["run"], None)
        say_warning(f"{run_text(event)}: its worker process died ({event['message']}); once more, in a new one")

    def _on_finished(self, event: Mapping[str, Any]) -> None:
        entry = self.entries[event["entry"]]
        entry.running.pop(event["run"], None)
        entry.waiting.pop(event["run"], None)
        entry.shown = None if entry.shown == event["run"] else entry.shown
        entry.done += 1
        entry.total = max(entry.total, entry.done)
        entry.failed += event["state"] == "failed"
        entry.diverged += event["state"] == "diverged"
        entry.unmeasured += event["result"] == "unmeasured"
        if event["value"] is not None:
            entry.scores.append(event["value"])
        self.done += 1
        self.cached += bool(event["cached"])
        if event["state"] == "failed":
            why = event["message"].partition("\n")[0]
            say_error(f"{run_text(event)} failed: {why}")


class LineProgress(Progress):
    """A line for each run that ends, and one after a silence."""

    def __init__(self) -> None:
        super().__init__()
        self._silence = Silence(_FIRST_SILENCE_SECS, _LONGEST_SILENCE_SECS)

    def _on_phase(self, event: Mapping[str, Any]) -> None:
        super()._on_phase(event)
        if event["total"] > event["todo"]:
            here = event["total"] - event["todo"]
            say(f"{self.phase}: {here} of {event['total']} runs were done before")

    def _on_progress(self, event: Mapping[str, Any]) -> None:
        super()._on_progress(event)
        if not self._silence.is_over():
            return
        steps = f"step={event['step']}" + (f"/{event['num_steps']}" if event["num_steps"] else "")
        loss = "" if event["loss"] is None else f" loss={event['loss']:.4g}"
        self._say(f"{run_text(event)} {steps}{loss}")

    def _on_waiting(self, event: Mapping[str, Any]) -> None:
        is_new = event["run"] not in self.entries[event["entry"]].waiting
        super()._on_waiting(event)
        if is_new or self._silence.is_over():
            self._say(f"{run_text(event)} waits for {event['holder']}, which makes this run")

    def _on_finished(self, event: Mapping[str, Any]) -> None:
        super()._on_finished(event)
        if event["cached"] or event["state"] == "failed":
            return
        outcome = event["state"]
        if event["value"] is not None:
            outcome = f"{self._protocol['select']}={event['value']:.4g}"
        if event["result"] == "unmeasured":
            outcome += f", {event['metric']} unmeasured"
        secs = f" {event['secs']:.1f}s" if event.get("secs") is not None else ""
        self._say(f"{run_text(event)} {outcome}{secs}")

    def _say(self, text: str) -> None:
        self._silence.broken()
        say(f"[{self.done}/{self.total}] {text}")


class Board(Progress):
    """A table that is drawn anew in place, ten times a second at most."""

    def __init__(self) -> None:
        super().__init__()
        self._display, self._unicode = live_display(sys.stderr), is_utf8(sys.stderr)

    def handle(self, event: Mapping[str, Any]) -> None:
        super().handle(event)
        is_last = event["kind"] == "finished" and self.done >= self.total  # a notebook keeps that drawing
        if event["kind"] == "phase" or (self.phase and (is_last or self._display.is_due())):
            self._display.draw(self.table(width(sys.stderr) - 1))

    def close(self) -> None:
        self._display.clear()

    def table(self, room: int) -> RenderableType:
        """Return the board, as much of it as fits into `room` columns: curves go first, then the losses."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        rows = [self._cells(entry) for entry in self.entries.values()]
        kept = list(range(6))
        for dropped in (4, 3, 5):
            if _width(rows, kept) > room:
                kept.remove(dropped)
        board = Table.grid(padding=(0, 2, 0, 0))
        for index in kept:
            board.add_column(no_wrap=True, overflow="crop", justify="right" if index in (3, 5) else "left")
        for row in rows:
            board.add_row(*(with_bars(row[index]) if index == 1 else Text(one_line(row[index])) for index in kept))
        return Group(board, Text(f"{self.done}/{self.total} runs", style="dim"))

    def _cells(self, entry: EntryState) -> list[str]:
        name = entry.name if len(entry.name) <= _WIDEST_NAME else f"{entry.name[: _WIDEST_NAME - 1]}…"
        share = entry.work / entry.total if entry.total else 0.0
        counts = {"diverged": entry.diverged, "failed": entry.failed, "unmeasured": entry.unmeasured}
        lost = "".join(f", {number} {what}" for what, number in counts.items() if number)
        curve = list(entry.losses) if len(entry.losses) > 1 else entry.scores
        return [
            name,
            f"{self.phase:<8} {bar(share, _BAR, self._unicode)}",
            f"{entry.done}/{entry.total}{lost}",
            f"loss {entry.loss:.3f}" if entry.loss is not None else "",
            sparkline(curve, _CURVE, self._unicode),
            _expectation(entry, self.eta(entry)),
        ]


def _expectation(entry: EntryState, eta: float | None) -> str:
    """Return what an entry waits for, or when it will be done."""
    if not entry.total:
        return "no runs in this phase"
    if entry.done >= entry.total:
        return "done"
    if entry.waiting and not entry.running:
        return f"waits for {next(iter(entry.waiting.values()))}"
    return f"eta {duration(eta)}" if eta is not None else ""


def run_text(event: Mapping[str, Any]) -> str:
    """Name a run of a comparison: `mom tune lr=0.1 seed=1000`."""
    settings = [f"{key.rpartition('.')[2]}={_plain(value)}" for key, value in (event.get("settings") or {}).items()]
    return " ".join([event["entry"], event["role"], *settings, f"seed={event['seed']}"])


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _width(rows: list[list[str]], kept: list[int]) -> int:
    return sum(max((len(row[index]) for row in rows), default=0) + 2 for index in kept)

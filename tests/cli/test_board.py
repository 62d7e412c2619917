"""The board and the lines of a comparison in progress, from the events that it tells."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from optrun.cli.watching import board
from optrun.cli.watching.board import Board, LineProgress, Progress

PROTOCOL = {"seeds": [0, 1, 2, 3], "tune_trials": 3, "tune_seeds": [1000, 1001], "select": "val/accuracy"}


def plan(*names: str) -> dict[str, Any]:
    entries = [{"name": name, "target": name} for name in names]
    return {"kind": "plan", "plan": {"entries": entries, "runs": 10 * len(names), "cached": 0, "protocol": PROTOCOL}}


def phase(name: str, total: int, todo: int | None = None, of: tuple[str, ...] = ("sgd", "adam")) -> dict[str, Any]:
    todo = total if todo is None else todo
    return {
        "kind": "phase",
        "phase": name,
        "total": total,
        "todo": todo,
        "entries": dict.fromkeys(of, total // len(of)),
    }


def progress(run: int, entry: str, step: int, loss: float | None = 0.5, num_steps: int | None = 100) -> dict[str, Any]:
    where = {"run": run, "entry": entry, "seed": 0, "role": "evaluate"}
    return {"kind": "progress", **where, "step": step, "num_steps": num_steps, "loss": loss}


def finished(run: int, entry: str, state: str = "done", value: float | None = 0.9, **more: Any) -> dict[str, Any]:
    where = {"run": run, "entry": entry, "seed": 3, "role": "evaluate", "settings": {"optimizer.lr": 0.1}}
    told = {"state": state, "value": value, "result": state, "metric": "test/accuracy", "cached": False, "message": ""}
    return {"kind": "finished", **where, **told, **more}


def drawn(shown: Board, width: int = 79) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as capture:
        console.print(shown.table(width))
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the clock, to be set."""
    now = [0.0]
    monkeypatch.setattr(board.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def shown(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> Board:
    """Return a board that draws on nothing, with two entries in their evaluation."""
    made = Board()
    nowhere = dict.fromkeys(("draw", "clear", "is_due"), lambda *_: None)
    monkeypatch.setattr(made, "_display", type("Nowhere", (), nowhere)())
    made._unicode = True
    for event in (plan("sgd", "adam"), phase("evaluate", 8)):
        made.handle(event)
    return made


def test_a_row_for_each_entry_says_how_far_it_is(shown, clock):
    clock[0] = 10.0
    for event in (
        finished(0, "sgd", value=0.8),
        progress(1, "adam", 10, 2.0),
        progress(1, "adam", 20, 1.0),
        progress(1, "adam", 50, 0.25),
        finished(2, "sgd", value=0.9),
    ):
        shown.handle(event)
    sgd, adam, total = drawn(shown)
    assert sgd == "sgd   evaluate ━━━━━─────  2/4              ▁█   eta 0:10"
    assert adam == "adam  evaluate ━─────────  0/4  loss 0.250  █▄▁  eta 1:10"
    assert total == "2/20 runs"


def test_losses_of_one_run_make_the_curve(shown):
    for event in (progress(1, "sgd", 1, 3.0), progress(2, "sgd", 1, 9.0), progress(1, "sgd", 2, 2.0)):
        shown.handle(event)
    assert list(shown.entries["sgd"].losses) == [3.0, 2.0]
    shown.handle(finished(1, "sgd"))
    shown.handle(progress(2, "sgd", 2, 8.0))
    assert list(shown.entries["sgd"].losses) == [8.0]


def test_failed_and_diverged_runs_are_counted_and_failures_told(shown, capsys):
    shown.handle(finished(0, "sgd", "diverged", None))
    shown.handle(finished(1, "sgd", "failed", None, message="ValueError: no\nmore of it"))
    assert "2/4, 1 diverged, 1 failed" in drawn(shown)[0]
    assert capsys.readouterr().err == "error: sgd evaluate lr=0.1 seed=3 failed: ValueError: no\n"


def test_what_is_done_is_done(shown):
    for run in range(4):
        shown.handle(finished(run, "sgd"))
    assert drawn(shown)[0].endswith("done")


def test_the_last_run_is_drawn_though_the_drawing_before_is_new(shown, monkeypatch):
    tables: list[Any] = []
    monkeypatch.setattr(shown._display, "draw", tables.append)  # and never is a drawing due
    shown.total = 2
    shown.handle(finished(0, "sgd"))
    assert not tables
    shown.handle(finished(1, "adam"))
    assert len(tables) == 1


def test_a_run_without_a_known_length_has_no_share(shown):
    shown.handle(progress(1, "sgd", 50, None, None))
    assert shown.entries["sgd"].work == 0.0


@pytest.mark.parametrize("width", [39, 50, 60, 79])
@pytest.mark.parametrize("name", ["a", "an-entry-with-a-name-that-is-much-too-long-for-a-board"])
def test_the_board_is_never_wider_than_there_is_room(clock, shown, width, name):
    shown.handle(plan(name, "b"))
    shown.handle(phase("evaluate", 8, of=(name, "b")))
    clock[0] = 3.0
    for step in range(1, 60):
        shown.handle(progress(1, name, step, 1000.0 / step))
    shown.handle(finished(2, name, "failed", None))
    lines = drawn(shown, width)
    assert len(lines) == 3
    assert max(map(len, lines)) <= width
    assert "1/4" in lines[0]


def test_without_unicode_the_board_is_ascii(shown):
    shown._unicode = False
    shown.handle(progress(1, "sgd", 10, 3.0))
    shown.handle(progress(1, "sgd", 20, 2.0))
    assert "".join(drawn(shown)).isascii()


def test_an_extension_adds_to_the_runs(shown):
    shown.handle(phase("extend", 4))
    assert shown.total == 24
    assert shown.entries["adam"].total == 2


def test_a_line_for_each_run_that_ends(clock, capsys):
    lines = LineProgress()
    for event in (
        plan("sgd"),
        phase("evaluate", 4, todo=3, of=("sgd",)),
        finished(0, "sgd", cached=True),
        finished(1, "sgd", value=0.97214, secs=1.234),
        finished(2, "sgd", "diverged", None),
    ):
        lines.handle(event)
    assert capsys.readouterr().err.splitlines() == [
        "evaluate: 1 of 4 runs were done before",
        "[2/10] sgd evaluate lr=0.1 seed=3 val/accuracy=0.9721 1.2s",
        "[3/10] sgd evaluate lr=0.1 seed=3 diverged",
    ]


def test_a_silence_is_broken_ever_later(clock, capsys):
    lines = LineProgress()
    lines.handle(plan("sgd"))
    lines.handle(phase("evaluate", 4, of=("sgd",)))
    said = []
    for second in range(1, 200):
        clock[0] = float(second)
        lines.handle(progress(1, "sgd", second, 0.5, 1000))
        if (line := capsys.readouterr().err) != "":
            said.append(second)
            assert line == f"[0/10] sgd evaluate seed=0 step={second}/1000 loss=0.5\n"
    assert said == [5, 15, 35, 75, 135, 195]


def test_quiet_still_tells_of_failures(capsys):
    silent = Progress()
    for event in (
        plan("sgd"),
        phase("evaluate", 1, of=("sgd",)),
        finished(0, "sgd"),
        finished(1, "sgd", "failed", None),
    ):
        silent.handle(event)
    assert capsys.readouterr().err.startswith("error: sgd evaluate lr=0.1 seed=3 failed")

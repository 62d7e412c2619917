"""The progress line and lines; and that only a terminal ever sees a control code."""

from __future__ import annotations

import io
import math
import time

import pytest
from rich.text import Text

from optrun.cli.terminal import console, screen
from optrun.cli.terminal.charts import bar, sparkline
from optrun.cli.terminal.live import LiveDisplay, Silence
from optrun.cli.watching.progress import LineProgressHook, LiveProgressHook
from optrun.experiments.report.style import duration, large, many

VALUES = {"loss": 0.04217, "lr": 0.021, "examples": 9000, "skipped": 0}


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError("no number")


def live_hook(num_steps: int | None = 460) -> LiveProgressHook:
    hook = LiveProgressHook("mom-0001", num_steps, 23, "val/accuracy")
    hook._first, hook._value, hook._unicode = (time.monotonic() - 3, 0, 0), 0.97222, True
    hook._losses.extend([3.0, 2.0, 1.0])
    return hook


def test_at_80_columns_everything_that_matters_is_there():
    text = live_hook().text(322, VALUES, 79)
    assert len(text) <= 79
    for part in ("epoch 14/20", "70%", "loss 0.042", "val acc 0.972", "lr 0.021", "ex/s", "eta", "━"):
        assert part in text


@pytest.mark.parametrize("width", [1, 10, 19, 30, 49, 79, 99])
def test_the_line_never_is_wider_than_there_is_room(width):
    for num_steps in (460, 461, None):
        assert len(live_hook(num_steps).text(322, VALUES | {"skipped": 3}, width)) <= width


def test_a_narrow_line_keeps_place_and_time_left():
    text = live_hook().text(322, VALUES, 40)
    assert "epoch 14/20" in text
    assert "eta" in text
    assert "ex/s" not in text


def test_a_run_without_whole_epochs_counts_steps():
    assert live_hook(461).text(322, VALUES, 79).startswith("step 322 ")


def test_without_unicode_the_line_is_ascii():
    hook = live_hook()
    hook._unicode = False
    assert hook.text(322, VALUES, 99).isascii()


def test_lines_come_at_each_tenth(capsys):
    hook = LineProgressHook("mom-0001", 100, 10, "val/accuracy")
    hook._silence = Silence(math.inf, math.inf)
    asked = [step + 1 for step in range(100) if hook.next_look(step) == step + 1]
    assert asked == list(range(10, 101, 10))


def test_a_silence_is_broken_ever_later(monkeypatch):
    clock = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    monkeypatch.setattr("optrun.cli.watching.progress.say", lambda line: None)
    hook = LineProgressHook("mom-0001", None, None, "val/loss")
    hook._first = (0.0, 0, 0)
    said = []
    for second in range(120):
        clock = float(second)
        ctx = type("Ctx", (), {"step": second})
        if hook.next_look(second) == second + 1:
            hook.after_run(ctx, VALUES)
            said.append(second)
    assert said == [2, 6, 14, 30, 60, 90]


@pytest.mark.parametrize(
    ("variables", "live"),
    [({}, True), ({"CI": "true"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1"}, True)],
)
def test_live_is_for_a_terminal_that_a_person_watches(monkeypatch, variables, live):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr", Terminal())
    assert screen.is_live() is live


@pytest.mark.parametrize("name", ["FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE"])
def test_no_variable_makes_a_pipe_a_terminal(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert not screen.is_live()
    assert not screen.has_color(io.StringIO())


def test_colours_are_for_terminals_and_no_color_is_heard(monkeypatch):
    assert screen.has_color(Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not screen.has_color(Terminal())


def test_talk_goes_above_the_live_line(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "20")
    display = LiveDisplay(terminal)
    display.draw(Text("x" * 50, no_wrap=True, overflow="crop"))
    console.say("warning")
    display.draw("y")
    display.clear()
    erase = "\r\x1b[2K"
    assert terminal.getvalue() == f"{'x' * 19}{erase}warning\ny{erase}"


def test_a_board_of_several_lines_is_drawn_in_place(monkeypatch):
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", "20")
    display = LiveDisplay(terminal)
    display.draw("one\ntwo")
    display.draw("three\nfour")
    up_and_erase = "\r\x1b[2K\x1b[1A\x1b[2K"
    assert terminal.getvalue() == f"one\ntwo{up_and_erase}three\nfour"
    assert "\x1b[?25l" not in terminal.getvalue(), "the cursor is never hidden"


def test_sparklines_leave_out_what_is_not_finite():
    assert sparkline([0.0, math.nan, None, 1.0, math.inf, 0.5]) == "▁█▅"
    assert sparkline([1.0]) == ""
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert len(sparkline(list(range(1000)), 20)) == 20
    assert sparkline([0, 1], unicode=False).isascii()


def test_numbers_as_people_write_them():
    assert (bar(0.5, 4), bar(2, 3, unicode=False)) == ("━━──", "###")
    assert (duration(42), duration(3723)) == ("0:42", "1:02:03")
    assert (large(93100, 1_000, 3), large(7, 1_000, 3)) == ("93.1k", "7")
    assert (many(1, "epoch"), many(8, "epoch"), many(34000, "step")) == ("1 epoch", "8 epochs", "34,000 steps")

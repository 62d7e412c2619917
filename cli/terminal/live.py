"""Displays of work in progress: drawn in place where a person watches, lines of talk elsewhere."""

from __future__ import annotations

import importlib
import sys
import time
from typing import IO, TYPE_CHECKING, Any

from ...experiments.system.html_text import escaped
from ...experiments.system.visible import one_line
from .screen import columns, has_color

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

LIVE_SECS = 0.1  # between two drawings
NOTEBOOK_COLUMNS = 100

_current: LiveDisplay | None = None  # what is on the screen, if anything


class Silence:
    """The time since the last line: more may be said after a while, which doubles each time.

    Args:
        first_secs: the first while.
        longest_secs: the longest one.
    """

    def __init__(self, first_secs: float, longest_secs: float):
        self._patience, self._longest = first_secs, longest_secs
        self.broken()

    def broken(self) -> None:
        """Begin anew: a line was said."""
        self._began = time.monotonic()

    def is_over(self) -> bool:
        """Return True if it lasted long enough; the next one then lasts twice as long."""
        if time.monotonic() - self._began < self._patience:
            return False
        self._patience = min(2 * self._patience, self._longest)
        return True


class LiveDisplay:
    """Draws over what it drew before.

    rich's own Live hides the cursor, and a process that is killed, or ended at once by a second Ctrl-C, would leave it
    hidden; this one never does, and refreshes when it is told to, without a thread.

    Args:
        stream: the terminal.
    """

    def __init__(self, stream: IO[str]):
        from rich.console import Console
        from rich.live_render import LiveRender

        color = has_color(stream)
        self._console = Console(
            file=stream,
            force_terminal=True,
            force_interactive=True,
            no_color=not color,
            color_system="auto" if color else None,
            width=max(1, columns(stream) - 1),  # the last column wraps on some terminals
            highlight=False,
            legacy_windows=False,
        )
        self._blank = lambda: LiveRender("", vertical_overflow="crop")
        self._drawn = self._blank()
        self._drawn_at = -LIVE_SECS

    def is_due(self) -> bool:
        """Return True if the last drawing is old enough to be replaced."""
        return time.monotonic() - self._drawn_at >= LIVE_SECS

    def draw(self, renderable: RenderableType) -> None:
        """Show a text, table or group of them in place of what was shown."""
        global _current
        _current, self._drawn_at = self, time.monotonic()
        self._console.control(self._drawn.position_cursor())
        self._drawn.set_renderable(renderable)
        self._console.print(self._drawn, end="")

    def clear(self) -> None:
        """Take it away; the next line of talk takes its place."""
        global _current
        _current = None
        self._console.control(self._drawn.position_cursor())
        self._drawn = self._blank()


class NotebookDisplay(LiveDisplay):
    """Draws in place in the output of a notebook's cell, as text.

    Args:
        stream: for the width alone.
    """

    def __init__(self, stream: IO[str]):
        from io import StringIO

        from rich.console import Console

        self._console = Console(file=StringIO(), width=NOTEBOOK_COLUMNS, color_system=None, highlight=False)
        self._drawn_at = -LIVE_SECS
        self._handle: Any = None

    def draw(self, renderable: RenderableType) -> None:
        self._drawn_at = time.monotonic()
        with self._console.capture() as drawn:
            self._console.print(renderable)
        self._show(drawn.get().rstrip())

    def clear(self) -> None:
        if self._handle is not None:
            self._show("")

    def _show(self, text: str) -> None:
        show: Any = importlib.import_module("IPython.display").display
        content = {
            "text/plain": text,
            "text/html": f'<pre style="margin:0;font-family:monospace">{escaped(text)}</pre>',
        }
        if self._handle is None:
            self._handle = show(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


def in_notebook() -> bool:
    """Return True in a kernel of Jupyter, which shows HTML; IPython is not imported to find that out."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def live_display(stream: IO[str]) -> LiveDisplay:
    """Return what draws in place: in a notebook's cell, or else on a terminal."""
    return NotebookDisplay(stream) if in_notebook() else LiveDisplay(stream)


def clear_current() -> None:
    """Make room for a line of talk."""
    if _current is not None:
        _current.clear()


def with_bars(text: str) -> Text:
    """Return a line with the bars in it coloured, to be cut where the screen ends."""
    from rich.text import Text

    line = Text(one_line(text), no_wrap=True, overflow="crop")
    line.highlight_regex("━+|#+", "cyan")
    line.highlight_regex("─+", "dim")
    return line

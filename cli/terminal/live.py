"""A live display at the end of a terminal: one line or a board, laid out and drawn by rich, in place."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from .console import columns, has_color

if TYPE_CHECKING:
    from rich.console import RenderableType

_current: LiveDisplay | None = None  # what is on the screen, if anything


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

    def draw(self, renderable: RenderableType) -> None:
        """Show a text, table or group of them in place of what was shown."""
        global _current
        _current = self
        self._console.control(self._drawn.position_cursor())
        self._drawn.set_renderable(renderable)
        self._console.print(self._drawn, end="")

    def clear(self) -> None:
        """Take it away; the next line of talk takes its place."""
        global _current
        _current = None
        self._console.control(self._drawn.position_cursor())
        self._drawn = self._blank()


def clear_current() -> None:
    """Make room for a line of talk."""
    if _current is not None:
        _current.clear()

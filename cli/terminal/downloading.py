"""The progress of downloads on stderr: a bar that moves on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ...experiments.report.style import large
from ...experiments.system.visible import one_line
from .charts import bar
from .console import say
from .live import LiveDisplay, Silence
from .screen import is_live
from .streams import is_utf8

if TYPE_CHECKING:
    from ...experiments.system.public_files import PublicFile

_SILENCE_SECS = 5.0
_BAR = 24  # characters


class DownloadProgress:
    """Shows what `experiments.downloads` reports."""

    def __init__(self) -> None:
        self._display: LiveDisplay | None = None
        self._silence, self._file = Silence(_SILENCE_SECS, _SILENCE_SECS), ""

    def __call__(self, file: PublicFile, received: int) -> None:
        """Show that so many bytes of a file are there; calls that come too soon after the last are passed over."""
        live, is_done = is_live(), received == file.size
        if file.name != self._file:
            self._file = file.name
            say(f"downloading {file.name} ({size_text(file.size)}) from {file.urls[0]}")
        elif not is_done and not self._is_due(live):
            return
        text = f"{received / file.size:.0%}  {size_text(received)} of {size_text(file.size)}"
        if not live:
            say(f"  {text}")
            self._silence.broken()
        elif not is_done:
            self._draw(f"  {bar(received / file.size, _BAR, is_utf8(sys.stderr))} {text}")
        elif self._display is not None:
            self._display.clear()
            self._display = None

    def _is_due(self, live: bool) -> bool:
        return (self._display is None or self._display.is_due()) if live else self._silence.is_over()

    def _draw(self, text: str) -> None:
        from rich.text import Text

        self._display = self._display or LiveDisplay(sys.stderr)
        self._display.draw(Text(one_line(text), no_wrap=True, overflow="crop"))


def size_text(size: int | None) -> str:
    """Write a number of bytes: `170MB`."""
    return "" if size is None else f"{large(size, 1_000, 3)}B"

"""Figures fit for a paper, as PNG (300 dpi) and SVG (text as text): the same files from the same runs, bit for bit."""

from __future__ import annotations

import importlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from ...system import storage
from ...system.visible import visible
from .. import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.3, 6.9  # widths of one column and of a page, in inches
SUFFIXES = (".png", ".svg")
_DPI = 300
_SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that a figure is the same on every machine
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.titlesize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.edgecolor": style.QUIET,
    "axes.labelcolor": style.INK,
    "text.color": style.INK,
    "xtick.color": style.QUIET,
    "ytick.color": style.QUIET,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e7ea",
    "grid.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "svg.fonttype": "none",
    "svg.hashsalt": "optrun",
    "axes.unicode_minus": True,
    "text.parse_math": False,  # names are shown as they are, dollar signs included
}


def check_suffix(path: str | Path) -> None:
    """Refuse a file that is no figure.

    Raises:
        UsageError: it ends neither in .png nor in .svg.
    """
    if Path(path).suffix not in SUFFIXES:
        raise UsageError(f"{path}: a figure ends in {' or '.join(SUFFIXES)}")


def save(draw: Callable[[Figure], None], path: str | Path, *, width: float, height: float) -> Path:
    """Draw a figure and write it, whole or not at all; the same drawing gives the same bytes.

    Args:
        draw: puts axes on the figure.
        path: ends in .png or .svg.
        width, height: inches.

    Raises:
        UsageError: another suffix.
        StorageError: it cannot be written.
    """
    check_suffix(path)
    path = Path(path)
    storage.write_derived(path, render(draw, path.suffix[1:], width=width, height=height))
    return path


def prepare_matplotlib() -> None:
    """Import matplotlib, of which figures use no backend of the user's.

    Raises:
        UsageError: it refuses the one that MPLBACKEND or a `matplotlibrc` names.
    """
    try:
        importlib.import_module("matplotlib")
    except ValueError as error:
        what = str(error).partition(";")[0]
        named = f"MPLBACKEND={backend}: " if (backend := os.environ.get("MPLBACKEND")) else ""
        raise UsageError(f"{named}matplotlib cannot start: {what}. Figures here need no backend: unset it") from error


def render(draw: Callable[[Figure], None], kind: str, *, width: float, height: float) -> bytes:
    """Return the bytes of a figure as `png` or `svg`."""
    prepare_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with house_style():
        figure = Figure(figsize=(width, height), layout="constrained", dpi=_DPI)
        canvas = FigureCanvasSVG(figure) if kind == "svg" else FigureCanvasAgg(figure)
        draw(figure)
        _make_visible(figure)
        out = io.BytesIO()
        metadata = {"Date": None, "Creator": "optrun"} if kind == "svg" else {"Software": "optrun"}
        canvas.print_figure(out, format=kind, dpi=_DPI, metadata=metadata)
    return out.getvalue()


def _make_visible(figure: Figure) -> None:
    """Write the control characters of names out: XML holds none, and nobody sees them in a picture."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if isinstance(text, Text) and (shown := visible(text.get_text())) != text.get_text():
            text.set_text(shown)


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the style of all figures within a `with` block, whatever the user's own settings are."""
    import matplotlib as mpl

    settings: Any = {key: value for key, value in mpl.rcParamsDefault.items() if not key.startswith("backend")}
    with mpl.rc_context(settings | _SETTINGS):
        yield

"""Tracks over a surface: level lines and the tracks of optimizers, as one picture or a strip of moments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UsageError
from .. import style
from .figure_file import SUFFIXES, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ANIMATION = ".gif"
WIDTH, HEIGHT = 5.6, 3.6  # inches
_PANEL = 1.76  # inches, of a strip
MARKERS = "os^Dvp<>hPX"
_TICKS = 8  # marks along a track, at equal numbers of steps: where they are far apart, the optimizer is fast
_FAR = 20.0  # half widths of the picture from its centre: nothing is drawn farther out
LEGEND_STYLE: dict[str, Any] = {"frameon": False, "handlelength": 2.4, "borderaxespad": 0.2, "columnspacing": 1.2}


@dataclass(frozen=True)
class Track:
    """One optimizer's trajectory, as it is drawn.

    Args:
        label: its name.
        points: shape (steps + 1, 2), the start first.
        diverged: whether it ended because its values had grown without bound.
    """

    label: str
    points: np.ndarray
    diverged: bool = False


@dataclass(frozen=True)
class Scene:
    """A surface and the tracks over it.

    Args:
        x, y: the grid, shape (columns,) and (rows,); its ends are those of the picture.
        z: the surface, shape (rows, columns).
        minima: lowest points.
        tracks: at most as many as can be told apart.
        title: above the picture.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    minima: Sequence[tuple[float, float]]
    tracks: Sequence[Track]
    title: str = ""

    @property
    def steps(self) -> int:
        """The number of steps of the longest track."""
        return max(len(track.points) - 1 for track in self.tracks)

    def holds(self, point: np.ndarray) -> bool:
        """Return True if a point is in the picture."""
        return bool(self.x[0] <= point[0] <= self.x[-1] and self.y[0] <= point[1] <= self.y[-1])

    def name(self, track: Track) -> str:
        """Return a track's label, with what became of it where the picture cannot show it."""
        if track.diverged:
            return f"{track.label} (diverged)"
        return track.label if self.holds(track.points[-1]) else f"{track.label} (out of view)"


def check_output(path: str) -> str:
    """Return what a path asks for: `picture`, `animation` or `frames`, a folder of them.

    Raises:
        UsageError: another suffix.
    """
    suffix = Path(path).suffix
    if path.endswith("/") or not suffix:
        return "frames"
    if suffix not in (*SUFFIXES, ANIMATION):
        raise UsageError(
            f"{path}: a picture ends in {' or '.join(SUFFIXES)}, an animation in {ANIMATION}; a folder in /"
        )
    return "animation" if suffix == ANIMATION else "picture"


def surface_figure(scene: Scene, path: str | Path, frames: int | None = None) -> Path:
    """Draw the whole tracks, or a strip of so many moments, from the start to the end.

    Args:
        scene: what to draw.
        path: ends in .png or .svg.
        frames: moments side by side; None for the whole tracks in one picture.
    """
    if frames is None:
        return save(lambda figure: _one(figure, scene), path, width=WIDTH, height=HEIGHT)
    columns = min(frames, 4)
    rows = -(-frames // columns)
    size = {"width": columns * _PANEL, "height": rows * _PANEL + 0.45}
    return save(lambda figure: _strip(figure, scene, rows, columns, frames), path, **size)


def moments(steps: int, frames: int) -> list[int]:
    """Return so many steps, evenly from 0 to the last one."""
    return [round(number * steps / max(1, frames - 1)) for number in range(frames)]


# ---- drawing ---------------------------------------------------------------------------------------------------------


def _one(figure: Figure, scene: Scene) -> None:
    axes = figure.subplots()
    draw_ground(axes, scene)
    lines = [line for index, track in enumerate(scene.tracks) for line in _draw_track(axes, scene, track, index)]
    axes.set_title(scene.title, loc="left")
    figure.legend(handles=[*lines, *legend_signs(scene)], loc="outside right upper", **LEGEND_STYLE)


def _strip(figure: Figure, scene: Scene, rows: int, columns: int, frames: int) -> None:
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    lines: list[Any] = []
    for number, step in enumerate(moments(scene.steps, frames + 1)[1:]):
        axes = grid[number // columns][number % columns]
        draw_ground(axes, scene)
        axes.set_title(f"step {step}", loc="left")
        lines = []
        for index, track in enumerate(scene.tracks):
            lines += _draw_track(
                axes, scene, Track(track.label, track.points[: step + 1], track.diverged), index, ticks=False
            )
    for number in range(frames, rows * columns):
        grid[number // columns][number % columns].set_axis_off()
    handles = [*lines, *legend_signs(scene)]
    lines_of_legend = -(-len(handles) // (2 * columns))
    per_line = -(-len(handles) // lines_of_legend)
    figure.legend(handles=handles, loc="outside lower center", ncols=per_line, **LEGEND_STYLE)


def draw_ground(axes: Axes, scene: Scene, line: float = 0.35) -> None:
    """Draw the surface in pale tones, with level lines, the start and the minima."""
    from matplotlib.colors import LinearSegmentedColormap

    heights, levels = _heights(scene.z)
    tones = LinearSegmentedColormap.from_list("ground", ["#ffffff", "#eef1f4", "#c9d1da"])
    bands = axes.contourf(scene.x, scene.y, heights, levels=levels, cmap=tones, extend="both")
    bands.set(edgecolor="#a3adb8", linewidth=line)  # half the size of a file with lines drawn apart
    axes.grid(False)
    axes.set_xlim(scene.x[0], scene.x[-1])
    axes.set_ylim(scene.y[0], scene.y[-1])
    minima = [point for point in scene.minima if scene.holds(np.asarray(point))]
    if minima:
        axes.plot(*np.asarray(minima).T, "*", color=style.INK, markersize=9, markeredgecolor="white", zorder=6)
    axes.plot(*scene.tracks[0].points[0], "o", color="white", markeredgecolor=style.INK, markersize=5, zorder=4)


def _heights(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return heights whose level lines tell valley from wall, and the levels.

    Where most of the surface is low and little of it very high, heights are logarithms; the lines are those of the
    surface all the same.
    """
    above = z - z.min()
    finite = above[np.isfinite(above)]
    scale = float(np.quantile(finite, 0.01)) or float(finite.max()) or 1.0
    steep = finite.max() > 50 * np.median(finite)
    heights = np.log1p(above / scale) if steep else above
    heights = np.where(np.isfinite(heights), heights, np.nan)
    return heights, np.linspace(0.0, np.nanmax(heights), 15)


def _draw_track(axes: Axes, scene: Scene, track: Track, index: int, ticks: bool = True) -> list[Any]:
    """Draw a track with marks at equal numbers of steps, and a larger one where it ends; return the line."""
    points = drawn_points(track, scene)
    look, marker = look_of(index), MARKERS[index % len(MARKERS)]
    every = max(1, scene.steps // _TICKS)
    places = list(range(every * (index + 1) // (len(scene.tracks) + 1), len(points), every)) if ticks else []
    (line,) = axes.plot(
        *points.T, marker=marker, markersize=3.2, markevery=places, markeredgewidth=0, label=scene.name(track), **look
    )
    if scene.holds(points[-1]):
        axes.plot(*points[-1], marker, markersize=5.5, color=look["color"], markeredgecolor="white", zorder=5)
    elif (exit_point := _exit(points, scene)) is not None:
        axes.plot(*exit_point, "x", markersize=5, color=look["color"], markeredgewidth=1.4, clip_on=False, zorder=5)
    return [line]


def look_of(index: int) -> dict[str, Any]:
    pattern = ("", "5 2", "1.5 1.5", "6 2 1.5 2")[index % 4]  # lines that lie on one another are told apart by dashes
    dash = (0, tuple(map(float, pattern.split()))) if pattern else "-"
    return {"color": style.LIGHT[index % len(style.LIGHT)], "linestyle": dash, "linewidth": 1.3}


def legend_signs(scene: Scene) -> list[Any]:
    """Return the entries of the legend for the start and the minima."""
    from matplotlib.lines import Line2D

    none: dict[str, Any] = {"linestyle": "none", "markersize": 5}
    signs = [Line2D([], [], marker="o", color="white", markeredgecolor=style.INK, label="start", **none)]
    if any(scene.holds(np.asarray(point)) for point in scene.minima):
        signs.append(Line2D([], [], marker="*", color=style.INK, label="minimum", **{**none, "markersize": 8}))
    return signs


def drawn_points(track: Track, scene: Scene) -> np.ndarray:
    """Return the points to be drawn: a diverged track ends where it leaves the picture; none is drawn far off."""
    low, high = np.array([scene.x[0], scene.y[0]]), np.array([scene.x[-1], scene.y[-1]])
    centre, half = (low + high) / 2, (high - low) / 2
    gone = np.flatnonzero((np.abs(track.points - centre) > half * (1.0 if track.diverged else _FAR)).any(axis=1))
    if not len(gone) or gone[0] == 0:
        return np.clip(track.points, centre - _FAR * half, centre + _FAR * half)
    points = track.points[: gone[0] + 1].copy()
    move = points[-1] - points[-2]
    points[-1] = points[-2] + move * min(1.0, float((_FAR * half / np.maximum(np.abs(move), 1e-12)).min()))
    return points


def _exit(points: np.ndarray, scene: Scene) -> np.ndarray | None:
    """Return where a track that ends outside leaves the picture for the last time; None if it never was inside."""
    inside = [index for index, point in enumerate(points) if scene.holds(point)]
    if not inside:
        return None
    start, end = points[inside[-1]], points[inside[-1] + 1]
    low, high = np.array([scene.x[0], scene.y[0]]), np.array([scene.x[-1], scene.y[-1]])
    move = end - start
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(move > 0, (high - start) / move, np.where(move < 0, (low - start) / move, np.inf))
    return start + float(shares.min()) * move

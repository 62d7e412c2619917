"""Ways over a surface, moving: frames in a folder, or an animated GIF."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...system import storage
from .figure_file import house_style, prepare_matplotlib
from .surfaces import (
    HEIGHT,
    LEGEND_STYLE,
    MARKERS,
    WIDTH,
    Scene,
    Track,
    draw_ground,
    drawn_points,
    legend_signs,
    look_of,
    moments,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SCREEN_DPI = 110
_FRAME_SECS, _LAST_SECS = 0.08, 2.0


def frame_files(scene: Scene, folder: str | Path, frames: int = 24) -> list[Path]:
    """Write the frames of an animation as `frame-000.png`, … into a folder, which is made."""
    storage.make_dir(Path(folder), exist_ok=True)
    files = []
    for number, image in enumerate(_images(scene, frames)):
        files.append(Path(folder) / f"frame-{number:03d}.png")
        storage.write_derived(files[-1], _encoded(image, "PNG"))
    return files


def animation(scene: Scene, path: str | Path, frames: int = 60) -> Path:
    """Write an animated GIF that begins anew when it has ended."""
    images = list(_images(scene, frames))
    colors = [look_of(index)["color"] for index in range(len(scene.tracks))]
    palette = _palette(images[-1], ["#ffffff", *colors])
    first, *rest = [image.quantize(palette=palette, dither=0) for image in images]
    secs = [_FRAME_SECS] * (len(images) - 1) + [_LAST_SECS]
    options = {"save_all": True, "append_images": rest, "duration": [int(1000 * s) for s in secs], "loop": 0}
    storage.write_derived(path, _encoded(first, "GIF", **options))
    return Path(path)


def _images(scene: Scene, frames: int) -> Iterator[Any]:
    """Yield the frames as images; the surface is drawn once, and the tracks anew on a copy of it."""
    prepare_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    with house_style():
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained", dpi=_SCREEN_DPI)
        canvas = FigureCanvasAgg(figure)
        axes = figure.subplots()
        draw_ground(axes, scene, line=0.15)
        axes.set_title(scene.title, loc="left")
        title = axes.set_title("", loc="right")
        show = [_mover(axes, scene, track, index) for index, track in enumerate(scene.tracks)]
        figure.legend(
            handles=[*(line for line, _ in show), *legend_signs(scene)], loc="outside right upper", **LEGEND_STYLE
        )
        title.set_animated(True)
        canvas.draw()
        ground = canvas.copy_from_bbox(figure.bbox)
        for step in moments(scene.steps, frames):
            canvas.restore_region(ground)
            title.set_text(f"step {step}")
            axes.draw_artist(title)
            for _, move in show:
                move(step)
            yield Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _mover(axes: Axes, scene: Scene, track: Track, index: int) -> tuple[Any, Callable[[int], None]]:
    """Return a line for the legend, and a function that draws the track up to a step."""
    from matplotlib.lines import Line2D

    points, look, marker = drawn_points(track, scene), look_of(index), MARKERS[index % len(MARKERS)]
    (line,) = axes.plot([], [], animated=True, **look)
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.6}
    (head,) = axes.plot([], [], marker, markersize=7, color=look["color"], animated=True, zorder=5, **edge)

    def move(step: int) -> None:
        line.set_data(*points[: step + 1].T)
        head.set_data(*points[min(step, len(points) - 1)][:, None])
        axes.draw_artist(line)
        axes.draw_artist(head)

    return Line2D([], [], marker=marker, markersize=5, label=scene.name(track), **look), move


def _palette(image: Any, colors: Sequence[str]) -> Any:
    """Return 128 colours for a GIF: those of an image, and among them the given ones, which fill few of its pixels."""
    from PIL import Image

    height = 1 + image.height // 16
    sample = Image.new("RGB", (image.width, image.height + height * len(colors)))
    sample.paste(image)
    for index, color in enumerate(colors):
        sample.paste(color, (0, image.height + index * height, image.width, image.height + (index + 1) * height))
    return sample.quantize(128)


def _encoded(image: Any, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, optimize=True, **options)
    return out.getvalue()

"""Pictures of tracks over a surface: what is in them, what is at their edge, the same bytes from the same scene."""

from __future__ import annotations

import itertools
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from optrun.experiments.errors import UsageError
from optrun.experiments.report.figures import surfaces
from optrun.experiments.report.figures.animations import animation, frame_files
from optrun.experiments.report.figures.surfaces import Scene, Track, check_output, moments, surface_figure


def scene(*tracks: Track, steep: bool = False) -> Scene:
    x, y = np.linspace(-1, 1, 30), np.linspace(-2, 2, 40)
    z = x**2 + y[:, None] ** 2
    tracks = tracks or (Track("one", np.array([[0.9, 1.9], [0.5, 1.0], [0.1, 0.2]])),)
    return Scene(x, y, np.expm1(6 * z) if steep else z, [(0.0, 0.0)], tracks, "bowl")


def straight(label: str, end: tuple[float, float], steps: int = 10, diverged: bool = False) -> Track:
    return Track(label, np.linspace((0.5, 1.0), end, steps + 1), diverged)


def images_of(path: Path) -> list[np.ndarray]:
    from PIL import Image, ImageSequence

    with Image.open(path) as file:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(file)]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".gif"])
def test_the_same_scene_gives_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    draw = animation if suffix == ".gif" else surface_figure
    one, two = (draw(scene(), tmp_path / f"{name}{suffix}", frames=3).read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_picture_names_every_way_and_what_became_of_it(tmp_path: Path) -> None:
    tracks = [straight("a", (0.1, 0.1)), straight("b", (9.0, 9.0), diverged=True), straight("c", (1.5, 0.0))]
    text = surface_figure(scene(*tracks), tmp_path / "x.svg").read_text()
    names = re.findall(r">([^<>]+)</text>", text)
    assert names[-5:] == ["a", "b (diverged)", "c (out of view)", "start", "minimum"]
    assert "bowl" in names


def test_every_way_has_a_colour_or_a_dash_and_a_mark_of_its_own() -> None:
    looks = [surfaces.look_of(index) for index in range(11)]
    assert len({(look["color"], str(look["linestyle"])) for look in looks}) == 11
    assert len(set(surfaces.MARKERS)) == len(surfaces.MARKERS) == 11


def test_a_diverged_way_ends_at_the_first_step_outside() -> None:
    points = np.array([[0.5, 1.0], [0.9, 1.0], [-3.0, 1.0], [0.0, 1e30]])
    drawn = surfaces.drawn_points(Track("a", points, diverged=True), scene())
    assert drawn.tolist() == points[:3].tolist()
    assert surfaces._exit(drawn, scene()) == pytest.approx([-1.0, 1.0])


def test_a_way_may_leave_and_come_back_but_is_never_drawn_far_away() -> None:
    points = np.array([[0.5, 1.0], [-3.0, 1.0], [0.0, 0.5], [1e30, 0.5], [0.0, 0.0]])
    drawn = surfaces.drawn_points(Track("a", points), scene())
    assert drawn[:3].tolist() == points[:3].tolist()
    assert drawn[3:].tolist() == [[20.0, 0.5]]
    assert np.abs(surfaces.drawn_points(Track("a", np.full((2, 2), 1e30)), scene())).max() <= 40.0


@pytest.mark.parametrize(
    ("end", "edge"), [((2.5, 1.0), (1.0, 1.0)), ((0.5, -3.0), (0.5, -2.0)), ((1.5, 3.0), (1.0, 2.0))]
)
def test_the_place_where_a_way_leaves_is_on_the_edge(end: tuple[float, float], edge: tuple[float, float]) -> None:
    assert surfaces._exit(np.array([[0.5, 1.0], end]), scene()) == pytest.approx(edge)


def test_level_lines_are_those_of_the_surface_on_either_scale() -> None:
    flat, steep = scene().z, scene(steep=True).z
    for z, is_log in ((flat, False), (steep, True)):
        heights, levels = surfaces._heights(z)
        assert np.diff(heights.ravel()[z.argsort(axis=None)]).min() > -1e-9, "what is higher stays higher"
        assert (heights.max() < 0.1 * z.max()) == is_log
        assert len(levels) == 15
        assert levels[-1] == heights.max()


def test_a_surface_that_overflows_is_drawn_where_it_is_finite(tmp_path: Path) -> None:
    broken = scene()
    broken.z[0, :5] = np.inf
    assert surface_figure(broken, tmp_path / "x.svg").read_text().startswith("<?xml")


def test_moments_are_even_and_include_both_ends() -> None:
    assert moments(120, 5) == [0, 30, 60, 90, 120]
    assert moments(10, 4) == [0, 3, 7, 10]


def test_a_strip_shows_so_many_moments_and_no_two_legends(tmp_path: Path) -> None:
    text = surface_figure(scene(straight("a", (0.1, 0.1), 12)), tmp_path / "x.svg", frames=3).read_text()
    names = re.findall(r">([^<>]+)</text>", text)
    assert [name for name in names if name.startswith("step")] == ["step 4", "step 8", "step 12"]
    assert names.count("a") == 1


def test_frames_begin_at_the_start_and_end_at_the_end(tmp_path: Path) -> None:
    files = frame_files(scene(straight("a", (-0.9, -1.9))), tmp_path / "new" / "frames", frames=4)
    assert [file.name for file in files] == [f"frame-00{number}.png" for number in range(4)]
    first, *_, last = [images_of(file)[0].astype(int) for file in files]
    blue = [np.argwhere(abs(image - [0, 0x72, 0xB2]).sum(axis=2) < 12) for image in (first, last)]
    picture = [places[places[:, 1] < 0.75 * first.shape[1]] for places in blue]  # without the legend
    assert len(picture[1]) > 2 * len(picture[0]), "the way has grown"
    assert picture[1][:, 1].min() < picture[0][:, 1].min() - 100, "to the left"
    assert picture[1][:, 0].max() > picture[0][:, 0].max() + 100, "and down"


def test_an_animation_has_its_frames_and_a_pause(tmp_path: Path) -> None:
    path = animation(scene(straight("a", (-0.9, -1.9))), tmp_path / "x.gif", frames=5)
    frames = images_of(path)
    assert len(frames) == 5
    assert all(not np.array_equal(one, two) for one, two in itertools.pairwise(frames))
    from PIL import Image

    with Image.open(path) as file:
        assert file.info["loop"] == 0
        durations = []
        for number in range(file.n_frames):
            file.seek(number)
            durations.append(file.info["duration"])
    assert durations == [80, 80, 80, 80, 2000]


def test_png_has_300_dots_per_inch(tmp_path: Path) -> None:
    data = surface_figure(scene(), tmp_path / "x.png").read_bytes()
    assert struct.unpack(">II", data[16:24]) == (1680, 1080)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("x.png", "picture"), ("a/x.svg", "picture"), ("x.gif", "animation"), ("x/", "frames"), ("frames", "frames")],
)
def test_a_path_says_what_is_wanted(path: str, kind: str) -> None:
    assert check_output(path) == kind


def test_another_suffix_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"x\.mp4: a picture ends in \.png or \.svg, an animation in \.gif; a folder in /"
    ):
        check_output("x.mp4")


def test_drawing_needs_no_torch() -> None:
    code = "import sys; from optrun.experiments.report.figures import animations; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"

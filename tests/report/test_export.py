"""Files by suffix: every format, every number at full precision, hostile names harmless."""

from __future__ import annotations

import csv
import json
import struct
import xml.etree.ElementTree as ET

import pytest

from optrun.experiments.errors import NothingMatchedError, UsageError
from optrun.experiments.report.export import SUFFIXES, export
from optrun.experiments.report.figures.curves_figure import curves_figure
from optrun.experiments.report.figures.figure_file import COLUMN, PAGE
from optrun.experiments.report.group import Group, unique_labels
from optrun.experiments.report.learning_curves import group_bands, run_bands
from optrun.experiments.report.results import Results
from optrun.experiments.report.rows import comparison_rows
from optrun.experiments.run_directory.run import Run

from .conftest import write_run

HOSTILE = '</script><img src=x onerror=alert(1)> & "$x$" | `y`'
A, B = [0.90, 0.92, 0.91, 0.93, 0.90], [0.951, 0.962, 0.9663, 0.974, 0.955]
SVG = "{http://www.w3.org/2000/svg}"


def png_size(path):
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


def read_embedded(page):
    """Return the data that a page was made with."""
    start = page.index(">", page.index('<script type="application/json" id="data">')) + 1
    return json.loads(page[start : page.index("</script>", start)])


def test_every_suffix_is_written_and_twice_the_same(write_group, tmp_path):
    folder = write_group({"a": A, "b": B}, tuned=True)
    for suffix in SUFFIXES:
        first = export(folder, tmp_path / f"one{suffix}").read_bytes()
        assert first == export(Group(folder), tmp_path / f"two{suffix}").read_bytes(), suffix
        assert first


def test_an_unknown_suffix_and_folder_are_refused(write_group, tmp_path):
    folder = write_group({"a": A, "b": B})
    with pytest.raises(UsageError, match=r"\.md, \.csv, \.json"):
        export(folder, tmp_path / "out.pdf")
    with pytest.raises(UsageError, match="no folder"):
        export(folder, tmp_path / "none" / "out.md")


def test_json_has_every_number_in_full(write_group, tmp_path):
    folder = write_group({"a": A, "b": B}, tuned=True)
    data = json.loads(export(folder, tmp_path / "out.json").read_text())
    results = Results(Group(folder))
    assert data["schema"] == "optrun/comparison-result@1"
    assert data["entries"] == json.loads(json.dumps(comparison_rows(results)))
    assert data["analysis"]["pairs"][0]["mean"] == results.analysis.pairs[0].result.mean
    assert len(data["runs"]) == 22
    assert data["times_to_target"]["a"]["median"] == 3.0


def test_the_page_has_the_numbers_of_the_json(write_group, tmp_path):
    folder = write_group({"a": A, "b": B}, tuned=True)
    page = export(folder, tmp_path / "out.html").read_text()
    data = json.loads(export(folder, tmp_path / "out.json").read_text())
    embedded = read_embedded(page)
    (row,) = embedded["paired"]["rows"]
    entry = next(item for item in data["entries"] if item["difference"] is not None)
    assert (row["mean"], row["low"], row["high"]) == tuple(
        entry[key] for key in ("difference", "difference_low", "difference_high")
    )
    assert f'data-value="{entry["mean"]!r}"' in page
    for run in data["runs"]:
        if run["test/accuracy"] is not None:
            assert f'data-value="{run["test/accuracy"]!r}"' in page
    curve = embedded["curves"]["lines"]["val/accuracy"][0]
    assert curve["median"][-1] == sorted(A)[2]


def test_csv_has_every_run(write_group, tmp_path):
    path = export(write_group({"a": A, "b": [None, *B[1:]]}), tmp_path / "out.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["outcome"] for row in rows].count("diverged") == 1
    assert [float(row["test/accuracy"]) for row in rows[:5]] == A


def test_hostile_names_do_no_harm(write_group, tmp_path):
    folder = write_group({HOSTILE: A, "b": B}, tuned=True)
    page = export(folder, tmp_path / "out.html").read_text()
    assert "<img" not in page
    assert page.count("</script>") == 2
    assert read_embedded(page)["entries"][0] == HOSTILE
    markdown = export(folder, tmp_path / "out.md").read_text()
    assert "<img" not in markdown
    rows = [line.replace(r"\|", "") for line in markdown.splitlines() if line[:1] == "|"]
    assert {row.count("|") for row in rows} == {10, 8, 9}  # of the three tables; no name adds a column
    tree = ET.parse(export(folder, tmp_path / "out.svg"))
    assert HOSTILE in {text.text for text in tree.iter(f"{SVG}text")}


def test_a_sweep_is_exported_too(write_group, tmp_path):
    folder = write_group({"mom": [0.9]}, tuned=True, kind="sweep")
    for suffix in SUFFIXES:
        assert export(folder, tmp_path / f"sweep{suffix}").stat().st_size > 0
    data = json.loads((tmp_path / "sweep.json").read_text())
    assert data["entries"][0]["chosen"] == 0.1
    assert data["analysis"] is None


def test_figures_have_the_width_of_a_column_or_a_page(write_group, tmp_path):
    group = Group(write_group({"a": A, "b": B}, tuned=True))
    metric, bands = group_bands(group)
    curves = curves_figure(list(bands.values()), tmp_path / "curves.png", metric=metric, width=COLUMN)
    assert png_size(curves)[0] == round(COLUMN * 300)
    assert png_size(export(group, tmp_path / "all.png"))[0] == round(PAGE * 300)


def test_svg_keeps_text_as_text_of_at_least_7_points(write_group, tmp_path):
    group = Group(write_group({"a": A, "b": [None, *B[1:]]}, tuned=True))
    metric, bands = group_bands(group, "val/loss")
    tree = ET.parse(
        curves_figure(list(bands.values()), tmp_path / "curves.svg", metric=metric, x="gradient_evaluations")
    )
    texts = [text for text in tree.iter(f"{SVG}text") if text.text and text.text.strip() != "●"]
    assert {"gradient evaluations", "val/loss", "b (1 of 5 diverged)"} <= {text.text for text in texts}
    sizes = [float(text.get("style", "").split("px")[0].split()[-1]) for text in texts]
    assert min(sizes) >= 7
    assert tree.getroot().find(f".//{SVG}image") is None


def test_figures_leave_the_settings_of_matplotlib_alone(write_group, tmp_path):
    import matplotlib as mpl

    mpl.rcParams["font.size"] = 13.0
    before = dict(mpl.rcParams)
    try:
        export(write_group({"a": A, "b": B}), tmp_path / "out.png")
        assert dict(mpl.rcParams) == before
    finally:
        mpl.rcParams["font.size"] = mpl.rcParamsDefault["font.size"]


def test_nothing_tuned_has_no_sensitivity(write_group, tmp_path):
    tree = ET.parse(export(write_group({"a": A, "b": B}), tmp_path / "out.svg"))
    texts = {text.text for text in tree.iter(f"{SVG}text")}
    assert {"epoch", "rank"} <= texts
    assert "optimizer.lr" not in texts


@pytest.fixture
def runs(tmp_path):
    return [Run(write_run(tmp_path / group / "mom-0001", curve=[0.5, 0.6, 0.7])) for group in ("x", "y")]


def test_runs_are_plotted(runs, tmp_path):
    metric, bands = run_bands(runs, "loss")
    path = curves_figure(list(bands.values()), tmp_path / "runs.svg", metric=metric, x="secs", log=True, smooth=0.5)
    texts = {text.text for text in ET.parse(path).iter(f"{SVG}text")}
    assert {"loss", "seconds", "x/mom-0001", "y/mom-0001"} <= texts
    assert unique_labels(runs) == ["x/mom-0001", "y/mom-0001"]


def test_wrong_plots_are_refused(runs):
    with pytest.raises(NothingMatchedError, match="val/accuracy"):
        run_bands(runs, "val/acuracy")
    metric, bands = run_bands(runs)
    with pytest.raises(UsageError, match=r"\.png or \.svg"):
        curves_figure(bands, "out.bmp", metric=metric)

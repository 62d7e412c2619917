"""Runs and comparisons as notebooks show them, as data frames, and as they go."""

from __future__ import annotations

import html.parser
import json
import sys
import time
import types
from pathlib import Path

import pytest

from optrun.experiments import Comparison, Hook, Run, train
from optrun.experiments.errors import UsageError
from optrun.experiments.report.report import Report
from optrun.experiments.report.tables.comparison_tables import result_table
from optrun.experiments.system.html_text import html_table, paragraph

OLD = Path(__file__).parents[1] / "fixtures" / "version_0_1" / "runs"
COMPARED = OLD / "compare-iris-rprop-ff95bf"
TINY = {
    "data": {"name": "iris", "batch_size": 32},
    "model": "logistic",
    "loss": "cross_entropy",
    "optimizer": {"name": "sgd", "lr": 0.1},
    "train": {"epochs": 2},
}
HOSTILE = "<script>alert(1)</script>\x1b[2J\"'&"


class Slow(Hook):
    """Take so long for a step that there is time to draw."""

    def __init__(self):
        self.steps = 0

    def after_run(self, ctx, values):
        self.steps += 1
        time.sleep(0.06)


class Cells(html.parser.HTMLParser):
    """Read the cells of tables back, and note every tag."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.cells = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data):
        if self.tags and self.tags[-1] in ("td", "th"):
            self.cells[-1] += data


def test_a_table_is_read_back_as_it_was_and_holds_no_markup_of_others():
    read = Cells(html_table([("a", HOSTILE)], ("head", "<b>"), right=[1], caption=HOSTILE) + paragraph(HOSTILE))
    assert set(read.tags) == {"table", "caption", "thead", "tbody", "tr", "th", "td", "p"}
    assert read.cells[:3] == ["head", "<b>", "a"]
    assert read.cells[3].startswith("<script>")
    assert "\x1b" not in read.cells[3]


def test_a_comparison_shows_the_tables_of_the_terminal():
    shown = Comparison(COMPARED)._repr_html_()
    cells = [cell for row in result_table(Report(COMPARED)).cells() for cell in row]
    assert Cells(shown).cells[len(result_table(Report(COMPARED)).columns) :][: len(cells)] == cells
    assert "http" not in shown  # whole in itself
    assert not {"script", "style", "link", "img"} & set(Cells(shown).tags)


def test_a_sweep_shows_what_it_tried():
    (sweep,) = OLD.glob("sweep-*")
    cells = Cells(Comparison(sweep)._repr_html_()).cells
    tried = [
        trial["value"]
        for trial in json.loads((sweep / "comparison.json").read_text())["entries"][0]["tuning"]["trials"]
    ]
    assert all(f"{value:g}" in cells for value in tried)


def test_a_run_shows_its_metrics(tmp_path):
    run = train(TINY, name="mine")
    cells = Cells(run._repr_html_()).cells
    assert cells[cells.index("val/loss") + 1] == f"{run.metrics['val/loss'].last:.4g}"
    assert cells[cells.index("test/loss") + 1] == f"{run.summary['final']['test/loss']:.4g}"
    status = json.loads((run.path / "status.json").read_text())
    (run.path / "status.json").write_text(json.dumps({**status, "message": HOSTILE}))
    assert "<script" not in Run(run.path)._repr_html_()


def test_data_frames_hold_the_rows():
    pytest.importorskip("pandas")
    run = Run(OLD / "finished")
    frame = run.metrics.to_pandas()
    assert len(frame) == len(run.rows)
    assert list(frame.columns[:5]) == ["step", "batch", "examples", "epoch", "time"]
    curve = run.metrics["val/loss"]
    assert frame["val/loss"].dropna().tolist() == curve.values.tolist()
    found = Comparison(COMPARED)
    runs = found.to_pandas()
    assert len(runs) == len(found.data["runs"])
    means = found.to_pandas("entries").set_index("entry")["mean"]
    assert means.to_dict() == {entry.name: entry.mean for entry in found.analysis.entries}
    assert len(found.to_pandas("trials")) == sum(len(e["tuning"]["trials"]) for e in found.data["entries"])
    with pytest.raises(UsageError, match="no table 'rows': there are entries, trials and runs"):
        found.to_pandas("rows")


def test_without_pandas_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"pip install 'optrun\[pandas\]'"):
        Run(OLD / "finished").metrics.to_pandas()


def test_progress_is_lines_in_a_pipe(capsys):
    train(TINY, name="mine", progress=True)
    said = capsys.readouterr().err.splitlines()
    assert any(line.startswith("mine epoch=2/2 step=6 loss=") for line in said)
    train(TINY)
    assert capsys.readouterr().err == ""


def test_progress_is_drawn_in_place_in_a_notebook(monkeypatch, capsys):
    drawn = []

    class Handle:
        def update(self, content, *, raw):
            drawn.append(content)

    def display(content, *, raw, display_id):
        drawn.append(content)
        return Handle()

    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    slow = Slow()
    train(TINY, name="mine", progress=True, on_start=lambda experiment, run_dir: [slow])
    assert capsys.readouterr() == ("", "")
    assert slow.steps == 6
    assert drawn[0]["text/plain"].startswith("epoch ")
    assert "<pre" in drawn[0]["text/html"]
    assert drawn[-1]["text/plain"] == ""  # the run itself is shown after it

"""The page in a real browser: no error on its console, nothing from outside, controls that work."""

from __future__ import annotations

import html.parser
import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from optrun.experiments.report.group import Group
from optrun.experiments.report.page.html import group_page, runs_page, typeset
from optrun.experiments.report.page.page_data import group_curves
from optrun.experiments.report.report import Report
from optrun.experiments.run_directory.run import Run

from .conftest import write_run

HOSTILE = "</script><script>throw 1</script><b>"
A, B = [0.90, 0.92, 0.91, 0.93, 0.90, 0.94], [0.951, 0.962, 0.9663, 0.974, 0.955, 0.96]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here: `apt-get install chromium` brings one")


def open_page(page: str, folder: Path, width: int = 1280) -> tuple[str, list[str]]:
    """Open a page from the disk with its own test of itself; return what it said of it, and the console."""
    path = folder / f"page-{width}.html"
    path.write_text(page, encoding="utf-8")
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--disable-component-update", "--no-first-run", "--disable-dev-shm-usage"]
    command += [
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={width},900",
        "--enable-logging=stderr",
        "--v=0",
    ]
    command += ["--virtual-time-budget=5000", "--dump-dom", f"{path.as_uri()}#selftest"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found = re.search(r'<html[^>]* data-selftest="([^"]*)"', done.stdout)
    return found[1] if found else "", [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def pages(write_group, tmp_path) -> dict[str, str]:
    tuned = Report(write_group({HOSTILE: A, "b": [None, *B[1:]], "all lost": [None] * 6}, tuned=True, diverged_at=3))
    single = Run(write_run(tmp_path / "mom-0001"))
    lost = Run(write_run(tmp_path / "sgd-0001", curve=[], outcome="diverged"))
    return {"compare": group_page(tuned), "run": runs_page([single]), "runs": runs_page([single, lost])}


@needs_browser
@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("compare", 1280),
        ("compare", 500),
        ("run", 500),
        ("runs", 1280),
        *(pytest.param(*each, marks=pytest.mark.sample) for each in (("run", 1280), ("runs", 500))),
    ],
)
def test_pages_work_in_a_browser(write_group, tmp_path, name, width):
    assert open_page(pages(write_group, tmp_path)[name], tmp_path, width) == ("ok", [])


@needs_browser
def test_a_sweep_works_in_a_browser(write_group, tmp_path):
    report = Report(write_group({"mom": [0.9], "adam": [0.9]}, tuned=True, kind="sweep"))
    assert open_page(group_page(report), tmp_path) == ("ok", [])


@needs_browser
def test_a_broken_page_would_be_noticed(write_group, tmp_path):
    page = group_page(Report(write_group({"a": A, "b": B})))
    said, console = open_page(
        page.replace('<script type="application/json" id="data">{', '<script id="data">{{'), tmp_path
    )
    assert said == ""
    assert console
    unsorted = page.replace("body.append(...rows.map(([, row]) => row));", "")
    assert unsorted != page
    said, console = open_page(unsorted, tmp_path, 1100)
    assert said == ""  # the policy of the page lets no script run but its own
    assert any("Content Security Policy" in line for line in console)


@needs_browser
def test_each_metric_has_one_tab(write_group):
    data = group_curves(Group(write_group({"sgd": A, "adam": B}, protocol={"select": "val/loss"})))
    assert data is not None
    names = [metric["key"] for metric in data["metrics"]]
    assert names[0] == "val/loss"
    assert len(names) == len(set(names)) == 3


def test_its_own_test_can_fail(write_group, tmp_path):
    page = group_page(Report(write_group({"a": A, "b": B})))
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    said, _ = open_page(page.replace("body.append(...rows.map(([, row]) => row));", ""), tmp_path)
    assert "is not in order" in said


class Links(html.parser.HTMLParser):
    """Collects what a page would fetch, and its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [
            str(value) for key, value in attrs if key in ("src", "href", "srcset", "action", "data", "poster")
        ]


def test_nothing_is_fetched_from_outside(write_group, tmp_path):
    for page in pages(write_group, tmp_path).values():
        links = Links()
        links.feed(page)
        assert links.found == ["data:,"]
        assert not {"iframe", "img", "object", "embed", "b"} & set(links.tags)
        assert links.tags.count("script") == 2
        assert set(re.findall(r"https?://[^\s\"'`)]+", page)) <= {"http://www.w3.org/2000/svg"}
        assert not re.search(r"@import|url\(", page)
        assert "default-src 'none'; script-src 'sha256-" in page


def test_tables_are_tables(write_group):
    page = group_page(Report(write_group({"a": A, "b": B}, tuned=True)))
    assert page.count('<th scope="row"') >= 4
    assert page.count('aria-sort="none"') >= 10
    assert '<html lang="en">' in page
    assert page.count("<h1>") == 1
    headings = [int(level) for level in re.findall(r"<h([1-6])", page)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))


def test_colours_stand_out():
    """Lines and marks by 3 to 1 from the background, text by 4.5 to 1 (WCAG 2.2)."""
    from optrun.experiments.report import style
    from optrun.experiments.report.page import html

    css = Path(str(html.__file__)).with_name("report.css").read_text(encoding="utf-8")
    colors = dict(re.findall(r"--(paper|ink|quiet): light-dark\(([^)]+)\)", css))
    for theme, series in enumerate((style.LIGHT, style.DARK)):
        paper, ink, quiet = (colors[name].split(", ")[theme] for name in ("paper", "ink", "quiet"))
        assert min(contrast(paper, ink), contrast(paper, quiet)) >= 4.5
        assert min(contrast(paper, color) for color in series) >= 3


def contrast(a: str, b: str) -> float:
    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("-0.5 to -.1", "−0.5 to −.1"),
        ("1e-3", "1e-3"),
        ("adam-2", "adam-2"),
        ("95 % CI 1.3-2.0, p < .001", "95\u00a0%\u00a0CI\u00a01.3–2.0, p\u00a0<\u00a0.001"),
        ("2026-01-01", "2026-01-01"),
    ],
)
def test_typesetting(text, shown):
    assert typeset(text) == shown


def test_no_torch_and_no_terminal_library_is_loaded(write_group):
    folder = write_group({"a": A, "b": B}, tuned=True)
    code = (
        "import sys; from optrun.experiments.report.export import export\n"
        f"export({str(folder)!r}, 'out.html'); export({str(folder)!r}, 'out.md'); export({str(folder)!r}, 'out.png')\n"
        "print([name for name in ('torch', 'click', 'rich', 'matplotlib.pyplot') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr

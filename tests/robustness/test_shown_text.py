"""Text of other people on its way out: no control character of it reaches a screen, a workflow, a page or a formula.

A run is written whose every text holds a hostile one; every reading command is asked, and each output is searched.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from optrun.experiments.report.figures.figure_file import render
from optrun.experiments.report.page.html import embedded_json
from optrun.experiments.report.tables.table import aligned, csv_text, markdown_text
from optrun.experiments.system.visible import in_json, one_line, spreadsheet_text, visible

from ..cli.conftest import folder, optrun  # noqa: F401  (fixtures)

HOSTILE = {
    "escape sequence": "a\x1b[2J\x1b]0;evil\x07b",
    "C1": "a\x9b31mb\x90c\x9d",
    "carriage return": "good\rEVIL",
    "backspaces": "good\b\b\b\bEVIL\x7f",
    "bidi": "a\u202eevil\u2066b\u200f",
    "invisible": "a\u200bb\u2060\ufeff\u00ad\U000e0041",
    "line separators": "a\u2028b\u2029c\x0b\x0c\x1c\x85d",
    "workflow command": "a\n::error::EVIL\n  ::set-output name=x::y\n##[error]EVIL",
    "newline": "a\nEVIL",
    "markup": "<script>alert(1)</script>|[x](javascript:1)`'\"&",
}
CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)
READING = (
    "runs", "runs --json", "show bad", "show bad --json", "diff bad good", "diff bad good --json", "plot bad",
    "plot bad good --json", "plot bad -o out.svg", "report bad -o out.html", "report bad",
    "eval bad", "eval bad --json", "resume bad", "resume bad train.steps=5", "train --name bad tiny.yaml",
    "validate runs/bad/config.yaml",
    "validate runs/bad/config.yaml --json", "config runs/bad/config.yaml", "compare run:bad run:good --no-train",
    "rm bad-no-such", "show EVIL", "export-nothing",
)  # fmt: skip


def without_text(value, text):
    """Return plain data with a text in place of every text in it, and behind every key that a run chooses."""
    if isinstance(value, dict):
        return {key: without_text(item, text) for key, item in value.items()}
    if isinstance(value, list):
        return [without_text(item, text) for item in value]
    return text if isinstance(value, str) else value


@pytest.fixture
def runs(optrun, folder):  # noqa: F811
    for name in ("good", "bad"):
        assert (
            optrun("train", "tiny.yaml", "train={epochs: null, steps: 4}", "log.every=1 steps", "--name", name).code
            == 0
        )
    return folder / "runs"


def spoil(run: Path, file: str, key: str | None, text: str) -> None:
    """Put a text into one key of a file of the run, or into every one."""
    path = run / file
    rows = (
        [json.loads(line) for line in path.read_text().splitlines()]
        if file.endswith("l")
        else [json.loads(path.read_text())]
    )
    for row in rows:
        row.update(without_text(row, text) if key is None else {key: text})
        row[f"x{text}"] = 0.5 if file.endswith("l") else text
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("kind", "workflow"),
    [
        pytest.param(kind, workflow, marks=() if workflow and kind == "workflow command" else pytest.mark.slow)
        for kind in HOSTILE
        for workflow in (False, True)
    ],
)
def test_no_output_holds_control_characters_of_a_run(optrun, folder, runs, monkeypatch, kind, workflow):  # noqa: F811
    text = HOSTILE[kind]
    if workflow:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))
    (folder / "kept").mkdir()
    shutil.copytree(runs, folder / "kept/runs")
    state = {"status.json": ("message", "host", "state", None), "summary.json": ("message", "outcome", None),
             "metrics.jsonl": ("loss", None), "env.json": ("torch", None), "origins.json": (None,)}  # fmt: skip
    for file, keys in state.items():
        for key in keys:
            shutil.rmtree(runs)
            shutil.copytree(folder / "kept/runs", runs)
            spoil(runs / "bad", file, key, text)
            for line in READING if key is None else READING[:5]:
                done = optrun(*(["--color", "always"] if "show" in line else []), *line.split())
                where = (line, file, key, done)
                assert "OPTRUN_DEBUG" not in done.err, where  # a bug would name it
                for said in (done.out, done.err):
                    shown = re.sub(r"\x1b\[(?:0|1|2|3\d)m", "", said)
                    assert not CONTROL.search(shown), where
                    if workflow:
                        commands = [
                            each for each in shown.splitlines() if each.strip().startswith("::") or "##[" in each
                        ]
                        assert all(each.startswith("::error") for each in commands), where
                        assert not any(each.startswith("::error::EVIL") for each in commands), where
    for page in folder.glob("out.*"):
        assert not CONTROL.search(page.read_text()), page
        assert "<script>alert" not in page.read_text()
    summary = folder / "summary.md"
    assert not summary.exists() or not CONTROL.search(summary.read_text())


@pytest.mark.parametrize("kind", HOSTILE)
def test_command_lines_and_configurations(optrun, folder, kind):  # noqa: F811
    text = HOSTILE[kind]
    (folder / "bad.yaml").write_text(
        f"extends: tiny.yaml\nname: {json.dumps(text)}\n{json.dumps(text)}: 1\nmodel: {json.dumps(text)}\n"
    )
    (folder / f"{one_line(text)[:20].replace('/', '')}.yaml").write_text("a: [")
    for line in (["validate", "bad.yaml"], ["train", text], ["show", text], ["train", "tiny.yaml", f"{text}=1"],
                 ["train", "tiny.yaml", "--name", text], ["describe", text], ["compare", text, "mom"], [text],
                 ["train", "tiny.yaml", f"name={text}"], ["validate", text], ["list", text], ["diff", text, text],
                 ["plot", text, "--y", text]):  # fmt: skip
        done = optrun(*line)
        assert done.code not in (0, 70), (line, done)
        assert not CONTROL.search(done.out + done.err), (line, done)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_each_way_out(text):
    assert not CONTROL.search(visible(text))
    assert "\n" not in one_line(text)
    assert json.loads(in_json(json.dumps(text, ensure_ascii=False))) == text, "JSON loses nothing"
    assert not CONTROL.search(in_json(json.dumps(text, ensure_ascii=False)))
    assert not CONTROL.search(markdown_text(text) + embedded_json({text: [text]}))
    assert "<" not in markdown_text(text)
    assert len(aligned([[text, "x"], ["y", text]])) == 2
    svg = render(lambda figure: figure.text(0.5, 0.5, text), "svg", width=2, height=1)
    assert ElementTree.fromstring(svg) is not None
    assert not CONTROL.search(svg.decode())


@pytest.mark.parametrize("text", ["plain", "größe 模型", "a\tb\nc", "∞ · →", "👍🏽", "a" * 5000])
def test_ordinary_text_is_shown_as_it_is(text):
    assert visible(text) == text


FORMULAS = [
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    "＋1",
    "－1",
    "＠A",
    "'=1",
    "''",
]
NUMBERS = ["-0.5", "+1", "1e-3", "-1E+5", "0", "-.5", "3."]


@pytest.mark.parametrize("text", [*FORMULAS, *NUMBERS, "plain", "a=b", "", "--", "-x", "- 1", "-0x10", "-1_0"])
def test_cells_of_csv_run_nothing_and_read_back(text):
    import csv
    import io

    assert spreadsheet_text(text) == (f"'{text}" if text not in (*NUMBERS, "plain", "a=b", "") else text)
    rows = list(csv.reader(io.StringIO(csv_text([{"name": text, text + "k": -0.5, "n": -3}]), newline="")))
    undone = [[cell.removeprefix("'") for cell in row] for row in rows]
    assert undone == [["name", text + "k", "n"], [text, "-0.5", "-3"]]
    assert rows[1][1:] == ["-0.5", "-3"], "numbers are numbers"

"""docs/how-to.md: each answer has an example that runs, and the tables of habits name what is there."""

from __future__ import annotations

import importlib.util
import re

import pytest

from .test_docs import ROOT, blocks, commands, forked_optrun, write_files

PAGE = ROOT / "docs" / "how-to.md"
TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*)\n((?:(?!## ).*\n?)*)", TEXT, re.MULTILINE))
TABLES = ("Where is my … here?", "What is not supported, and why")


def rows() -> list[list[str]]:
    lines = [line for line in SECTIONS[TABLES[0]].splitlines() if line.startswith("| ")]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line != "| there | here | note |"
    ]


def test_the_index_has_every_section_and_the_readme_has_the_page():
    linked = re.findall(r"\]\(#([^)]+)\)", TEXT.split("\n## ")[0])
    assert linked == [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in SECTIONS]
    assert "(docs/how-to.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("heading", [heading for heading in SECTIONS if heading not in TABLES])
def test_an_answer_has_an_example_and_leads_to_a_page(heading):
    assert "\n```" in SECTIONS[heading]
    assert re.search(r"\]\([a-z-]+\.md[#)]", SECTIONS[heading])


def test_the_commands_of_the_page_run(tmp_path, server):
    write_files(PAGE, tmp_path)
    for block in blocks(PAGE, "sh"):
        lines = block.text.splitlines()
        if lines[0] == "pip install 'optrun[hf]'":
            lines = lines[1:] if importlib.util.find_spec("transformers") else []
        for line in lines:
            less = " --seeds 2 --no-tune -j 1 --quiet" if line.startswith("optrun compare") else ""
            done = forked_optrun(server, f"{line}{less}", tmp_path)
            assert done.returncode == 0, f"{line}\n{done.stdout}"
    assert [path.name for path in (tmp_path / "runs" / "profiled" / "traces").iterdir()] == ["trace-20.json"]


def test_each_row_of_habits_says_three_things():
    assert {len(row) for row in rows()} == {3}
    assert len(rows()) > 50


@pytest.mark.parametrize("text", sorted({text for row in rows() for text in re.findall(r"`([^`]+)`", row[1])}))
def test_what_a_row_of_habits_names_is_there(text):
    from optrun.cli.app import cli
    from optrun.experiments import MonitoredTrainingSession, Run, load_config

    if text.startswith("optrun "):
        name, *options = text.split()[1:]
        assert name in commands()
        command = cli.get_command(None, name)
        assert command is not None
        assert set(options) <= {each for parameter in command.params for each in parameter.opts}
    elif "=" in text:
        load_config("mom", re.split(r" (?=[a-z_.]+=)", text))
    elif text.startswith(("run.", "session.")):
        cls = Run if text.startswith("run.") else MonitoredTrainingSession
        assert hasattr(cls, text.partition(".")[2].removesuffix("()"))
    elif text.startswith("OPTRUN_"):
        assert f"`{text}`" in (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    else:
        key = text.partition(":")[0]
        assert key in ("extends", "name") or key in load_config("mom").to_dict()


def test_a_key_of_another_tool_in_the_tables_is_refused_with_its_name_here():
    """The names that stand in the first column as keys, with what the second column has for them."""
    from optrun.experiments.config.other_names import other_name

    expected = {"max_epochs": "train.epochs", "gradient_clip_val": "train.clip_norm", "callbacks": "hooks"}
    expected |= {
        "accumulate_grad_batches": "train.accumulate",
        "overfit_batches": "data.subset",
        "monitor": "eval.metric",
    }
    expected |= {"fast_dev_run": "optrun train --dry-run", "log_every_n_steps": "log.every", "logger": "log.to"}
    there = " ".join(row[0] for row in rows())
    for name, here in expected.items():
        assert name in there or name == "monitor"
        assert other_name(name) == f"here it is `{here}`"
        assert any(name in row[0] and here in row[1] for row in rows())

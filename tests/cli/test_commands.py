"""What every command does with its words: help, JSON, errors with their exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from optrun.cli.app import cli

GOLDEN = Path(__file__).parent / "golden"
COMMANDS = cli.list_commands(click.Context(cli))


@pytest.fixture
def tiny_run(optrun) -> str:
    assert optrun("train", "tiny.yaml", "-q").code == 0
    return "tiny-0001"


def test_the_top_level_help_reads_as_it_should(optrun):
    done = optrun("--help")
    assert done.code == 0
    assert done.out == (GOLDEN / "help.txt").read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_ends_with_examples_and_fits_80_columns(optrun, command):
    done = optrun(command, "--help")
    assert done.code == 0
    assert f"  optrun {command}" in done.out.partition("\nExamples:\n")[2]
    assert max(map(len, done.out.splitlines())) <= 80
    assert "..." not in cli.get_command(click.Context(cli), command).get_short_help_str(60)


@pytest.mark.parametrize("args", [["--help"], ["train", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(args):
    code = (
        "import sys\nfrom optrun.cli import app\napp.run(sys.argv[1:])\n"
        "heavy = {'torch', 'rich', 'pydantic', 'numpy', 'yaml', 'filelock'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_runs_show_and_completion_import_no_torch(tiny_run):
    code = (
        "import sys\nfrom optrun.cli import app, completion\n"
        "assert app.run(['runs']) == 0\nassert app.run(['show', '@1']) == 0\n"
        "assert [item.value for item in completion.runs(None, None, 'ti')] == ['tiny-0001']\n"
        "assert 'mom' in [item.value for item in completion.targets(None, None, 'm')]\n"
        "heavy = {'torch', 'rich', 'pydantic', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_shell_completes_targets():
    env = {"_OPTRUN_COMPLETE": "bash_complete", "COMP_WORDS": "optrun train mo", "COMP_CWORD": "2"}
    main = [sys.executable, "-c", "from optrun.cli import main; main()"]
    done = subprocess.run(main, env=env, capture_output=True, text=True, check=False)
    assert "plain,mom" in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("args", "schema", "code"),
    [
        (["runs"], "optrun/runs@1", 0),
        (["show", "@1"], "optrun/show@1", 0),
        (["eval", "@1"], "optrun/eval@1", 0),
        (["list"], "optrun/list@1", 0),
        (["describe", "optimizer/adam"], "optrun/describe@1", 0),
        (["config", "mom"], "optrun/config@1", 0),
        (["validate", "tiny.yaml"], "optrun/validate@1", 0),
        (["validate", "tiny.yaml", "nothing.yaml"], "optrun/validate@1", 2),
        (["runs", "nothing"], "optrun/error@1", 5),
        (["show", "nothing"], "optrun/error@1", 5),
        (["train", "tiny.yaml", "optimizer.lr=-1"], "optrun/error@1", 2),
        (["train", "--nothing"], "optrun/error@1", 2),
        (["eval", "@1", "--checkpoint", "3"], "optrun/error@1", 5),
        (["eval", "@1", "--split", "nothing"], "optrun/error@1", 2),
        (["describe", "optimizer/nothing"], "optrun/error@1", 2),
        (["nothing"], "optrun/error@1", 2),
    ],
)
def test_json_is_one_document_whatever_happens(optrun, tiny_run, args, schema, code):
    done = optrun(*args, "--json")
    assert done.code == code
    assert done.json["schema"] == schema


def test_json_of_a_wrong_configuration_locates_every_problem(optrun):
    done = optrun("train", "tiny.yaml", "optimizer.lr=-1", "modle=mlp", "--json")
    assert [problem["key"] for problem in done.json["problems"]] == ["optimizer.lr", "modle"]
    assert done.json["exit_code"] == 2


def test_a_wrong_configuration_is_shown_where_it_is_wrong(optrun, folder):
    (folder / "bad.yaml").write_text("extends: digits\noptimizer: {name: sgd, momentun: 0.9}\n")
    done = optrun("train", "bad.yaml")
    assert done.code == 2
    assert "bad.yaml:2:24: optimizer.momentun" in done.err
    assert "^^^^^^^^" in done.err
    assert "Traceback" not in done.err


def test_validate_reports_all_problems_of_all_files_on_stdout(optrun, folder):
    (folder / "a.yaml").write_text("extends: digits\noptimizer: {name: sgdd, lr: 0.1}\nseeed: 1\n")
    (folder / "b.yaml").write_text("extends: digits\noptimizer: {name: sgd, lr: -1}\n")
    done = optrun("validate", "a.yaml", "b.yaml", "tiny.yaml")
    assert done.code == 2
    for part in ("a.yaml:2:19", "a.yaml:3:1", "b.yaml:2:28", "did you mean 'sgd'?", "tiny.yaml: ok"):
        assert part in done.out


def test_validate_finds_what_does_not_fit_together_unless_static(optrun, folder):
    (folder / "bad.yaml").write_text("extends: digits\noptimizer: sgd\nloss: mse\n")
    assert optrun("validate", "bad.yaml").code == 2
    assert optrun("validate", "bad.yaml", "--static").code == 0


def test_config_is_trainable_as_printed(optrun, folder):
    (folder / "printed.yaml").write_text(optrun("config", "tiny.yaml", "optimizer.lr=0.3").out)
    again = optrun("config", "printed.yaml", "--json").json["config"]
    assert again == optrun("config", "tiny.yaml", "optimizer.lr=0.3", "--json").json["config"] | {"name": again["name"]}
    assert optrun("train", "printed.yaml", "-q").code == 0


def test_config_says_where_values_come_from(optrun):
    lines = optrun("config", "tiny.yaml", "optimizer.lr=0.3", "--origins").out.splitlines()
    assert "optimizer.lr: 0.3   # command line (was 0.1, tiny.yaml:6)" in lines


def test_config_needs_a_target(optrun):
    done = optrun("config")
    assert done.code == 2
    assert "which one?" in done.err


def test_a_target_may_hold_an_equals_sign(optrun, folder):
    (folder / "a=b").mkdir()
    (folder / "tiny.yaml").rename(folder / "a=b/tiny.yaml")
    assert optrun("config", "a=b/tiny.yaml").code == 0


def test_eval_measures_what_training_measured(optrun, tiny_run):
    final = optrun("show", tiny_run, "--json").json["summary"]["final"]
    last = optrun("eval", tiny_run, "--json").json
    assert last["test/accuracy"] == final["test/accuracy"]
    assert optrun("eval", tiny_run, "--split", "val", "--json").json["val/loss"] == pytest.approx(final["val/loss"])
    assert optrun("eval", tiny_run).out.startswith("tiny-0001 at step 12: test/loss ")


def test_show_has_the_result_and_the_chosen_configuration(optrun, tiny_run):
    out = optrun("show", "@1").out
    for part in (
        "tiny-0001: done after 12 steps, 2 epochs",
        "path      runs/tiny-0001",
        "lr: 0.1",
        "saved     at steps",
    ):
        assert part in out
    assert "momentum" not in out
    assert "weight_decay" not in out  # a default


def test_runs_filters(optrun, tiny_run, folder):
    optrun("train", "tiny.yaml", "-q", "--name", "other", "seed=1")
    names = [row["name"] for row in optrun("runs", "--json").json["runs"]]
    assert names == ["tiny-0001", "other"]  # the oldest first
    assert [row["name"] for row in optrun("runs", "oth", "--json").json["runs"]] == ["other"]
    assert [row["name"] for row in optrun("runs", "-n", "1", "--json").json["runs"]] == ["other"]
    assert optrun("runs", "--status", "failed").code == 5
    unknown = optrun("runs", "--status", "dnoe")
    assert unknown.code == 2
    assert "Did you mean 'done'?" in unknown.err
    lines = optrun("runs").out.splitlines()
    assert lines[0].split() == ["run", "status", "optimizer", "steps", "secs", "result", "curve"]
    assert max(map(len, lines)) <= 80


def test_what_a_narrow_terminal_has_no_room_for_is_left_out(optrun, monkeypatch):
    optrun("train", "tiny.yaml", "-q", "--name", "a-run-with-a-long-name")
    for columns, header in (
        ("100", ["run", "status", "optimizer", "steps", "secs", "result", "curve"]),
        ("82", ["run", "status", "optimizer", "steps", "secs", "result"]),
        ("75", ["run", "status", "optimizer", "steps", "result"]),
    ):
        monkeypatch.setenv("COLUMNS", columns)
        lines = optrun("runs").out.splitlines()
        assert lines[0].split() == header
        assert max(map(len, lines)) <= int(columns)


def test_a_damaged_run_is_listed_and_hides_no_other(optrun, tiny_run, folder):
    (folder / "runs/broken").mkdir()
    (folder / "runs/broken/status.json").write_text("{")
    assert {row["name"]: row["status"] for row in optrun("runs", "--json").json["runs"]} == {
        "broken": "damaged",
        "tiny-0001": "done",
    }
    assert optrun("show", "broken").code == 4


def test_a_killed_run_is_listed_as_interrupted(optrun, tiny_run, folder):
    path = folder / "runs/tiny-0001/status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "running", "pid": 999999}))
    assert optrun("runs", "--json").json["runs"][0]["status"] == "interrupted"
    assert "resume: optrun resume tiny-0001" in optrun("show", "@1").out


def test_no_runs_is_exit_code_5(optrun):
    done = optrun("runs")
    assert done.code == 5
    assert "`optrun train` makes one" in done.err


def test_an_unknown_command_has_a_guess(optrun):
    done = optrun("trian")
    assert done.code == 2
    assert "Did you mean 'train'?" in done.err


def test_nothing_at_all_shows_the_help(optrun):
    done = optrun()
    assert done.code == 2
    assert "Usage: optrun" in done.err


@pytest.mark.parametrize("columns", ["20", "1", "0", "many"])
def test_a_very_narrow_terminal_breaks_nothing(optrun, tiny_run, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    for args in (
        ["train", "tiny.yaml", "--dry-run"],
        ["runs"],
        ["show", "@1"],
        ["list"],
        ["describe", "adam"],
        ["--help"],
    ):
        assert optrun(*args).code == 0


def test_github_gets_annotations_and_a_summary(optrun, folder, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))
    (folder / "bad.yaml").write_text("extends: digits\noptimizer: {name: sgd, lr: -1}\n")
    bad = optrun("train", "bad.yaml")
    assert "::error file=bad.yaml,line=2,col=28::optimizer.lr: " in bad.err
    many = optrun("config", "tiny.yaml", *(f"wrong{number}=1" for number in range(12)))
    assert many.err.count("::error::wrong") == 10
    assert "2 more" in many.err
    assert optrun("train", "tiny.yaml", "-q").code == 0
    table = (folder / "summary.md").read_text()
    assert table.startswith("| run | outcome | steps | val/loss |")
    assert "| tiny-0001 | done | 12 |" in table


def test_elsewhere_there_are_no_annotations(optrun, folder, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))
    assert "::error" not in optrun("train", "tiny.yaml", "optimizer.lr=-1").err
    optrun("train", "tiny.yaml", "-q")
    assert not (folder / "summary.md").exists()

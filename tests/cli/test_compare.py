"""`optrun compare` and `optrun sweep`, as a user types them; what is read of them afterwards is in test_reading.py."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from optrun.experiments.comparison import entries as entries_module
from optrun.experiments.comparison.tasks import TaskMaker
from optrun.experiments.training.load import load_config
from optrun.experiments.training.step.stacked.rows import Moves

GOLDEN = Path(__file__).parent / "golden"
COMPARE = ("compare", "tiny.yaml", "other.yaml", "--seeds", "3", "--tune", "3")
FAILING_HOOK = """\
from optrun.experiments import Hook


class Fail(Hook):
    def after_run(self, ctx, values):
        raise RuntimeError("my own hook broke")
"""


def normalised(text: str) -> str:
    """Replace what differs from one time and machine to the next."""
    text = re.sub(r"-[0-9a-f]{6}\b", "-ffffff", text)
    text = re.sub(r"\d+\.\d+|\d+e-\d+|(?<= )\.\d\d+", "N", text)
    text = re.sub(r"\d at a time(; about \d+:\d\d)?", "K at a time; about T", text)
    text = re.sub(r"[⠀-⣿●◆▁-█]+", "~", text)
    text = re.sub(r"about [\d,]+\s+seeds", "about S seeds", text)
    return re.sub(r" +", " ", text)


def test_the_plan_and_the_lines_read_as_they_should(compared):
    plan, lines = compared.err.split("[1/18]")
    assert normalised(plan) == (GOLDEN / "compare.err.txt").read_text()
    runs = re.findall(
        r"^\[(\d+)/(\d+)\] (\S+) (tune|evaluate) lr=\S+ seed=(\d+) val/accuracy=\S+", f"[1/18]{lines}", re.M
    )
    assert [int(run[0]) for run in runs] == list(range(1, len(runs) + 1))
    assert {run[4] for run in runs if run[3] == "evaluate"} == {"0", "1", "2"}
    assert {run[4] for run in runs if run[3] == "tune"} == {"1000", "1001"}
    assert re.search(
        r"^wrote runs/compare-tiny-other-\w{6}/report\.html\nnext: optrun report compare-\S+ --open$", lines, re.M
    )


def test_the_result_has_tables_curves_and_the_sentence(compared):
    out = compared.out
    lines = out.splitlines()
    assert max(map(len, [*lines, *compared.err.splitlines()])) <= 80
    assert lines[0].split()[:4] == ["rank", "tie", "entry", "n"] or lines[0].split()[:3] == ["rank", "entry", "n"]
    assert re.search(r"^entry +lr +trial runs +gradients +examples +CPU s$", out, re.M)
    assert "val/accuracy, median of 3 seeds" in out
    assert "test/accuracy: " in out
    assert "\x1b" not in out + compared.err


def test_repeated_it_runs_nothing_and_says_the_same(compared, study, optrun):
    again = optrun(*COMPARE)
    assert again.code == 0
    assert again.out == compared.out
    assert "12 of 12 runs were done before" in again.err
    assert not re.search(r"^\[", again.err, re.M)


def test_quiet_says_the_sentence_alone(study, optrun):
    done = optrun(*COMPARE, "-q")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("test/accuracy: ")
    assert "rank" not in done.out


def test_json_is_one_document_with_everything(study, optrun):
    done = optrun(*COMPARE, "--json", "--gate", "other.val/accuracy > 0.2")
    document = done.json
    assert document["schema"] == "optrun/compare@1"
    assert {row["entry"] for row in document["entries"]} == {"tiny", "other"}
    assert document["protocol"]["seeds"] == [0, 1, 2]
    assert document["gates"] == [
        {"gate": "other.val/accuracy > 0.2", "holds": True, "message": document["gates"][0]["message"]}
    ]
    assert document["failed"] == []
    assert Path(document["report"]).is_file()
    assert document["sentence"].startswith("test/accuracy: ")


# ---- gates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "code", "word"),
    [
        ("tiny.test/accuracy >= 0.1", 0, "holds. The mean is"),
        ("tiny.test/accuracy >= 0.9999", 1, "does not hold. The mean is"),
        ("tiny.test/loss <= 0.0001", 1, "does not hold. The mean is"),
        ("tiny better than other", 1, "undecided."),
        ("tiny not worse than other within 0.9", 0, "holds. The mean lead of tiny over other"),
        ("tiny equivalent to other within 0.9", 0, "holds. The mean difference"),
    ],
)
def test_a_gate_decides_the_exit_code_and_says_why(study, optrun, gate, code, word):
    done = optrun(*COMPARE, "--gate", gate)
    assert done.code == code
    assert f"gate {gate}: {word}" in " ".join(done.out.split())
    assert max(map(len, done.out.splitlines())) <= 80


def test_what_three_seeds_cannot_decide_is_said(study, optrun):
    done = optrun(*COMPARE, "--gate", "tiny not worse than other within 0.0001")
    assert done.code == 1
    assert "3 seeds cannot decide, about" in " ".join(done.out.split())


def test_several_gates_must_all_hold(study, optrun):
    held, not_held = "tiny.test/accuracy >= 0.1", "other.test/accuracy >= 0.9999"
    assert optrun(*COMPARE, "-q", "--gate", held, "--gate", held).code == 0
    assert optrun(*COMPARE, "-q", "--gate", held, "--gate", not_held).code == 1


def test_gates_are_talk_where_a_document_takes_stdout(study, optrun):
    done = optrun(*COMPARE, "--json", "--gate", "tiny.test/accuracy >= 0.9999")
    assert done.code == 1
    assert "does not hold" in done.err
    assert done.json["gates"][0]["holds"] is False


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--gate", "tinny better than other"], ["column 1: no entry named 'tinny'", "Did you mean 'tiny'?"]),
        (["--gate", "tiny is good"], ["no relation is in it", "'A better than B'"]),
        (["--gate", "tiny.test/accuracy >= high"], ["'high' is no number"]),
        (["--baseline", "nobody"], ["no entry named 'nobody'"]),
        (["--no-tune"], ["--tune and --no-tune exclude each other"]),
        (["--fresh", "--no-train"], ["leave one out"]),
        (["--metric", "test/acuracy"], ["Did you mean 'test/accuracy'?"]),
        (["--export", "result.doc"], ["the suffix says what to write"]),
        (["--export", "nowhere/result.md"], ["there is no folder nowhere"]),
        (["--export", "-", "--json"], ["both want stdout"]),
        (["optimizer.lrr=1"], ["did you mean 'lr'?"]),
    ],
)
def test_a_wrong_request_is_refused_before_the_first_run(optrun, folder, other, args, words):
    done = optrun(*COMPARE, *args)
    assert done.code == 2
    for part in words:
        assert part in done.err
    assert "Traceback" not in done.err
    assert done.out == "" or "--json" in args
    assert not list(folder.glob("runs/*/*/status.json"))


@pytest.mark.parametrize(
    ("gate", "is_read"),
    [("nonsense", False), ("tiny.test/accuracy >= high", False), ("tinny better than other", True)],
)
def test_a_wrong_gate_is_refused_before_anything_is_looked_for_or_said(optrun, other, monkeypatch, gate, is_read):
    done_before = []
    monkeypatch.setattr(entries_module, "load_config", lambda *args: done_before.append("read") or load_config(*args))
    monkeypatch.setattr(TaskMaker, "make", lambda *args: done_before.append("looked for"))
    done = optrun(*COMPARE, "--gate", gate)
    assert done.code == 2
    assert done.err.startswith(f"error: gate '{gate}', column ")
    assert set(done_before) == ({"read"} if is_read else set())


def test_a_pair_that_is_not_compared_has_no_gate(optrun, other, folder):
    (folder / "third.yaml").write_text((folder / "tiny.yaml").read_text())
    done = optrun(
        "compare", "tiny.yaml", "other.yaml", "third.yaml", "--baseline", "tiny", "--gate", "other better than third"
    )
    assert done.code == 2
    assert "each entry is compared with tiny alone" in done.err


def test_gates_and_the_baseline_take_labels_as_well_as_names(study, folder, optrun):
    comparison = json.loads((folder / "runs" / study / "comparison.json").read_text())
    labels = {entry["name"]: entry.get("label", entry["name"]) for entry in comparison["entries"]}
    assert set(labels.values()).isdisjoint(labels)
    a, b = labels["tiny"], labels["other"]
    gates = [f"{b}.val/accuracy > 0.2", f"{a} equivalent to {b} within 0.9", f"{a} not worse than other within 0.9"]
    done = optrun(*COMPARE, "--json", "--baseline", a, *(word for gate in gates for word in ("--gate", gate)))
    assert done.code == 0, done.err
    assert [gate["gate"] for gate in done.json["gates"] if gate["holds"]] == gates
    by_name = optrun(*COMPARE, "--json", "--baseline", "tiny", "--gate", "other.val/accuracy > 0.2")
    assert by_name.json["gates"][0]["message"] == done.json["gates"][0]["message"]
    wrong = optrun(*COMPARE, "--baseline", f"{a}x")
    assert wrong.code == 2
    assert f"Did you mean '{a}'?" in wrong.err
    wrong = optrun(*COMPARE, "--gate", f"{b} better than other")
    assert wrong.code == 2
    assert "'other' is held against itself" in wrong.err


def test_no_target_and_one_target_are_refused(optrun):
    assert "compare what?" in optrun("compare").err
    assert optrun("compare").code == 2
    assert "at least two entries" in optrun("compare", "tiny.yaml").err


def test_a_target_that_is_nothing_lists_what_there_is(optrun):
    done = optrun("compare", "mmo", "adam")
    assert done.code == 2
    assert "Did you mean 'mom'?" in done.err


def test_one_seed_is_warned_about(study, optrun):
    done = optrun("compare", "tiny.yaml", "other.yaml", "--seeds", "1", "--tune", "3", "--no-train")
    assert "warning: one seed shows no spread, and can show no difference" in done.err


def test_without_training_what_is_missing_is_exit_code_5(study, optrun):
    done = optrun("compare", "tiny.yaml", "other.yaml", "--seeds", "4", "--tune", "3", "--no-train")
    assert done.code == 5
    assert "leave out --no-train" in done.err


# ---- exports, GitHub -------------------------------------------------------------------------------------------------


def test_every_export_is_written_and_named(study, optrun, folder):
    files = ["a.md", "a.csv", "a.json", "a.html", "a.svg", "a.png"]
    done = optrun(*COMPARE, *(part for file in files for part in ("--export", file)))
    assert done.code == 0
    for file in files:
        assert (folder / file).stat().st_size > 100
        assert f"wrote {file}" in done.err


def test_markdown_goes_to_stdout_and_nothing_else_does(study, optrun):
    done = optrun(*COMPARE, "--export", "-", "--gate", "tiny.test/accuracy >= 0.1")
    assert done.out.startswith("## compare-tiny-other-")
    assert done.out.rstrip().endswith("</details>")
    assert "gate tiny.test/accuracy" in done.err


def test_github_gets_the_table_and_the_gates_that_do_not_hold(study, optrun, folder, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))
    done = optrun(*COMPARE, "--gate", "tiny.test/accuracy >= 0.9999", "--gate", "tiny.test/accuracy >= 0.1")
    assert done.code == 1
    assert done.err.count("::error::gate tiny.test/accuracy >= 0.9999: does not hold.") == 1
    assert done.err.count("::error::") == 1
    assert "| rank |" in (folder / "summary.md").read_text()


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_failed_run_is_told_at_once_and_the_exit_code_is_6(optrun, folder, shell):
    (folder / "fail.py").write_text(FAILING_HOOK)
    (folder / "bad.yaml").write_text((folder / "tiny.yaml").read_text() + "hooks: [./fail.py:Fail]\n")
    process = shell("compare", "tiny.yaml", "bad.yaml", "--no-tune", "--seeds", "1", "-j", "1", "--json")
    out, err = (stream.decode() for stream in process.communicate(timeout=120))
    assert process.returncode == 6
    assert "error: bad evaluate seed=0 failed: hooks.0: RuntimeError: my own hook broke" in err
    assert "1 of 2 runs failed (1 done, 1 failed); the rest is saved" in err
    assert "next: optrun compare tiny.yaml bad.yaml" in err
    assert json.loads(out)["failed"][0]["entry"] == "bad"


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_is_done_and_prints_the_command(shell, folder, other, signum, code):
    process = shell("compare", "tiny.yaml", "other.yaml", "train.epochs=100000", "--no-tune", "--fresh", "-j", "1")
    deadline = time.monotonic() + 60
    while not list(folder.glob("runs/*/*/metrics.jsonl")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert f"stopped by {signum.name} after 0 of 20 runs; what is done is kept".encode() in err
    assert b"continue: optrun compare tiny.yaml other.yaml train.epochs=100000 --no-tune -j 1\n" in err
    assert b"Traceback" not in err
    states = [json.loads(path.read_text())["state"] for path in folder.glob("runs/*/*/status.json")]
    assert states == ["interrupted"]


# ---- sweep -----------------------------------------------------------------------------------------------------------


def test_a_sweep_shows_every_value_the_best_and_the_good_range(shell, optrun):
    args = (
        "sweep",
        "tiny.yaml",
        "optimizer.lr=log:1e-2:10",
        "--trials",
        "4",
        "--seeds",
        "1",
        "-j",
        "1",
        "train.epochs=1",
    )
    process = shell(*args)
    out, err = (stream.decode() for stream in process.communicate(timeout=120))
    assert process.returncode == 0, err
    assert "sweep      optimizer.lr=log:1e-2:10: 4 values (grid), each on 1 seed" in err
    assert "runs       4, 1 at a time" in err
    assert re.search(r"^entry +optimizer\.lr +val/accuracy", out, re.M)
    drawn = re.findall(r"^ +(\S+)  (━+) (\S+)(?:  (best|as good))?$", out, re.M)
    assert [row[0] for row in drawn] == ["0.01", "0.1", "1", "10"]
    scores = [float(row[2]) for row in drawn]
    assert [row[3] for row in drawn].count("best") == 1
    assert scores[[row[3] for row in drawn].index("best")] == max(scores)
    assert [len(row[1]) for row in drawn] == sorted([len(row[1]) for row in drawn], key=lambda n: n) or len(
        set(scores)
    ) > 1
    assert "val/accuracy was best at optimizer.lr = " in out
    assert max(map(len, [*out.splitlines(), *err.splitlines()])) <= 80
    chosen = optrun(*args, "--json").json["entries"][0]["chosen"]
    assert f"next: optrun train tiny.yaml train.epochs=1 optimizer.lr={chosen}" in err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["tiny.yaml"], "sweep what?"),
        (["optimizer.lr=1,2"], "which one?"),
        (["tiny.yaml", "optimizer.lr=1"], "sweep what?"),
        (["tiny.yaml", "optimizer.lr=1,2", "optimizer.lr=3,4"], "twice"),
        (["tiny.yaml", "optimizer.lr=1,2", "--trials", "3"], "--trials is for ranges"),
        (["tiny.yaml", "optimizer.lr=log:1"], "expected log:LOW:HIGH"),
        (["tiny.yaml", "optimizer.lr=log:0:1"], "above 0"),
        (["tiny.yaml", "data.batch_size=lin:8:32"], "data.batch_size takes whole numbers: give int:8:32"),
        (["tiny.yaml", "optimizer.lr=1,-1"], "optimizer.lr: expected a number >"),
        (["tiny.yaml", "optimizer.lr=1,1.0"], "1.0 is there twice"),
        (["tiny.yaml", "loss=mse,cross_entropy"], "a sweep is over numbers"),
        (["tiny.yaml", "optimizer.lrr=1,2"], "did you mean 'lr'?"),
    ],
)
def test_a_wrong_sweep_is_refused(optrun, args, words):
    done = optrun("sweep", *args)
    assert done.code == 2
    assert words in done.err


@pytest.mark.parametrize(
    ("text", "several"),
    [
        ("log:1e-3:1", True),
        ("lin:0:1", True),
        ("int:1:3", True),
        ("1,2", True),
        ("[1, 2]", False),
        ("{a: 1, b: 2}", False),
        ("1", False),
    ],
)
def test_a_list_in_brackets_is_one_value(text, several):
    from optrun.cli.commands.sweep import is_spec

    assert is_spec(text) is several


# ---- the documented gate ---------------------------------------------------------------------------------------------


@pytest.fixture
def gate_script(folder, server) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Return a function that runs the script, with an `optrun` on its PATH."""
    (folder / "bin").mkdir()
    script = Path(__file__).parents[2] / "docs" / "examples" / "compare_gate.sh"
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PATH": path, "SEEDS": "3", "MARGIN": "0.9"}
        return subprocess.run([script, *args], env=env, capture_output=True, text=True, check=False, timeout=120)

    with server.program(folder / "bin" / "optrun"):
        yield run


def test_the_documented_script_is_a_gate(gate_script, folder, other):
    passed = gate_script("tiny.yaml", "other.yaml", "-j", "1")
    assert passed.returncode == 0, passed.stderr
    assert "other is not worse" in passed.stdout
    assert (folder / "comparison.md").read_text().startswith("## compare-tiny-other-")
    failed = gate_script("tiny.yaml", "other.yaml", "--gate", "other.test/accuracy > 0.9999")
    assert failed.returncode == 1
    assert "other is worse, or the seeds cannot tell" in failed.stderr


def test_the_documented_script_says_how_it_is_used(gate_script):
    done = gate_script("tiny.yaml")
    assert done.returncode == 2
    assert "usage: compare_gate.sh BASELINE CANDIDATE" in done.stderr
    wrong = gate_script("tiny.yaml", "nothing.yaml")
    assert wrong.returncode == 2
    assert "no comparison was made (exit code 2)" in wrong.stderr


def test_the_documented_workflow_uses_the_script_and_presets_that_exist():
    import yaml

    root = Path(__file__).parents[2]
    workflow = yaml.safe_load((root / "docs" / "examples" / "optrun.yml").read_text())
    commands = [step["run"] for step in workflow["jobs"]["compare"]["steps"] if "run" in step]
    script, *targets = commands[-1].split()
    assert (root / script).stat().st_mode & 0o111
    assert all((root / target).is_file() for target in targets)


VERIFIED = ("compare", "tiny.yaml", "other.yaml", "--seeds", "2", "--no-tune", "--engine", "batched")


def test_runs_of_a_batch_are_verified_and_told(study, optrun):
    result = optrun(*VERIFIED, "--verify-batched", "2")
    assert result.code == 0, result.err
    said = " ".join(result.out.split())
    assert re.search(r"2 of 4 runs in batches were made again by themselves: after \d+ steps, weights differ by", said)
    assert "[6/6]" in result.err
    assert max(map(len, [*result.out.splitlines(), *result.err.splitlines()])) <= 80
    document = json.loads(optrun(*VERIFIED, "--verify-batched", "2", "--json").out)
    assert len(document["verified"]["runs"]) == 2


def test_what_is_not_verified_ends_with_exit_code_1_after_the_result(study, optrun, monkeypatch):
    begin = Moves.begin

    def wrong(self, found, rates):
        begin(self, found, [[[0.9 * rate for rate in group] for group in each] for each in rates])

    monkeypatch.setattr(Moves, "begin", wrong)
    result = optrun(*VERIFIED, "--verify-batched", "1")
    assert result.code == 1
    assert "P(better)" in result.out
    assert "in a batch and by itself a run is not the same" in " ".join(result.err.split())


def test_a_batch_cannot_be_verified_where_there_is_none(study, optrun):
    result = optrun(*VERIFIED[:-1], "processes", "--verify-batched", "1")
    assert result.code == 2
    assert "exclude each other" in result.err
    assert optrun(*VERIFIED, "--verify-batched", "0").code == 2

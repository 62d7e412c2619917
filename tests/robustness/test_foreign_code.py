"""Code that came from somebody else is not executed before the user has said so, whatever command is used.

The truth is a mark that each file of the code leaves when it is executed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ..cli.conftest import folder, optrun  # noqa: F401  (fixtures)

HELPER = "with open({mark!r}, 'a') as file: file.write('helper\\n')\nSCALE = {scale}\n"
MINE = """\
with open({mark!r}, 'a') as file: file.write('mine\\n')
import torch
from {helper} import SCALE
from optrun.experiments import Hook
class Net(torch.nn.Module):
    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.layer = torch.nn.Linear(input_shape[0], num_outputs)
    def forward(self, x):
        return SCALE * self.layer(x.flatten(1))
class Watch(Hook): ...
def schedule(step): return 1.0
class Bowl(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(2))
    def forward(self, x):
        return (self.w ** 2).sum().expand(len(x))
"""
#: Ways in which a configuration names code.
NAMED = {
    "model": "model: ./mine.py:Net",
    "hook": "hooks: ['./mine.py:Watch']",
    "schedule": "schedule: ./mine.py:schedule",
    "function": "hooks: [{name: final_ops, functions: ['./mine.py:schedule']}]",
}
LOOKING = (
    "validate my.yaml", "validate my.yaml --static", "validate my.yaml --json", "plan my.yaml --no-probe",
    "config my.yaml", "config my.yaml --origins", "lr-find my.yaml --steps 20", "plot schedule my.yaml",
    "describe ./mine.py:Watch", "describe hook/./mine.py:Watch", "list ./mine.py",
    "trajectories ./mine.py:Bowl sgd --steps 2", "config tiny.yaml hooks=[./mine.py:Watch]",
)  # fmt: skip
STORED = (
    "resume half", "eval half", "eval half --split val --json", "train runs/half/config.yaml",
    "plan runs/half/config.yaml", "lr-find runs/half/config.yaml --steps 20",
    "train runs/half/config.yaml --name other", "train runs/half/config.yaml --dry-run",
    "verify-resume runs/half/config.yaml --steps 2", "compare run:half run:half --no-train",
    "compare runs/half/config.yaml tiny.yaml --no-tune --seeds 2", "train extends.yaml", "validate extends.yaml",
    "compare entries.yaml --no-tune --seeds 2", "validate runs/half/config.yaml",
    "sweep runs/half/config.yaml optimizer.lr=0.1,0.2 --seeds 1", "config runs/half/config.yaml",
)  # fmt: skip
READING = ("runs", "show half", "diff half half", "plot half", "show half --json", "train tiny.yaml init.from=half")


def configuration(named: str) -> str:
    return f"extends: tiny.yaml\ntrain: {{epochs: null, steps: 4}}\nlog: {{every: 1 steps}}\n{named}\n"


@pytest.fixture
def marks(folder, monkeypatch):  # noqa: F811
    """Return a function that gives what was executed since the last call, of the code in the folder."""
    helper = f"fc_helper_{abs(hash(folder)):x}"
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("OPTRUN_STATE_DIR", str(folder / "state"))
    mark = folder / "executed"
    (folder / f"{helper}.py").write_text(HELPER.format(mark=str(mark), scale=1))
    (folder / "mine.py").write_text(MINE.format(mark=str(mark), helper=helper))
    (folder / "my.yaml").write_text(
        f"extends: tiny.yaml\ntrain: {{epochs: null, steps: 4}}\nlog: {{every: 1 steps}}\n{NAMED['model']}\n"
    )

    def executed() -> list[str]:
        found = mark.read_text().split() if mark.exists() else []
        mark.unlink(missing_ok=True)
        return found

    executed.helper = folder / f"{helper}.py"
    return executed


def forget(folder: Path) -> None:  # noqa: F811
    """Be another user, or another machine."""
    shutil.rmtree(folder / "state", ignore_errors=True)


def forget_modules(marks) -> None:
    """Be another process: what was imported is imported anew."""
    import sys

    for name in [name for name in sys.modules if name.startswith(("fc_helper_", "optrun_user_"))]:
        del sys.modules[name]


#: Each way with a part of what looks, so that each command comes up once; all with all of it are slow.
PARTS = [(way, LOOKING[turn :: len(NAMED)]) for turn, way in enumerate(NAMED)]


@pytest.mark.parametrize(
    ("way", "looking"), [*PARTS, *(pytest.param(way, LOOKING, marks=pytest.mark.slow) for way in NAMED)], ids=str
)
def test_commands_that_look_ask_before_they_execute(optrun, folder, marks, way, looking):  # noqa: F811
    (folder / "my.yaml").write_text(
        f"extends: tiny.yaml\ntrain: {{epochs: null, steps: 4}}\nlog: {{every: 1 steps}}\n{NAMED[way]}\n"
    )
    for line in looking:
        asked = optrun(*line.split())
        assert (asked.code, marks()) == (2, []), (line, asked)
        said = asked.err + asked.out
        assert ("--allow-code" in said, "mine.py" in said) == (True, True), (line, said)
    assert optrun("train", "my.yaml", "--name", "half", "-q").code == 0
    assert marks() == ["mine", "helper"]
    for line in looking:
        done = optrun(*line.split())
        assert done.code == 0 or (done.code == 1 and "lr-find" in line), (line, done)
    forget_modules(marks)
    marks.helper.write_text(HELPER.format(mark=str(folder / "executed"), scale=2) + f"# {way}\n")
    for line in looking:
        asked = optrun(*line.split())
        assert (asked.code, marks()) == (2, []), (line, asked)
        assert marks.helper.name in asked.err + asked.out, (line, asked)
    assert optrun(*looking[0].split(), "--allow-code").code == 0
    assert optrun(*looking[0].split()).code == 0, "asked once"


@pytest.mark.parametrize(
    "line",
    ["describe model/./mine.py:Net", "list ./mine.py", "trajectories ./mine.py:Bowl sgd --steps 2", "validate my.yaml"],
)
def test_what_was_allowed_once_is_not_asked_for_again(optrun, folder, marks, line):  # noqa: F811
    asked = optrun(*line.split())
    assert (asked.code, marks()) == (2, []), asked
    assert "if it is yours, or you have read it, add --allow-code" in asked.err + asked.out
    assert optrun(*line.split(), "--allow-code").code == 0
    assert optrun(*line.split()).code == 0
    forget_modules(marks)
    marks.helper.write_text(HELPER.format(mark=str(folder / "executed"), scale=3) + f"# {line}\n")
    marks()
    assert (optrun(*line.split()).code, marks()) == (2, [])


def test_a_dry_run_is_remembered(optrun, folder, marks):  # noqa: F811
    assert optrun("validate", "my.yaml").code == 2
    assert optrun("train", "my.yaml", "--dry-run").code == 0
    assert optrun("validate", "my.yaml").code == 0


RECORDS = ["whole", "of an earlier version", "without a record"]


@pytest.mark.parametrize(
    ("record", "stored"),
    [
        *((record, STORED[turn :: len(RECORDS)]) for turn, record in enumerate(RECORDS)),
        *(pytest.param(record, STORED, marks=pytest.mark.slow) for record in RECORDS),
    ],
    ids=str,
)
def test_what_is_stored_with_a_run_is_executed_only_if_it_is_known_here(optrun, folder, marks, record, stored):  # noqa: F811
    """The record in the folder, which whoever made it has written, is no reason."""
    assert optrun("train", "my.yaml", "--name", "half", "-q").code == 0
    status = folder / "runs/half/status.json"
    status.write_text(json.dumps({**json.loads(status.read_text()), "state": "interrupted"}))
    env = folder / "runs/half/env.json"
    known = json.loads(env.read_text())
    if record == "of an earlier version":
        files = {str(folder / name): sha for name, sha in known["code"].items()}
        env.write_text(
            json.dumps({key: known[key] for key in known if key not in ("project", "run")} | {"code": files})
        )
    elif record == "without a record":
        env.write_text("{}")
    (folder / "extends.yaml").write_text("extends: runs/half/config.yaml\n")
    (folder / "entries.yaml").write_text("entries:\n  a: {extends: runs/half/config.yaml}\n  b: {extends: tiny.yaml}\n")
    forget(folder)
    forget_modules(marks)
    marks()
    for line in stored:
        asked = optrun(*line.split())
        assert (asked.code, marks()) == (2, []), (line, asked)
        assert "--allow-code" in asked.err + asked.out, (line, asked)
    for line in READING:
        done = optrun(*line.split())
        assert marks() == [], (line, done)
        assert done.code == 0 or "init" in line, (line, done)
    assert not (folder / "state").exists()
    assert optrun("eval", "half", "--allow-code").code == 0
    assert marks() == ["mine", "helper"]
    for line in ("eval half", "validate runs/half/config.yaml", "train runs/half/config.yaml"):
        asks = record == "without a record" and line == "eval half"  # nothing says what the run was made with
        assert optrun(*line.split()).code == (2 if asks else 0), line


def test_files_that_were_trusted_apart_are_not_trusted_together(optrun, folder, marks):  # noqa: F811
    """A run may combine files of two projects of the user's into something that the user never had."""
    (folder / "other.py").write_text(
        "with open('executed', 'a') as file: file.write('other\\n')\ndef schedule(step): return 1.0\n"
    )
    (folder / "other.yaml").write_text("extends: tiny.yaml\nschedule: ./other.py:schedule\n")
    for name in ("my", "other"):
        assert optrun("train", f"{name}.yaml", "-q").code == 0
        assert optrun("validate", f"{name}.yaml").code == 0
    (folder / "both.yaml").write_text("extends: my.yaml\nschedule: ./other.py:schedule\n")
    asked = optrun("validate", "both.yaml")
    assert (asked.code, "--allow-code" in asked.out) == (2, True), asked
    assert optrun("train", "both.yaml", "-q").code == 0
    assert optrun("validate", "both.yaml").code == 0


def test_a_file_that_changes_after_the_check_is_not_executed(optrun, folder, marks):  # noqa: F811
    """An import in a function happens long after the check."""
    late = marks.helper.with_name(f"{marks.helper.stem}_late.py")
    late.write_text("VALUE = 1\n")
    code = f"def schedule(step):\n    import {late.stem}\n    return float({late.stem}.VALUE)\n"
    (folder / "mine.py").write_text(code + "class Watch: ...\n")
    (folder / "my.yaml").write_text("extends: tiny.yaml\nschedule: ./mine.py:schedule\n")
    assert optrun("train", "my.yaml", "-q").code == 0
    from optrun.experiments.registry.permissions import consenting
    from optrun.experiments.training.load import load_config

    forget_modules(marks)
    with consenting("known"):
        config = load_config("my.yaml")
    late.write_text("with open('executed', 'a') as file: file.write('late\\n')\nVALUE = 1\n")
    with pytest.raises(Exception, match="has changed since it was checked"):
        config.schedule.component.build(0)
    assert marks() == []

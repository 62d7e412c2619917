"""SIGINT and SIGTERM at any time from the first line of `main()` on: right exit code, no traceback, no step lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from . import lives
from .processes import WAIT_SECS, ForkServer, kill, start
from .sweep import rows_of, weights_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sends signals, and reads /proc")

SEED = 6
NUM_QUICK, NUM_ALL = 12, 200
TRAIN_SECS = 1.5  # what the configuration takes, imports aside
CONFIG = """\
data: {name: gaussian_classes, num_examples: 400, batch_size: 20}
model: {name: mlp, hidden: [8]}
loss: cross_entropy
metrics: [accuracy]
optimizer: {name: mom, lr: 0.05}
updates: [ema]
train: {steps: 300}
eval: {every: 5 steps}
checkpoint: {every: 3 steps}
log: {every: 1 steps, to: [jsonl, tensorboard]}
"""
WHOLE = ["train", "long.yaml", "--name", "run", "-q"]
# The first thing that main() does is to install the handlers. This says when it has, so that no signal comes before.
MAIN = """\
import os, sys
from optrun.experiments.system import signals
install = signals.install
def and_tell():
    install()
    os.write(int(sys.argv.pop()), b"!")
signals.install = and_tell
from optrun.cli import main
main()
"""


def start_main(args: list[str], cwd: Path) -> subprocess.Popen[bytes]:
    """Start optrun, and return when its handlers are there."""
    reader, writer = os.pipe()
    process = start([sys.executable, "-c", MAIN, *args, str(writer)], cwd, pass_fds=[writer])
    os.close(writer)
    assert os.read(reader, 1) == b"!"
    os.close(reader)
    return process


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[Path, float]:
    """Return the folder of a run that nothing disturbed, and how long it took from its first line."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "long.yaml").write_text(CONFIG)
    process = start_main(WHOLE, folder)
    began = time.monotonic()
    _, err = process.communicate(timeout=WAIT_SECS)
    assert process.returncode == 0, err
    return folder / "runs/run", time.monotonic() - began


def disturb(folder: Path, rng: random.Random, longest: float) -> dict[str, Any]:
    """Train with one signal at a random time, or two; return how it ended."""
    first = rng.choice((signal.SIGINT, signal.SIGTERM))
    second = rng.choice((None, None, signal.SIGINT, signal.SIGTERM))
    process = start_main(["train", "long.yaml", "--name", "run"], folder)
    if rng.random() < 0.5:  # anywhere: most of it is imports
        time.sleep(rng.random() * longest)
    else:  # while it trains, evaluates and saves
        while not (folder / "runs/run/metrics.jsonl").exists() and process.poll() is None:
            time.sleep(0.002)
        time.sleep(rng.random() * TRAIN_SECS)
    try:
        process.send_signal(first)
        if second is not None:
            time.sleep(rng.random() * 0.05)
            process.send_signal(second)
        out, err = process.communicate(timeout=WAIT_SECS)
    finally:
        kill(process)
    # Python puts the system's own handlers back when it ends; what a shell reports for those is the same number.
    at_the_very_end = process.returncode < 0
    code = 128 - process.returncode if at_the_very_end else process.returncode
    words = {"out": out.decode(), "err": err.decode(), "at the very end": at_the_very_end}
    return {"first": first, "second": second, "code": code, **words}


def check_one(server: ForkServer, folder: Path, rng: random.Random, longest: float, undisturbed: Path) -> str:
    end = disturb(folder, rng, longest)
    run_dir, code, err = folder / "runs/run", end["code"], end["err"]
    assert "Traceback" not in err + end["out"], end
    was_in_time = code != 0
    allowed = {128 + end["first"]} | ({128 + end["second"]} if end["second"] else set())
    assert not was_in_time or code in allowed, end
    if end["second"] != signal.SIGINT and not end["at the very end"]:
        assert code in (0, 128 + end["first"]), end
    state = json.loads((run_dir / "status.json").read_text()) if (run_dir / "status.json").exists() else {}
    in_time_to_save = was_in_time and end["second"] != signal.SIGINT and state.get("state") == "interrupted"
    if in_time_to_save and state.get("step"):
        saved = sorted((run_dir / "checkpoints").glob("step-*.safetensors"))
        assert int(saved[-1].name.split("-")[1]) == state["step"], "a step was lost"
        assert rows_of(run_dir)[-1]["step"] == state["step"], "a row was lost"
    again = server.run(lives.cli_life, folder=folder, arguments=WHOLE, root=folder / "runs")
    assert again.code == 0, (end, again)
    assert weights_of(run_dir) == weights_of(undisturbed), end
    assert rows_of(run_dir) == rows_of(undisturbed), end
    assert not list(run_dir.rglob(".tmp-*"))
    return "before the run" if not state else f"{state['state']}"


def sweep(server: ForkServer, tmp_path: Path, undisturbed: tuple[Path, float], numbers: range) -> dict[str, int]:
    moments: dict[str, int] = {}
    for number in numbers:
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "long.yaml").write_text(CONFIG)
        rng = random.Random(f"{SEED}-{number}")
        try:
            moment = check_one(server, folder, rng, undisturbed[1] * 1.02, undisturbed[0])
        except AssertionError as error:
            error.add_note(f"replay: python -m tests.robustness.test_signals {number}")
            raise
        moments[moment] = moments.get(moment, 0) + 1
    sys.stdout.write(f"\n{len(numbers)} runs with signals, of seed {SEED}: {moments}\n")
    return moments


@pytest.mark.sample
@pytest.mark.parametrize("first", range(0, NUM_QUICK, 3))
def test_signals_at_random_times_lose_nothing(server, tmp_path, undisturbed, first):
    assert sum(sweep(server, tmp_path, undisturbed, range(first, first + 3)).values()) == 3


@pytest.mark.slow
def test_many_signals_at_random_times_lose_nothing(server, tmp_path, undisturbed):
    moments = sweep(server, tmp_path, undisturbed, range(NUM_ALL))
    assert moments["interrupted"] > NUM_ALL / 10
    assert moments["before the run"] > NUM_ALL / 10


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        whole = Path(place) / "whole"
        whole.mkdir()
        (whole / "long.yaml").write_text(CONFIG)
        began = time.monotonic()
        assert start_main(WHOLE, whole).wait() == 0
        took = time.monotonic() - began
        helper = ForkServer()
        for argument in sys.argv[1:]:
            again = Path(place) / argument
            again.mkdir()
            (again / "long.yaml").write_text(CONFIG)
            moment = check_one(helper, again, random.Random(f"{SEED}-{argument}"), took, whole / "runs/run")
            sys.stdout.write(f"{argument}: {moment}\n")
        helper.close()

"""SIGKILL and SIGTERM of runs on streams: they go on at their place, or read again what they had read, bit for bit."""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from optrun.experiments.system.liveness import is_alive

from . import lives
from .sweep import Sweep, report, the_seed

STREAMS = Path(__file__).with_name("streams.py")
CONFIG = """
name: swept
data: {{name: "./streams.py:parts", kind: {kind}, workers: {workers}, batch_size: 8, eval_batches: 3}}
model: logistic
loss: cross_entropy
metrics: [accuracy]
optimizer: {{name: adam, lr: 0.05}}
schedule: {{name: plateau, patience: 0, factor: 0.5, threshold: 0.5}}
updates: [ema]
train: {{steps: {steps}}}
eval: {{every: 8 steps, weights: raw}}
checkpoint: {{every: 4 steps, keep: 30, best: true}}
log: {{every: 1 step}}
hooks: ["./parts.py:Drawing", "./streams.py:Ending"]
"""


class Streaming(Sweep):
    """A run on a stream, its undisturbed life, and lives that are ended."""

    def __init__(self, server, folder, kind: str, workers: int, steps: int):
        super().__init__(server, folder, CONFIG.format(kind=kind, workers=workers, steps=steps))
        shutil.copy(STREAMS, folder / "streams.py")

    def live(self, root, **options):
        options.pop("bug", None)
        return self.server.run(lives.command_life, folder=self.folder, target=self.target, root=root, **options)


@pytest.mark.parametrize(
    ("kind", "workers"),
    [("Placed", 2), *(pytest.param(kind, 0, marks=pytest.mark.sample) for kind in ("Placed", "Counted"))],
)
def test_a_run_on_a_stream_that_is_ended_goes_on(server, fast_folder, kind, workers):
    swept = Streaming(server, fast_folder / f"{kind}-{workers}", kind, workers, steps=20)
    assert swept.truth["state"] == "done"
    assert swept.truth["summary"]["stream"]["resumes_by"] == ("state" if kind == "Placed" else "count")
    root = swept.new_root()
    # within the first reading; within the next one, which begins at 9
    (swept.folder / "ends").write_text("7 SIGTERM\n14 SIGKILL")
    assert swept.live(root).code == 143
    assert swept.live(root, kill_group=False).killed
    orphans = [int(pid) for pid in (swept.folder / "workers").read_text().split()]
    assert len(orphans) == workers
    assert swept.finish(root) == []
    limit = time.monotonic() + 30
    while any(map(is_alive, orphans)) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not any(map(is_alive, orphans))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["Placed", "Counted"])
def test_a_run_on_a_stream_ended_again_and_again_goes_on(server, fast_folder, kind, workers):
    """At random times by SIGKILL, and after random steps by SIGKILL or SIGTERM."""
    seed = the_seed("tests/robustness/test_kill_streams.py -m '' -k again_and_again")
    numbers = random.Random(f"{seed} {kind} {workers}")
    swept, found, ended = Streaming(server, fast_folder / f"{kind}-{workers}", kind, workers, steps=40), [], 0
    assert swept.truth["summary"]["steps"] == 40
    started = time.monotonic()
    assert swept.live(swept.new_root()).code == 0
    takes = time.monotonic() - started
    for _ in range(5):
        root, ends = swept.new_root(), swept.folder / "ends"
        for _ in range(numbers.randrange(1, 5)):
            if numbers.random() < 0.5:
                code = swept.live(root, kill_after=numbers.uniform(0, takes)).code
            else:
                step = numbers.randrange(1, 41)
                ends.write_text(f"{step} {numbers.choice(['SIGKILL', 'SIGTERM'])}")
                code = swept.live(root).code
            assert code in (0, 143, -signal.SIGKILL)
            ended += code != 0
            ends.unlink(missing_ok=True)
        found += swept.finish(root)
        shutil.rmtree(root)
    report(f"5 runs on {kind}, {workers} workers, ended again and again", ended, found)
    assert ended

"""Every byte that a resume or a report reads is written by `storage`: an audit hook sees all that is written."""

from __future__ import annotations

import re

import pytest

from . import lives
from .sweep import Sweep, config

# What may be written by others, because it can be made again, or has no content.
# And what the lives of these tests report, beside the folder of runs.
DERIVED = re.compile(r"(.*/)?(root-\d+-saves|log\.txt|[^/]*\.lock|\.worker-[^/]*|events\.out\.tfevents\.[^/]*)")


@pytest.fixture(scope="module")
def watched(server, fast_folder):
    text = config().replace("log: {every: 1 step}", "log: {every: 1 step, to: [jsonl, tensorboard, csv]}")
    for name in ("sgd", "mom"):
        folder = fast_folder / "watched"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(text.replace("name: adam", f"name: {name}"))
    return Sweep(server, fast_folder / "watched", text)


def written(watched, life, **arguments):
    """Return (paths written through storage, paths written otherwise) of a life."""
    log = watched.folder / "written.txt"
    log.unlink(missing_ok=True)
    options = {"life": life.__name__, "log": log, "arguments": arguments}
    ended = watched.server.run(lives.watched_life, folder=watched.folder, **options)
    assert ended.code == 0, ended.output
    lines = log.read_text().splitlines()
    through, beside = ({line[2:] for line in lines if line[0] == kind} for kind in "+-")
    return through, beside


def test_a_run_is_written_by_storage_alone(watched):
    root = watched.new_root()
    through, beside = written(watched, lives.train_life, target=watched.target, root=root)
    names = {re.sub(r"\.tmp-\d+-", "", path.rpartition("/")[2]) for path in through}
    assert {"config.yaml", "origins.json", "env.json", "status.json", "summary.json"} <= names
    assert {"metrics.jsonl", "metrics.csv"} <= names
    assert not [path for path in beside if not DERIVED.fullmatch(path)]
    assert {path.rpartition("/")[2] for path in beside} >= {"log.txt", ".lock"}  # the hook does see them


def test_a_resumed_run_is_as_well(watched):
    root = watched.new_root()
    assert watched.live(root, dies_after_save=4).killed
    through, beside = written(watched, lives.train_life, target=watched.target, root=root)
    assert any("checkpoints/" in path for path in through)
    assert not [path for path in beside if not DERIVED.fullmatch(path)]


def test_an_evaluation_writes_nothing_but_touches_a_lock(watched):
    root = watched.new_root()
    assert watched.live(root).code == 0
    through, beside = written(watched, lives.evaluate_life, root=root)
    assert not through
    assert not [path for path in beside if not path.endswith("/.lock")]


def test_a_comparison_is_written_by_storage_alone(watched):
    root = watched.new_root()
    targets = ["sgd.yaml", "mom.yaml"]
    through, beside = written(watched, lives.compare_life, targets=targets, root=root)
    names = {re.sub(r"\.tmp-\d+-", "", path.rpartition("/")[2]) for path in through}
    assert {"comparison.json", "pairing.json", "status.json", "metrics.jsonl"} <= names
    ours = ("worker-calls.json", "a-worker-has-begun")  # of this test's own processes
    assert not [path for path in beside if not DERIVED.fullmatch(path) and not path.endswith(ours)]

"""A power cut at any call, with all that a disk may do to what was not flushed: an old or a new state loads."""

from __future__ import annotations

import json
import random
import shutil

import pytest

from optrun.experiments.errors import OptrunError
from optrun.experiments.run_directory.rows import RowLog
from optrun.experiments.run_directory.run_dir import RunDir
from optrun.experiments.training.session.saved_state import load_latest_state

from . import lives
from .disk import Disk
from .sweep import Sweep, report, the_seed

sample, slow = pytest.mark.sample, pytest.mark.slow


@pytest.mark.parametrize(
    ("num_states", "every"), [pytest.param(100, 25, marks=sample), pytest.param(3000, 15, marks=slow)]
)
def test_after_a_power_cut_an_old_or_a_new_checkpoint_loads_and_the_run_goes_on(server, fast_folder, num_states, every):
    seed = the_seed("tests/robustness/test_power_loss.py -m ''")
    folder = fast_folder / f"power-{num_states}"
    count, found = bad_states(server, folder, seed=seed, num_states=num_states, finish_every=every)
    assert count >= num_states
    report(f"power cuts, each {every}th trained to its end", count, found)


def bad_states(server, folder, *, seed, num_states, bug=None, finish_every=0, stop_early=False):
    """Return (number of states tried, what is wrong with them).

    Args:
        server: forks the run.
        folder: for all that is written.
        seed: of the states.
        num_states: at least so many, spread evenly over the calls.
        bug: is planted in the run.
        finish_every: trains so many states' runs to their ends; 0 trains none.
        stop_early: whether the first bad state is enough.
    """
    swept = Sweep(server, folder, bug=bug)
    root, log = swept.new_root(), folder / "log.json"
    ended = server.run(lives.recorded_life, folder=folder, target=swept.target, root=root, log=log, bug=bug)
    assert ended.code == 0, ended.output
    disk, numbers, found, count = Disk(json.loads(log.read_text())), random.Random(seed), [], 0
    each = -(-num_states // len(disk.log))
    steps = {args[0] for name, *args in disk.log if name == "saved"}
    while disk.advance():
        for _ in range(each):
            count += 1
            cut = swept.new_root()
            disk.cut(numbers, cut)
            problems = check_state(cut, disk.saved, steps)
            if finish_every and count % finish_every == 0:
                problems += swept.finish(cut)
            found += [f"after call {disk.position} {disk.log[disk.position - 1][:2]}: {what}" for what in problems]
            shutil.rmtree(cut)
            if found and stop_early:
                return count, found
    return count, found


def check_state(root, saved, steps):
    """Return what is wrong with a state: it must have the newest checkpoint that was reported, or one after it."""
    run, found = RunDir(root / "run"), []
    folder = run.checkpoints_path
    reports = []
    try:
        status = run.status()
        has_config = run.config_path.is_file() and run.config_path.read_bytes()
        if status and not (has_config and run.read_json("env.json") and run.read_json("origins.json")):
            found.append("a run with a status has no configuration")
        state = load_latest_state(folder, reports.append) if folder.is_dir() else None
    except OptrunError as error:
        return [repr(error)]
    newest, loaded = max(saved, default=None), state.step if state else None
    if newest is not None and (loaded is None or loaded < newest):
        found.append(f"step {newest} was saved, step {loaded} is what loads; {reports}")
    if loaded is not None and loaded not in steps:
        found.append(f"step {loaded} loads, which nobody saved")
    if reports:
        found.append(f"a power cut looks like damage: {reports}")
    if state is not None:
        rows = RowLog(run.metrics_path)
        try:
            rows.rewind(state.rows["offset"], state.rows["sha256"])
        except OptrunError as error:
            found.append(repr(error))
        rows.close()
    return found

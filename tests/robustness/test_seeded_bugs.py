"""The sweeps themselves are tested: each of these bugs, planted on purpose, must be found by one of them."""

from __future__ import annotations

import pytest

from .bugs import BUGS
from .sweep import Sweep, config, points
from .test_power_loss import bad_states

_IN_SAMPLE = ("rows_are_not_cut_back", "data_position_is_off_by_one", "files_are_written_in_place",
                 "average_is_lost", "files_are_not_flushed", "folders_are_not_flushed")  # fmt: skip

_CONFIG = {"best_checkpoint_is_forgotten": config(steps=12, lr=0.3)}  # whose best evaluation is not a late one


def _bugs(found_by: str):
    return [
        pytest.param(name, marks=pytest.mark.sample if name in _IN_SAMPLE else pytest.mark.slow)
        for name, bug in BUGS.items()
        if bug.found_by == found_by
    ]


def cases(names):
    """Return every fifth case of a sweep, those first where something has been saved, and something is still to do."""
    return sorted(points(names, 5), key=lambda case: abs(case[0] - 0.65 * len(names)))


@pytest.mark.parametrize("name", _bugs("kill"))
def test_the_kill_sweep_finds(server, fast_folder, name):
    swept = Sweep(server, fast_folder / name, _CONFIG.get(name), bug=name)
    tried = 0
    for at, fault in cases(swept.recording["names"]):
        tried += 1
        if found := swept.case(at, fault):
            print(f"{name}: found by case {tried}: {found[0][:150]}")  # noqa: T201
            return
    pytest.fail(f"{tried} cases did not find it")


@pytest.mark.parametrize("name", _bugs("power"))
def test_the_power_loss_model_finds(server, fast_folder, name):
    tried, found = bad_states(server, fast_folder / name, bug=name, seed=0, num_states=3000, stop_early=True)
    assert found, f"{tried} states did not find it"
    print(f"{name}: found by state {tried}: {found[0][:150]}")  # noqa: T201


def test_there_are_at_least_twelve():
    assert len(BUGS) >= 12

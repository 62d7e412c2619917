"""Several checkpoint hooks in one run: each keeps what it would keep alone, whatever the others do.

The truth is each hook alone, in a run of its own: with several, the folder holds the union of what each alone keeps.
"""

from __future__ import annotations

import itertools
import shutil

import pytest

from optrun.experiments import CheckpointHook, EvaluationHook, Every, Hook, train
from optrun.experiments.components.hooks.hook import Phase
from optrun.experiments.run_directory import checkpoints
from optrun.experiments.run_directory.checkpoint_files import list_checkpoints

from ...helpers import in_turn, run_steps, small_train_op

LAST = 24
VALUES = {"val/a": [3, 9, 4, 8, 7, 1, 0, 5], "val/b": [5, 4, 6, 3, 9, 2, 8, 7]}  # at 3, 6, …; best at 6, and at 18
RULES = {
    "often": {"every": Every(steps=2), "keep": 2},
    "seldom": {"every": Every(steps=5), "keep": 3},
    "first": {"every": Every(steps=7), "keep": 2, "best": "val/a", "mode": "max"},
    "second": {"every": Every(steps=50), "keep": 2, "best": "val/b", "mode": "min"},
    "many": {"every": Every(steps=4), "keep": 9},
}
SETS = [names for size in (2, 5) for names in itertools.combinations(RULES, size)]
THREES = list(itertools.combinations(RULES, 3))
STOPS = [(), (13,), (6, 18, 19)]


def go(folder, names, last=LAST, *more):
    op = small_train_op()

    def measure(interrupted):
        return {name: float(values[op.global_step // 3 - 1]) for name, values in VALUES.items()}

    hooks = [CheckpointHook(**RULES[name]) for name in names]
    evaluation = EvaluationHook(Every(steps=3), ["val"], final=[])
    run_steps(op, last, evaluation, *hooks, *more, checkpoint_dir=folder, evaluators={"val": measure})
    return hooks


def steps_in(folder):
    return {file.step for file in list_checkpoints(folder)}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Return what each hook keeps in a run of its own, by the steps at which the run was stopped and resumed."""
    kept = {}

    def look(name, stops):
        if (name, stops) not in kept:
            folder = tmp_path_factory.mktemp("alone")
            for last in (*stops, LAST):
                go(folder, [name], last)
            kept[name, stops] = steps_in(folder)
        return kept[name, stops]

    return look


@pytest.mark.parametrize(
    ("names", "stops"),
    [
        *in_turn(SETS, STOPS, others=pytest.mark.slow),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in itertools.product(THREES, STOPS)),
    ],
    ids=str,
)
def test_each_keeps_what_it_keeps_alone(tmp_path, names, stops, alone):
    for last in (*stops, LAST):
        hooks = go(tmp_path, names, last)
    assert steps_in(tmp_path) == set().union(*(alone(name, stops) for name in names))
    best = {"first": (6, 9.0), "second": (18, 2.0)}
    for name, hook in zip(names, hooks, strict=True):
        assert (hook.best_step, hook.best_value) == best.get(name, (None, None))


class Copy(Hook):
    """Copy the checkpoints when one was saved and none is deleted yet, as a kill leaves them."""

    phase = Phase.PERSIST

    def __init__(self, source, target, step):
        self.source, self.target, self.step = source, target, step

    def after_save(self, session, step, path):
        if step == self.step and not self.target.exists():
            shutil.copytree(self.source, self.target)


@pytest.mark.parametrize("step", [2, 5, 6, 10, 14, 20])
def test_a_kill_between_a_save_and_what_it_deletes_changes_nothing(tmp_path, step, alone):
    names = ("often", "seldom", "first")
    go(tmp_path / "run", names, LAST, Copy(tmp_path / "run", tmp_path / "killed", step))
    assert max(steps_in(tmp_path / "killed")) == step
    go(tmp_path / "killed", names)
    assert steps_in(tmp_path / "killed") == steps_in(tmp_path / "run")
    assert steps_in(tmp_path / "run") == set().union(*(alone(name, ()) for name in names))


def test_what_two_save_at_one_step_is_one_file_of_both(tmp_path):
    saved = []

    class Count(Hook):
        def after_save(self, session, step, path):
            saved.append(step)

    go(tmp_path, ("often", "many"), 8, Count())
    assert saved == [2, 4, 6, 8]
    owners = {file.step: checkpoints.kept_by(file) for file in list_checkpoints(tmp_path)}
    assert owners == {4: {"checkpoint", "checkpoint_2"}, 6: {"checkpoint"}, 8: {"checkpoint", "checkpoint_2"}}


def test_a_hook_that_is_gone_loses_nothing_and_one_that_is_new_takes_nothing(tmp_path):
    go(tmp_path, ("often", "many"), 12)
    kept = steps_in(tmp_path)
    assert kept == {4, 8, 10, 12}
    go(tmp_path, ("often",), 18)
    assert steps_in(tmp_path) == {4, 8, 12, 16, 18}  # 10 was of the first alone; nobody asks the second any more


def test_a_hook_that_takes_the_name_of_another_keeps_what_was_best_for_that(tmp_path):
    go(tmp_path, ("often", "first"), 14)
    assert steps_in(tmp_path) == {6, 7, 12, 14}
    go(tmp_path, ("often", "second"), 21)
    assert steps_in(tmp_path) == {6, 18, 20, 21}  # best by val/a, and by val/b; of those that are newest two stay


def test_what_is_saved_by_hand_stays(tmp_path):
    class ByHand(Hook):
        trigger = Every(steps=5)

        def after_run(self, ctx, values):
            ctx.session.save_checkpoint()

    go(tmp_path, ("often",), 20, ByHand())
    assert steps_in(tmp_path) == {5, 10, 15, 18, 20}
    go(tmp_path, ("often",), 24)
    assert steps_in(tmp_path) == {5, 10, 15, 20, 22, 24}


def test_checkpoints_without_a_record_are_every_hooks_own(tmp_path):
    """Versions before there was a record had one rotation for all."""
    save = checkpoints.save

    def without(folder, step, tensors, facts, **options):
        return save(folder, step, tensors, {name: facts[name] for name in facts if name != "kept_by"}, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "save", without)
        go(tmp_path, ("many",), 12)
    assert steps_in(tmp_path) == {4, 8, 12}
    go(tmp_path, ("often", "seldom"), 13)
    assert steps_in(tmp_path) == {8, 12, 13}


def test_the_documented_hook_leaves_the_sections_best_alone(tmp_path):
    overrides = ["optimizer.lr=0.3", "schedule=constant", "train.epochs=9", "train.threads=1"]
    hook = "hooks=[{name: checkpoint, every: 10 steps, keep: 5}]"
    run = train("mom", [*overrides, hook], name="run", root=tmp_path)
    best = run.summary["best"]["step"]
    assert [file.step for file in run.checkpoints] == sorted({best, 120, 130, 140, 150, 153})
    assert run.checkpoint("best").step == best

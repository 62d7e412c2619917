"""Plans: what they say of a run is what the run does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from optrun.experiments import Every, Hook, build, load_config, plan, train
from optrun.experiments.components.hooks.evaluation import EvaluationHook
from optrun.experiments.errors import DataError, DivergedError, OptrunError
from optrun.experiments.run_directory import checkpoints
from optrun.experiments.run_directory.checkpoint_files import list_checkpoints
from optrun.experiments.studies.plan import run_plan
from optrun.experiments.studies.plan.costs import probe
from optrun.experiments.studies.plan.firing import firing
from optrun.experiments.training.evaluator import Evaluator
from optrun.experiments.training.session.due_hooks import DueHooks
from optrun.experiments.training.step.parts import parts_of
from optrun.experiments.training.step.penalty import Penalty
from optrun.experiments.training.step.train_op import TrainOp

from ..helpers import small_train_op

TINY = {
    "data": {"name": "gaussian_classes", "num_examples": 200, "batch_size": 20},  # 120 to train on, 6 steps an epoch
    "model": "logistic",
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "mom", "lr": 0.1},
    "train": {"epochs": 3},
}


@pytest.fixture(autouse=True)
def _short_probe(monkeypatch):
    """Measure for a tenth of a second instead of a whole one."""
    monkeypatch.setattr(run_plan, "probe", lambda experiment: probe(experiment, 0.1))


def tiny(**overrides):
    return load_config(TINY, {key.replace("__", "."): value for key, value in overrides.items()})


# ---- the parts of a step ---------------------------------------------------------------------------------------------


class Traced:
    """Notes what a step really does, by putting a note into everything that it could call."""

    def __init__(self, op, monkeypatch):
        self.events: list[str] = []
        self.op = op
        note = self.noting
        monkeypatch.setattr(op.data, "batch", note("batch", op.data.batch))
        forward = note("forward", op.forward)
        forward._orig_mod = op.forward  # as a compiled model names what it stands for
        monkeypatch.setattr(op, "forward", forward)
        monkeypatch.setattr(op, "loss", note("loss", op.loss))
        monkeypatch.setattr(Penalty, "__call__", note("l2", Penalty.__call__))
        monkeypatch.setattr(torch.Tensor, "backward", note("backward", torch.Tensor.backward))
        if op.gate is not None:
            monkeypatch.setattr(op.gate, "passes", note("gate", op.gate.passes))
        monkeypatch.setattr(nn.utils, "clip_grad_norm_", note("clip_norm", nn.utils.clip_grad_norm_))
        monkeypatch.setattr(nn.utils, "clip_grad_value_", note("clip_value", nn.utils.clip_grad_value_))
        monkeypatch.setattr(op.optimizer, "step", note("optimizer", op.optimizer.step))
        for update in op.updates:
            monkeypatch.setattr(update, "apply", note("update", update.apply))
        monkeypatch.setattr(TrainOp, "__setattr__", lambda op, name, value: self.set(op, name, value))

    def noting(self, event, function):
        def call(*args, **kwargs):
            self.events.append(event)
            return function(*args, **kwargs)

        return call

    def set(self, op, name, value):
        if name == "global_step":
            self.events.append(name)
        object.__setattr__(op, name, value)


@pytest.mark.parametrize("looks", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"on_nan": None},
        {"on_nan": "skip", "clip_value": 1.0},
        {"clip_norm": 1.0, "clip_value": 1.0, "l2": 0.1, "updates": ["ema"]},
    ],
)
def test_the_parts_are_what_a_step_does_in_that_order(options, looks, monkeypatch):
    op = small_train_op(**options)
    traced = Traced(op, monkeypatch)
    op.run(None, traced.noting("after_gradients", lambda: None) if looks else None)
    expected = [part.name for part in parts_of(op, after_gradients=looks)]
    if op.gate is None and looks:
        assert "gate" not in expected
    assert traced.events == expected


def test_micro_batches_repeat_the_parts_from_forward_to_backward(monkeypatch):
    op = small_train_op(accumulate=4, l2=0.1)
    traced = Traced(op, monkeypatch)
    op.run()
    names = [part.name for part in parts_of(op)]
    first, last = names.index("forward"), names.index("backward")
    assert "4 micro-batches" in parts_of(op)[last].what
    assert traced.events == [*names[:first], *names[first : last + 1] * 4, *names[last + 1 :]]


@pytest.mark.parametrize("looks", [False, True])
def test_an_optimizer_that_evaluates_the_batch_holds_the_parts_of_an_evaluation(looks, monkeypatch):
    op = build(tiny(optimizer={"name": "sam"}, updates=["ema"], train__clip_norm=1.0)).train_op
    traced = Traced(op, monkeypatch)
    op.run(None, traced.noting("after_gradients", lambda: None) if looks else None)
    parts = parts_of(op, after_gradients=looks)
    outside = [part.name for part in parts if not part.within]
    inside = [part.name for part in parts if part.within == "optimizer"]
    again = [part.name for part in parts_of(op) if part.within]  # hooks look at the gradients of the first alone
    at = outside.index("optimizer") + 1
    assert traced.events == [*outside[:at], *inside, *again, *outside[at:]]


# ---- hooks -----------------------------------------------------------------------------------------------------------


class Watching(Hook):
    """Is called when it is due, and does nothing."""

    def __init__(self, trigger=None):
        self.trigger = trigger

    def after_run(self, ctx, values):
        pass


class Idle(Hook):
    """Defines nothing that a step could call."""


@pytest.mark.parametrize("num_steps", [1, 6, 7, 50])
@pytest.mark.parametrize(
    "trigger",
    [
        *(None, Every(steps=1), Every(steps=7), Every(steps=100), Every(epochs=1), Every(epochs=0.5)),
        *(Every(steps=7, first=1), Every(steps=7, first=20), Every(steps=3, first=50), Every(epochs=2, first=3)),
    ],
)
def test_hooks_fire_where_the_session_calls_them(trigger, num_steps):
    hook = Watching(trigger)
    due_hooks = DueHooks([hook], steps_per_epoch=6)
    fired = [step for step in range(1, num_steps + 1) if due_hooks.at(step).after_run]
    told = firing("watching", hook, 6, num_steps)
    assert list(told.first) == fired[: len(told.first)]
    assert len(told.first) == min(3, len(fired))
    assert (told.count, told.last) == (len(fired), fired[-1] if fired else None)


def test_a_clock_and_an_open_end_leave_counts_open():
    told = firing("a", Watching(Every(secs=5)), 6, 50)
    assert (told.trigger, told.first, told.last, told.count) == ("every 5 secs", (), None, None)
    told = firing("a", Watching(Every(steps=5)), 6, None)
    assert (told.first, told.last, told.count) == ((5, 10, 15), None, None)
    assert firing("a", Idle(), 6, 50).count == 0


def test_hooks_stand_in_the_order_of_their_phases():
    made = plan(tiny(hooks=[{"name": "norms", "every": "2 steps"}]), measure=False)
    names = [hook.name for hook in made.hooks]
    order = ["control", "observe", "evaluate", "persist"]
    assert [hook.phase for hook in made.hooks] == sorted((hook.phase for hook in made.hooks), key=order.index)
    assert names.index("logging") < names.index("norms") < names.index("evaluation") < names.index("checkpoint")
    assert [part.name for part in made.parts].count("gate") == 2, "it looks again after hooks that look at gradients"


# ---- rates, lengths, groups ------------------------------------------------------------------------------------------


def test_the_rates_are_those_of_the_run(tmp_path):
    schedule = {"name": "piecewise", "boundaries": [6, "50%"], "factors": [1, 0.5, 0.1]}
    made = plan(tiny(schedule=schedule, log__every=1), measure=False)
    assert [rate.step for rate in made.rates] == [0, 6, 9, 17]
    run = train(TINY, {"schedule": schedule, "log.every": 1}, root=tmp_path)
    logged = {row["step"] - 1: row["lr"] for row in run.rows if "lr" in row}  # a row tells the rate of its step
    for rate in made.rates:
        assert rate.at == logged[rate.step]
        assert rate.before == (logged[rate.step - 1] if rate.step else None)


def test_absolute_rates_take_the_place_of_the_optimizers():
    schedule = {"name": "piecewise", "boundaries": [4], "values": [3.0, 0.25]}
    made = plan(tiny(optimizer__lr=None, schedule=schedule), measure=False)
    assert [tuple(rate) for rate in made.rates] == [(0, None, 3.0), (4, 3.0, 0.25), (17, 0.25, 0.25)]


def test_a_schedule_that_watches_says_so():
    made = plan(tiny(schedule="plateau"), measure=False)
    assert "goes by val/loss" in made.notes[0]


@pytest.mark.parametrize("drop_last", [False, True])
def test_the_numbers_are_those_of_the_run(drop_last, tmp_path):
    overrides = {"data.batch_size": 50, "train.epochs": None, "train.steps": 7, "data.drop_last": drop_last}
    made = plan(load_config(TINY, overrides), measure=False)
    summary = train(TINY, overrides, root=tmp_path).summary
    assert (made.num_steps, made.num_epochs) == (summary["steps"], summary["epochs"])
    assert (made.num_examples, made.num_parameters) == (summary["examples"], summary["num_parameters"])
    assert made.splits == summary["splits"]


def test_groups_have_their_own_settings_and_all_parameters_between_them():
    groups = [{"match": "*bias", "lr": 0.01, "momentum": 0.5}]
    made = plan(tiny(optimizer={"name": "mom", "lr": 0.1, "groups": groups}), measure=False)
    rest, bias = made.groups
    assert (rest.settings["lr"], bias.settings["lr"], bias.settings["momentum"]) == (0.1, 0.01, 0.5)
    assert sum(group.num_parameters for group in made.groups) == made.num_parameters
    assert bias.num_tensors == len(bias.names) == 1
    assert not {"params", "fused", "lr_scale"} & set(rest.settings)


# ---- the probe -------------------------------------------------------------------------------------------------------


def test_saves_and_evaluations_are_those_of_the_run(tmp_path):
    overrides = {"checkpoint.every": 4, "checkpoint.best": False, "checkpoint.keep": 2, "eval.every": 5}
    made = plan(load_config(TINY, overrides))
    run = train(TINY, overrides, root=tmp_path)
    files = list_checkpoints(run.path / "checkpoints")
    assert made.saves.count == 5, "at 4, 8, 12 and 16, and at the end, 18"
    assert made.saves.num_best == 0
    assert len(files) == made.saves.most_files == 2
    assert files[-1].path.stat().st_size == pytest.approx(made.saves.num_bytes, abs=400)  # its JSON holds numbers
    assert made.num_evaluations == len([row for row in run.rows if "val/loss" in row]) == 3


@pytest.mark.parametrize(
    "rules",
    [
        [(5, ["val"])],
        [(5, ["val"]), (4, ["val"])],  # at 4, 5, 8, 10, 12, 15, 16, and at the end
        [(6, ["val"]), (9, ["train", "test"]), (9, ["val"])],  # both at 9 and 18
        [(50, ["val"]), (1, ["train"])],
        [(18, ["val"]), (18, ["train"])],  # what is known at the end is of the train part
    ],
)
def test_evaluations_are_those_of_all_evaluation_hooks(rules, tmp_path, monkeypatch):
    (every, _), *others = rules
    hooks = [{"name": "evaluation", "every": each, "splits": splits} for each, splits in others]
    overrides = {"eval.every": every, "hooks": hooks}
    made = plan(load_config(TINY, overrides))
    measured, during, steps = [], [], []
    measure, evaluate = Evaluator.__call__, EvaluationHook._evaluate

    def noting(evaluator, *args):
        measured.append(len(evaluator.part))
        return measure(evaluator, *args)

    def noting_step(hook, session):
        during.append(hook)
        steps.append(session.step)
        evaluate(hook, session)

    monkeypatch.setattr(Evaluator, "__call__", noting)
    monkeypatch.setattr(EvaluationHook, "_evaluate", noting_step)
    train(TINY, overrides, root=tmp_path)
    assert made.num_evaluations == len(during)
    assert made.saves.num_best == len(set(steps))
    others = 18 * made.probe.step_secs[1] + (made.saves.count + len(set(steps)) / 2) * made.probe.save_secs
    secs = made.probe.evaluation_secs * sum(measured) / made.splits["val"]
    assert made.duration.secs == pytest.approx(others + secs)


@pytest.mark.parametrize(
    "rules",
    [
        [(4, 2), (6, 3)],  # at 4, 6, 8, 12, 16, 18
        [(9, 2), (3, 2), (3, 4)],
        [(5, 2), (7, 2)],
        [(50, 2), (1, 3)],
    ],
)
def test_saves_are_those_of_all_checkpoint_hooks(rules, tmp_path, monkeypatch):
    (every, keep), *others = rules
    hooks = [{"name": "checkpoint", "every": each, "keep": kept} for each, kept in others]
    overrides = {"checkpoint.every": every, "checkpoint.best": False, "checkpoint.keep": keep, "hooks": hooks}
    made = plan(load_config(TINY, overrides), measure=False).saves
    saved, most = set(), [0]

    def watched(folder, wanted):
        prune(folder, wanted)
        files = list_checkpoints(folder)
        saved.update(file.step for file in files)
        most.append(len(files))

    prune = checkpoints.prune
    monkeypatch.setattr(checkpoints, "prune", watched)
    train(TINY, overrides, root=tmp_path)
    assert (made.count, made.most_files) == (len(saved), max(most))


def test_hooks_that_keep_the_best_and_go_by_the_clock_are_added_up():
    hooks = [{"name": "checkpoint", "every": "1h", "keep": 3}, {"name": "checkpoint", "best": "val/loss", "every": 9}]
    saves = plan(tiny(checkpoint__every=6, hooks=hooks), measure=False).saves
    assert (saves.count, saves.most_files) == (None, 2 + 3 + 5 + 2)
    assert saves.trigger == "every 6 steps and every 3600 secs and every 9 steps"
    saves = plan(tiny(checkpoint__every=6, hooks=hooks)).saves
    assert (saves.count, saves.num_best, saves.most_files) == (4, 3, 7), "at 6, 9, 12, 18, and 3 evaluations"


def test_a_checkpoint_holds_the_state_of_the_optimizer():
    """Momentum keeps one number of 4 bytes for each of the weights, Adam two."""
    model = {"name": "mlp", "hidden": [200, 200]}
    plain, mom, adam = (plan(tiny(model=model, optimizer=name)) for name in ("sgd", "mom", "adam"))
    one = 4 * plain.num_parameters
    assert mom.saves.num_bytes - plain.saves.num_bytes == pytest.approx(one, rel=0.02)
    assert adam.saves.num_bytes - plain.saves.num_bytes == pytest.approx(2 * one, rel=0.02)


def test_a_state_that_grows_is_said_to(monkeypatch):
    assert plan(tiny(optimizer="lbfgs")).saves.grows
    assert not plan(tiny()).saves.grows


def test_the_best_may_be_saved_at_every_evaluation_and_is_kept_beside_the_newest():
    saves = plan(tiny(checkpoint__every="1 epoch", train__epochs=10), measure=False).saves
    assert (saves.count, saves.num_best, saves.most_files) == (10, 10, 3)
    saves = plan(tiny(train__epochs=None, train__max_time="1h"), measure=False).saves
    assert (saves.count, saves.num_best, saves.most_files, saves.num_bytes) == (None, None, 3, None)


def test_the_duration_is_made_of_its_parts():
    made = plan(tiny(train__epochs=500, checkpoint__every=1000, checkpoint__best=False, eval__every=100))
    probe, duration = made.probe, made.duration
    assert made.num_evaluations == 30
    evaluations = probe.evaluation_secs * (30 + 1)  # and the test part, as large as the validation part
    assert duration.secs == pytest.approx(3000 * probe.step_secs[1] + evaluations + 3 * probe.save_secs)
    assert probe.step_secs[0] <= probe.step_secs[1] <= probe.step_secs[2]
    assert duration.low_secs < duration.secs < duration.high_secs
    assert probe.num_steps <= 3000


def test_a_time_budget_bounds_the_duration_and_ends_a_run_without_steps():
    made = plan(tiny(train__epochs=None, train__max_time="30s"))
    assert made.num_steps is None
    assert made.num_examples is None
    assert made.duration.secs == 30
    assert made.duration.num_steps == round(30 / made.probe.step_secs[1])
    long = plan(tiny(train__epochs=10**7, train__max_time="30s"))
    assert long.duration.secs == 30


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_the_probe_takes_no_more_steps_than_the_run(steps, monkeypatch):
    taken = []
    run = TrainOp.run
    monkeypatch.setattr(TrainOp, "run", lambda *args, **options: taken.append(1) or run(*args, **options))
    made = plan(tiny(train__epochs=None, train__steps=steps))
    assert len(taken) == steps
    assert made.probe.num_steps == max(1, steps - 2)


def test_nothing_is_left_and_the_test_part_is_not_looked_at(tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    looked = []
    from optrun.experiments.training.evaluator import Evaluator

    call = Evaluator.__call__
    monkeypatch.setattr(Evaluator, "__call__", lambda self, *args: looked.append(self.split) or call(self, *args))
    plan(tiny(log__to=["jsonl", "csv", "tensorboard"]))
    assert looked == ["val"]
    assert [path.name for path in tmp_path.rglob("*")] == ["temporary"]


def test_a_run_after_a_plan_is_the_run_without_it(tmp_path):
    alone = train(TINY, name="alone", root=tmp_path)
    plan(tiny())
    after = train(TINY, name="after", root=tmp_path)
    rows = [[{key: value for key, value in row.items() if key != "time"} for row in run.rows] for run in (alone, after)]
    assert rows[0] == rows[1]


def test_hooks_of_ones_own_take_no_part_in_the_probe(tmp_path):
    Path("mine.py").write_text(
        "from optrun.experiments import Hook\n\n\nclass Loud(Hook):\n    def begin(self, session):\n"
        "        raise AssertionError('called')\n\n    def after_run(self, ctx, values):\n        pass\n"
    )
    made = plan(tiny(hooks=["./mine.py:Loud"]))
    assert "loud" in [hook.name for hook in made.hooks]
    assert "not in the duration" in made.notes[-1]


PLATEAU = {"name": "plateau", "metric": "val/accuracy", "patience": 1}


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": PLATEAU},
        {"schedule": {**PLATEAU, "warmup": 2}},
        {"schedule": {"name": "sequence", "at": [3], "schedules": ["constant", PLATEAU]}},
        {"hooks": [{"name": "hyperparameter", "of": "momentum", "schedule": PLATEAU}]},
    ],
)
def test_schedules_that_wait_for_evaluations_are_planned_and_run(options, tmp_path):
    assert plan(tiny(**options)).probe is not None
    assert train(TINY, options, root=tmp_path).summary["steps"] == 18


def test_a_schedule_that_waits_for_what_a_hook_of_ones_own_publishes_is_planned(tmp_path):
    (tmp_path / "own.py").write_text(
        "from optrun.experiments import Hook\n"
        "from optrun.experiments.components.hooks.hook import Evaluation\n\n\n"
        "class Size(Hook):\n"
        "    publishes = ('mine/size',)\n\n"
        "    def after_run(self, ctx, values):\n"
        "        ctx.session.publish(Evaluation(ctx.step, {'mine/size': 1.0}))\n"
    )
    schedule = {**PLATEAU, "metric": "mine/size", "mode": "min"}
    assert plan(tiny(schedule=schedule, hooks=[f"{tmp_path}/own.py:Size"])).probe is not None


def test_selectors_match_parameters_of_the_loss_too(tmp_path):
    (tmp_path / "own.py").write_text(
        "import torch\n\n\n"
        "class Scaled(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.scale = torch.nn.Parameter(torch.ones(()))\n\n"
        "    def forward(self, outputs, targets):\n"
        "        return torch.nn.functional.cross_entropy(outputs * self.scale, targets)\n"
    )
    args = {"weight_decay": {"rate": 0.1, "exclude": ["loss.scale"]}}
    config = tiny(
        loss=f"{tmp_path}/own.py:Scaled",
        optimizer={"name": "mom", "lr": 0.1, **args, "groups": [{"match": "loss.*", "lr": 0.5}]},
        train__l2={"rate": 0.1, "include": ["*"]},
    )
    matched = {selection.key: selection.names for selection in plan(config, measure=False).selections}
    assert matched["optimizer.groups.0.match"] == matched["optimizer.weight_decay.exclude"] == ("loss.scale",)
    assert "loss.scale" not in matched["train.l2.include"]


@pytest.mark.parametrize("policy", ["raise", "stop"])
def test_a_probe_that_diverges_says_so(policy):
    config = tiny(optimizer__lr=1e38, stop__on_nan=policy)
    with pytest.raises(DivergedError, match="diverged in batch") as caught:
        plan(config)
    assert "--no-probe" in caught.value.__notes__[-1]
    assert plan(config, measure=False).num_steps == 18


def test_nothing_is_downloaded(tmp_path, monkeypatch):
    from optrun.experiments.system import downloads

    monkeypatch.setenv("OPTRUN_DATA_DIR", str(tmp_path / "data"))

    def notice(*args):
        raise AssertionError("downloads")

    monkeypatch.setattr(downloads, "_download", notice)
    with pytest.raises(DataError, match=r"no cifar-10-binary\.tar\.gz: a plan downloads nothing"):
        plan(load_config("mom", {"data": "cifar10"}))
    assert not (tmp_path / "data").exists()
    with pytest.raises((AssertionError, OptrunError), match="downloads"):  # and is allowed again
        build(load_config("mom", {"data": "cifar10"}))


def test_early_ends_are_noted():
    made = plan(
        tiny(stop__patience=3, stop__at_target=True, eval__metric="val/accuracy", eval__target=0.9), measure=False
    )
    assert [note.partition(":")[0] for note in made.notes] == ["may end earlier"] * 2


def test_data_that_is_loaded_has_a_plan_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "import torch\n\ndef rows():\n    return [(torch.ones(3) * i, i % 2) for i in range(40)]\n"
    (tmp_path / "mine.py").write_text(rows)
    data = {"name": "./mine.py:rows", "batch_size": 10}  # 24 to train on: batches of 10, 10 and 4
    settings = {**TINY, "data": data, "model": {"name": "mlp", "num_outputs": 2}, "train": {"steps": 7}}
    made = plan(load_config(settings), measure=False)
    assert (made.steps_per_epoch, made.num_examples) == (3, 2 * 24 + 10)

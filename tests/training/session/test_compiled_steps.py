"""Compiled steps in a session: exact however they are cut and resumed; where there are none, it is said why."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from optrun.experiments import (
    Hook,
    LearningRateSetterHook,
    MonitoredTrainingSession,
    StopAtStepHook,
    build,
    build_train_op,
    load_config,
    plan,
    resume,
    train,
)
from optrun.experiments.components.data.batches import Batches
from optrun.experiments.components.hooks.hook import RunArgs
from optrun.experiments.errors import DivergedError
from optrun.experiments.system import waiting
from optrun.experiments.training.step import compiled_steps
from optrun.experiments.training.step.compiled import inductor, reasons
from optrun.experiments.training.step.compiled.cannot import CannotCompile
from optrun.experiments.training.step.compiled.worth import why_not_worth

from .test_blocks import CONFIG, Skips, equal, run_all, trained
from .test_blocks import poisoned as batches

COMPILED = {**CONFIG, "model": {"name": "mlp", "hidden": [4]}, "train": {"steps": 24, "threads": 1, "compile": True}}


def op_of(data, **options):
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True)
    op = build_train_op(model, nn.functional.mse_loss, optimizer, data, compile=True, **options)
    assert op.compiled.why_not is None
    return op


def test_compiled_steps_are_the_same_however_they_are_cut(tmp_path):
    """By one, in blocks, with other intervals of rows, resumed at random; and nearly those of eager ones."""
    straight, rows, outcome, _ = trained(COMPILED, tmp_path / "straight", "run_block")
    assert outcome == "done"
    one_by_one, same_rows, *_ = trained(COMPILED, tmp_path / "one", "run")
    assert equal([straight, rows], [one_by_one, same_rows])
    often, *_ = trained(
        {**COMPILED, "log": {"every": "2 steps"}, "eval": {"every": "5 steps"}}, tmp_path / "often", "run_block"
    )
    assert equal(straight, often)
    cuts = sorted(random.Random(1).sample(range(1, 24), 3))
    for end in [*cuts, 24]:
        experiment = build(load_config(COMPILED))
        with experiment.session(tmp_path / "cut", [StopAtStepHook(last_step=end)]) as session:
            while not session.should_stop():
                session.run_block(experiment.train_op)
    assert equal(straight, experiment.train_op.state_dict()), cuts
    eager, eager_rows, *_ = trained({**COMPILED, "train": {"steps": 24, "threads": 1}}, tmp_path / "eager", "run_block")
    assert [row.keys() for row in eager_rows] == [row.keys() for row in rows]
    for name, value in eager["model"].items():
        torch.testing.assert_close(straight["model"][name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("positions", [[0], [3], [8], [2, 3], [0, 4, 8]])
def test_a_skip_at_each_place_of_a_block(positions):
    found = []
    for how in ("run", "run_block"):
        op, skips = op_of(batches(positions), on_nan="skip"), Skips()
        session = run_all(op, how, skips)
        counters = op.global_step, op.batch, op.skipped, op.examples, op.gradient_evaluations
        found.append((op.state_dict(), counters, session.outcome, skips.seen))
        assert op.compiled.why_not is None
    assert equal(*found)
    assert found[0][1] == (9 - len(positions), 9, len(positions), 4 * (9 - len(positions)), 9)


@pytest.mark.parametrize("position", [0, 4, 8])
def test_a_bad_batch_is_told_as_ever(position):
    op = op_of(batches([position]))
    with pytest.raises(DivergedError, match=f"diverged in batch {position} after {position} steps: loss is nan"):
        run_all(op, "run_block")
    good = op_of(batches(count=position)) if position else op_of(batches())
    if position:
        run_all(good, "run_block")
    assert equal(op.state_dict()["model"], good.state_dict()["model"])


def test_a_loss_above_its_bound_is_bad():
    data = batches()
    data[5] = (data[5][0], data[5][1] + 1e4)
    op = op_of(data, loss_above=1e6)
    with pytest.raises(DivergedError, match=r"in batch 5 after 5 steps: loss .* is above stop\.loss_above"):
        run_all(op, "run_block")


def test_a_profile_changes_no_bit_and_has_the_parts_of_a_graph():
    op, profiled = op_of(batches()), op_of(batches())
    run_all(op, "run_block")
    with MonitoredTrainingSession(profiled, profile=True) as session:
        while not session.should_stop():
            session.run_block(profiled)
    assert equal(op.state_dict(), profiled.state_dict())
    found = {part["name"]: part["secs"] for part in session.profile()["parts"]}
    assert {"first step", "compiling", "data", "graph"} <= found.keys()
    assert not {"forward", "backward", "optimizer"} & found.keys()
    assert sum(found.values()) == pytest.approx(session.profile()["secs"])
    assert profiled.compiled.why_not is None


def test_batches_of_other_sizes_and_what_is_no_tensor():
    data = batches(count=6)
    data[3] = (data[3][0][:2], data[3][1][:2])
    op = op_of(data)
    run_all(op, "run_block")
    assert (op.global_step, op.examples, op.compiled.why_not) == (6, 22, None)
    named = op_of([{"inputs": x, "targets": y, "name": "a text"} for x, y in batches(count=3)], inputs_from="inputs")
    run_all(named, "run_block")
    assert (named.global_step, named.compiled.why_not) == (3, None)


def test_batches_of_many_shapes_are_taken_uncompiled_and_a_resumed_run_knows(tmp_path):
    """A graph for each shape would be compiled for longer than it is used."""

    def op():
        return op_of([(x[:size], y[:size]) for (x, y), size in zip(batches(count=12), [4, 3, 2, 1] * 3, strict=True)])

    op_within = op()
    run_all(op_within, "run_block")
    assert op_within.compiled.why_not is None
    data = [(torch.randn(size, 3), torch.randn(size, 1)) for size in range(1, 8)]
    straight, folder = op_of(data), tmp_path / "cut"
    run_all(straight, "run_block")
    assert straight.compiled.why_not == "batches come in more than 4 shapes"
    for end in (3, 7):
        cut = op_of(data)
        with MonitoredTrainingSession(cut, checkpoint_dir=folder, hooks=[StopAtStepHook(last_step=end)]) as session:
            while not session.should_stop():
                session.run_block(cut)
    assert equal(straight.state_dict(), cut.state_dict())


class Odd(Hook):
    """Feeds momentum at odd steps, which are then taken uncompiled."""

    def before_run(self, ctx):
        return RunArgs(feed={"momentum": 0.5}) if ctx.step % 2 else None


def test_steps_that_are_fed_more_than_the_rate_are_taken_uncompiled():
    op = op_of(batches())
    run_all(op, "run_block", Odd())
    eager = op_of(batches())
    eager.compiled.stop("the test")
    run_all(eager, "run_block", Odd())
    for one, other in zip(op.model.parameters(), eager.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_errors_of_later_steps_come_at_their_own():
    def rate(step):
        return 1.0 if step < 5 else {}[step]

    op = op_of(batches())
    with pytest.raises(KeyError) as found:
        run_all(op, "run_block", LearningRateSetterHook(rate))
    assert "in before_run of hook 'learning_rate_setter', at step 5" in found.value.__notes__
    assert (op.global_step, op.compiled.why_not) == (5, None)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"hooks": [{"name": "norms", "every": "9 steps"}]}, "hook 'norms' looks at gradients"),
        (
            {"log": {"every": "5 steps"}, "hooks": [{"name": "logging", "fetches": ["grad_norm"], "every": "3 steps"}]},
            "fetches grad_norm",
        ),
        ({"optimizer": {"name": "muon", "lr": 0.1}}, "Muon has no compiled rule"),
        ({"optimizer": {"name": "sam", "lr": 0.1}}, "evaluates the batch itself"),
        ({"train": {**COMPILED["train"], "accumulate": 2}}, "micro-batches"),
    ],
)
def test_where_steps_are_not_compiled_it_is_said_why(changes, why):
    experiment = build(load_config({**COMPILED, **changes}))
    assert why in experiment.train_op.compiled.why_not
    assert any("train.compile: steps are not compiled: " in note and why in note for note in experiment.notes)
    assert experiment.environment()["compiled"] is False


class Drawing(nn.Linear):
    """A layer that draws from what it computes, which is found out on the way."""

    def forward(self, inputs):
        outputs = super().forward(inputs)
        return outputs * torch.bernoulli(outputs.detach().sigmoid())


def test_a_model_that_cannot_be_compiled_is_found_out_and_a_resumed_run_knows():
    made = []
    for is_compiled in (True, False, True):
        torch.manual_seed(0)
        model = Drawing(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True)
        made.append(build_train_op(model, nn.functional.mse_loss, optimizer, batches(), compile=is_compiled))
    found_out, eager, resumed = made
    run_all(found_out, "run_block")
    run_all(eager, "run_block")
    assert equal(found_out.state_dict()["model"], eager.state_dict()["model"])
    assert resumed.compiled.why_not is None
    resumed.load_state_dict(found_out.state_dict())
    assert "draw random numbers" in resumed.compiled.why_not


@pytest.mark.sample
def test_dropout_is_that_of_eager_steps_however_they_are_cut(tmp_path):
    config = {**COMPILED, "model": {"name": "mlp", "hidden": [4], "dropout": 0.5}}
    straight, *_ = trained(config, tmp_path / "straight", "run_block")
    one_by_one, *_ = trained(config, tmp_path / "one", "run")
    eager, *_ = trained({**config, "train": {"steps": 24, "threads": 1}}, tmp_path / "eager", "run_block")
    assert straight["compiled"] == {"shapes": ["16 examples", "10 examples"], "why_not": None}
    assert equal(straight, one_by_one)
    for name, value in eager["model"].items():
        torch.testing.assert_close(straight["model"][name], value, rtol=1e-4, atol=1e-5)


def test_runs_record_that_their_steps_are_compiled(tmp_path):
    run = train(COMPILED, root=tmp_path)
    assert json.loads((run.path / "env.json").read_text())["compiled"] is True
    forward = next(part for part in plan(COMPILED, measure=False).parts if part.name == "forward")
    assert forward.what.endswith("compiled")


def op_that_chooses(num_steps, widths=(3, 1), examples=4, work=None):
    layers = [nn.Linear(*pair) for pair in itertools.pairwise(widths)]
    optimizer = torch.optim.SGD([each for layer in layers for each in layer.parameters()], lr=0.1)
    data = Batches(torch.zeros(examples, widths[0]), torch.zeros(examples, 1), batch_size=4)
    return build_train_op(
        nn.Sequential(*layers),
        nn.functional.mse_loss,
        optimizer,
        data,
        compile="auto",
        num_steps=num_steps,
        work=work,
    )


def least_steps(**options):
    reason = why_not_worth(op_that_chooses(1, **options), 1)
    return int(re.search(r"from ([\d,]+) steps on", reason)[1].replace(",", ""))


def test_auto_goes_by_shapes_and_planned_steps_alone():
    least = least_steps()
    assert 20_000 < least < 200_000
    assert op_that_chooses(least).compiled.why_not is None
    assert f"and this one has {least - 1:,}" in op_that_chooses(least - 1).compiled.why_not
    assert "does not know" in op_that_chooses(None).compiled.why_not
    assert least_steps(examples=6) == pytest.approx(2 * least, abs=1)  # a smaller last batch has graphs of its own
    assert least_steps(widths=[3] * 20 + [1]) < least / 2  # more is saved at each step


def test_auto_leaves_steps_that_consist_of_products():
    assert op_that_chooses(10**9, work=200_000_000).compiled.why_not is None
    assert "matrix products" in op_that_chooses(10**9, work=200_000_001).compiled.why_not  # two tensors


def test_auto_stays_with_what_a_run_has_begun_with():
    uncompiled, compiled = op_that_chooses(1), op_that_chooses(10**6)
    states = {op.compiled.why_not is None: op.state_dict() for op in (uncompiled, compiled)}
    uncompiled.load_state_dict(states[True])
    compiled.load_state_dict(states[False])
    assert uncompiled.compiled.why_not is None
    assert compiled.compiled.why_not == "the run has begun uncompiled"
    always = op_of(batches())
    always.load_state_dict({**always.state_dict(), "compiled": {}})
    assert always.compiled.why_not is None


def test_a_run_that_goes_on_without_a_compiler_says_that_it_is_another(monkeypatch, caplog):
    state = op_that_chooses(10**6).state_dict()
    monkeypatch.setattr(reasons, "has_compiler", lambda: False)
    later = op_that_chooses(10**6)
    later.load_state_dict(state)
    assert "there is no C++ compiler" in later.compiled.why_not
    assert "steps were compiled when the run began, and are not from here on" in caplog.text


def test_a_resumed_run_keeps_what_auto_has_chosen(tmp_path, monkeypatch):
    config = {**COMPILED, "train": {"steps": 4, "threads": 1, "compile": "auto"}}
    forward = next(part for part in plan(config, measure=False).parts if part.name == "forward")
    assert re.search(r"uncompiled: `auto` compiles runs .* from [\d,]+ steps on, and this one has 4$", forward.what)
    run = train(config, root=tmp_path)
    monkeypatch.setattr(compiled_steps, "why_not_worth", lambda op, num_steps: None)  # as if it were long enough now
    forward = next(part for part in plan(config, measure=False).parts if part.name == "forward")
    assert forward.what.endswith("compiled")
    resumed = resume(run.path, ["train.steps=6"], allow_change=True)
    assert (resumed.result["steps"], json.loads((run.path / "env.json").read_text())["compiled"]) == (6, False)
    assert "not bit-exact" not in (run.path / "log.txt").read_text()


OWN = """
from torch import nn

class Branchy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, inputs):
        hidden = self.layer(inputs.flatten(1))
        return hidden * 2 if hidden.mean().item() > 0.3 else hidden
"""


def test_why_steps_were_not_compiled_after_all_is_told_with_its_place_and_kept(tmp_path, caplog, recwarn):
    Path("branchy.py").write_text(OWN)
    config = {**COMPILED, "data": {"name": "digits", "batch_size": 64}, "model": "./branchy.py:Branchy"}
    run = train({**config, "train": {"steps": 3, "compile": True}})
    assert run.env["compiled"] is False
    assert "branchy.py:11)" in run.env["why_not_compiled"]
    assert any("branchy.py:11)" in record.getMessage() for record in caplog.records)
    caplog.clear()
    longer = resume(run.path, {"train.steps": 5}, allow_change=True)
    assert longer.env["compiled"] is False
    assert longer.env["why_not_compiled"] == run.env["why_not_compiled"]
    assert not any("not bit-exact" in record.getMessage() for record in caplog.records)
    assert not recwarn.list


def test_a_disk_that_takes_nothing_is_told_with_the_way_out(monkeypatch, tmp_path):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("OPTRUN_COMPILED_DIR", str(tmp_path / "compiled"))
    monkeypatch.setattr("torch._inductor.aot_compile", full)
    told = []
    monkeypatch.setattr(waiting, "reporter", told.append)
    with pytest.raises(
        CannotCompile, match=r"compiled cannot hold .* \(No space left on device\): free space there, or"
    ):
        inductor.compiled(lambda tensor: [tensor + 1], [torch.zeros(3)])
    assert len(told) == 1
    assert told[0].startswith("compiling steps")

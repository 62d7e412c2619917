"""`optrun plan`, as a user types it."""

from __future__ import annotations

import re

from optrun.experiments.studies.plan import run_plan
from optrun.experiments.studies.plan.costs import Probe

PIECEWISE = "schedule={name: piecewise, boundaries: [50%, 8], factors: [1, 0.1, 0.01]}"

PLAN = """\
tiny
  model      {parameters} parameters
  data       train 120, val 40, test 40 examples
  length     12 steps · 2 epochs of 6 steps · 240 examples drawn · 2 evaluations
  device     cpu · fp32 · 1 thread · seed 0
  blocks     up to 6 steps between two looks (evaluation every 6 steps), at most
             0.2 s
  saves      every 600 secs: 1 with the last one, up to 2 more for the best so
             far; at most 3 files kept
  disk       2 kB a checkpoint · 8 kB at the most
  duration   about 1.9 s, between 1.3 s and 2.5 s; 100 ms a step, 5 steps
             measured here and now

a step
   1  batch        20 of 120 examples of gaussian_classes
   2  forward      {model}, fp32
   3  loss         cross_entropy
   4  backward
   5  gate         raise unless loss and gradients are finite
   6  clip_norm    at most 1
   7  optimizer    adam
                   {parameters} parameters in 2 tensors: lr=0.1 betas=[0.9,0.999]
                     eps=1e-08 weight_decay=0 amsgrad=false
   8  global_step  + 1

hooks, in the order in which they are called
  learning_rate_setter  control   every step
  stop_at_step          control   once, at step 12: 12 (1 time)
  logging               observe   every 10 steps: 10 (1 time)
  logging_lines         observe   every 10 secs
  evaluation            evaluate  every 6 steps: 6, 12 (2 times)
  checkpoint            persist   every 600 secs

rates, by piecewise(boundaries=(6, 8), factors=(1.0, 0.1, 0.01), values=None,
  side='lt')
  step  rate before   rate
     0                 0.1
     6          0.1   0.01
     8         0.01  0.001
    11        0.001  0.001
"""


def test_a_plan_reads_as_it_should(optrun, monkeypatch):
    """12 steps of 0.1 s, 2 evaluations and the test part of 0.1 s each, 1 save of 0.2 s, and between 0 and 2 more."""
    measured = Probe(5, (0.08, 0.1, 0.12), 0.1, 0.2, 2000, False)
    monkeypatch.setattr(run_plan, "probe", lambda experiment: measured)
    done = optrun("plan", "tiny.yaml", "optimizer={name: adam, lr: 0.1}", "train.clip_norm=1", PIECEWISE)
    assert (done.code, done.err) == (0, "")
    parameters = re.search(r"(\d+) parameters", done.out)[1]
    model = re.search(r"forward      (\w+)", done.out)[1]
    expected = PLAN.format(parameters=parameters, model=model)
    assert re.sub(r"adam \(flavor \w+\)", "adam", done.out) == expected


def test_a_probe_measures_this_machine_and_leaves_nothing(optrun, folder):
    shown = optrun("plan", "tiny.yaml", "--json").json
    assert shown["schema"] == "optrun/plan@1"
    low, mean, high = shown["probe"]["step_secs"]
    assert 0 < low <= mean <= high
    assert shown["duration"]["num_steps"] == 12
    assert shown["saves"]["num_bytes"] > 4 * shown["num_parameters"]
    assert [part["name"] for part in shown["parts"]][:3] == ["batch", "forward", "loss"]
    assert shown["rates"][0] == {"step": 0, "before": None, "at": 0.1}
    assert [path.name for path in folder.iterdir()] == ["tiny.yaml"]


def test_without_a_probe_no_step_is_taken(optrun, monkeypatch):
    from optrun.experiments.training.step.train_op import TrainOp

    monkeypatch.delattr(TrainOp, "run")
    done = optrun("plan", "tiny.yaml", "--no-probe", "train.epochs=null", "train.max_time=90s")
    assert done.code == 0
    assert "as many steps as there is time for · an epoch is 6 steps · at most" in done.out
    assert done.out.count("not measured") == 2
    assert optrun("plan", "tiny.yaml", "--no-probe", "--json").json["duration"] is None


def test_no_line_is_wider_than_80_columns(optrun):
    done = optrun(
        *("plan", "tiny.yaml", "train.epochs=123456", "hooks=[{name: norms, every: 7 steps}]", "stop.patience=100"),
        "optimizer={name: adamw, lr: 0.0123456789, groups: [{match: '*bias', weight_decay: 0.0}]}",
        *("--no-probe", "schedule=cosine"),
    )
    assert done.code == 0, done.err
    assert max(map(len, done.out.splitlines())) <= 80
    assert "after_gradients  norms" in done.out
    assert "may end earlier: after 100 evaluations" in done.out


def test_many_boundaries_are_shortened_in_text_alone(optrun):
    schedule = f"schedule={{name: piecewise, boundaries: {list(range(1, 31))}, factors: {[1.0] * 31}}}"
    args = ("plan", "tiny.yaml", "train.epochs=10", "--no-probe", schedule)
    done = optrun(*args)
    assert "(20 more)" in done.out
    assert done.out.splitlines()[-1].split() == ["59", "0.1", "0.1"]
    assert len(optrun(*args, "--json").json["rates"]) == 32


def test_mistakes_are_those_of_train(optrun):
    device = ["tiny.yaml", "train.device=cuda:77", "train.soft_placement=false"]
    for args in (["tiny.yaml", "optimizer.lrr=1"], ["tinny"], device):
        planned, trained = optrun("plan", *args), optrun("train", *args)
        assert (planned.code, planned.err) == (trained.code, trained.err)
        assert planned.code == 2
        assert planned.out == ""
    assert optrun("plan").code == 2


def test_data_that_is_not_there_is_not_fetched(optrun, folder, monkeypatch):
    monkeypatch.setenv("OPTRUN_DATA_DIR", str(folder / "data"))
    done = optrun("plan", "mom", "data=cifar10")
    assert done.code == 4
    assert "no cifar-10-binary.tar.gz: a plan downloads nothing, the run would" in done.err
    assert not (folder / "data").exists()


def test_a_probe_that_diverges_shows_the_way_out(optrun):
    done = optrun("plan", "tiny.yaml", "optimizer.lr=1e38")
    assert done.code == 3
    assert "--no-probe" in done.err
    assert optrun("plan", "tiny.yaml", "optimizer.lr=1e38", "--no-probe").code == 0

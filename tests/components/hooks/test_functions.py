"""Hooks that call functions of the user's own: feed and final_ops, in Python and in configurations."""

from __future__ import annotations

import functools
import json

import pytest
import torch

from optrun.experiments import Hook, LearningRateSetterHook, build, load_config, make_schedule, resume, train
from optrun.experiments.components.hooks.feed import FeedHook
from optrun.experiments.components.hooks.final_ops import FinalOpsHook
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import SessionError, UsageError

from ...helpers import Recorder, run_steps, small_train_op

MINE = """
import torch

def values(step, *, high: float = 0.9):
    return {"momentum": high if step % 2 else 0.0}

def norm(session):
    return torch.cat([p.flatten() for p in session.train_op.model.parameters()]).norm()

def shapes(session, separator: str = "x"):
    return [separator.join(map(str, p.shape)) for p in session.train_op.model.parameters()]

class High:
    def __init__(self, high: float = 0.5):
        self.high = high
    def __call__(self, step):
        return {"momentum": self.high}
"""


@pytest.fixture(autouse=True)
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)


def config(*hooks):
    return {
        "name": "functions",
        "data": {"name": "digits", "subset": 256},
        "model": "logistic",
        "loss": "cross_entropy",
        "optimizer": {"name": "mom", "lr": 0.1, "momentum": 0.7},
        "train": {"steps": 4},
        "hooks": list(hooks),
    }


def momenta(*hooks, num_steps=4):
    """Return the momentum of each step under hooks."""
    recorder = Recorder(fetches=("momentum",))
    run_steps(small_train_op(), num_steps, *hooks, recorder)
    return [entry[3] for entry in recorder.log if entry[1] == "after_run"]


# ---- feed ------------------------------------------------------------------------------------------------------------


def test_the_function_is_given_the_completed_steps():
    assert momenta(FeedHook(lambda step: {"momentum": step / 10})) == [0.0, 0.1, 0.2, 0.3]


def test_nothing_fed_is_the_optimizers_own_again():
    assert momenta(FeedHook(lambda step: {"momentum": 0.5} if step == 1 else {})) == [0.9, 0.5, 0.9, 0.9]


def test_what_another_hook_feeds_too_is_an_error():
    with pytest.raises(SessionError, match="hooks 'feed' and 'learning_rate_setter' both feed 'lr'"):
        momenta(FeedHook(lambda step: {"lr": 0.1}), LearningRateSetterHook(make_schedule("constant")))


def test_no_mapping_is_an_error():
    with pytest.raises(UsageError, match="returned a float at step 2") as caught:
        momenta(FeedHook(lambda step: {} if step < 2 else 0.9))
    assert "in before_run of hook 'feed', at step 2" in caught.value.__notes__


def test_an_unknown_name_is_an_error():
    with pytest.raises(SessionError, match="nothing to feed is called 'momentun'"):
        momenta(FeedHook(lambda step: {"momentun": 0.1}))


def test_drawn_values_depend_on_the_batch_alone():
    def drawn(step):
        return {"momentum": torch.rand(()).item()}

    class Drawing(Hook):
        """Draw from the same generator after each step."""

        def after_run(self, ctx, values):
            torch.rand(step := ctx.step)
            assert step

    first = momenta(FeedHook(drawn))
    assert len(set(first)) == 4
    assert momenta(FeedHook(drawn), Drawing()) == first


def test_a_configuration_names_the_function(tmp_path):
    made = build(load_config(config({"name": "feed", "function": {"name": "./mine.py:values", "high": 0.8}})))
    recorder = Recorder(fetches=("momentum",))
    with made.session(hooks=[recorder]) as session:
        while not session.should_stop():
            session.run(made.train_op)
    assert [entry[3] for entry in recorder.log if entry[1] == "after_run"] == [0.0, 0.8, 0.0, 0.8]
    assert list(made.config.code_files) == [str(tmp_path / "mine.py")]


def test_a_class_makes_a_function():
    made = build(load_config(config({"name": "feed", "function": {"name": "./mine.py:High", "high": 0.25}})))
    (hook,) = [hook for hook in made.hooks if isinstance(hook, FeedHook)]
    assert hook.function(3) == {"momentum": 0.25}


def test_a_configuration_with_a_function_reads_back_equal(tmp_path):
    asked = {"name": "feed", "function": {"name": "./mine.py:values", "high": 0.8}}
    functions = [{"name": "./mine.py:norm"}, {"name": "./mine.py:shapes", "separator": ","}]
    first = load_config(config(asked, {"name": "final_ops", "functions": functions}))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "again.yaml").write_text(first.to_yaml())
    assert load_config(tmp_path / "elsewhere" / "again.yaml").to_dict()["hooks"] == first.to_dict()["hooks"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("values", "'values' names no function: write `./file.py:name` or `pkg.mod:name`"),
        ("./mine.py:value", "Did you mean 'values'?"),
        ("./yours.py:values", "no file"),
        ({"name": "./mine.py:values", "hihg": 1}, "did you mean 'high'?"),
        ({"name": "./mine.py:values", "high": "much"}, "expected a number, got 'much'"),
        (3, "expected the name of a function"),
    ],
)
def test_what_is_wrong_with_a_function_is_said_at_its_place(function, message):
    with pytest.raises(ConfigError) as caught:
        load_config(config({"name": "feed", "function": function}))
    (problem,) = caught.value.problems
    assert problem.key.startswith("hooks.0.function")
    assert message in f"{problem.message} {problem.hint}"


def test_a_changed_function_is_not_run_unasked(tmp_path):
    run = train(config({"name": "feed", "function": "./mine.py:values"}))
    assert "mine.py" in json.loads((run.path / "env.json").read_text())["code"]
    (tmp_path / "mine.py").write_text(MINE + "\n# changed\n")
    with pytest.raises(ConfigError, match="has changed since the run was made: read it, then add --allow-code"):
        resume(run, {"train.steps": 5}, allow_change=True)


# ---- final_ops -------------------------------------------------------------------------------------------------------


def weight_sum(session):
    return sum(parameter.sum() for parameter in session.train_op.model.parameters())


def test_final_values_are_those_of_the_last_step():
    op = small_train_op()
    hook = FinalOpsHook([weight_sum, functools.partial(max, 3, key=lambda item: 0)])
    hook.functions["max"] = lambda session: "no number"
    session = run_steps(op, 5, hook)
    expected = sum(parameter.sum() for parameter in op.model.parameters())
    assert hook.final_ops_values == {"weight_sum": expected, "max": "no number"}
    assert session.final == {"weight_sum": pytest.approx(expected.item())}
    assert isinstance(session.final["weight_sum"], float)


def test_a_mapping_gives_names():
    hook = FinalOpsHook({"step": lambda session: session.step, "again": lambda session: session.step})
    assert run_steps(small_train_op(), 3, hook).final == {"step": 3.0, "again": 3.0}


@pytest.mark.parametrize(
    ("functions", "message"), [([], "no function"), ([weight_sum, weight_sum], "two functions.*'weight_sum'")]
)
def test_no_function_and_two_of_one_name_are_refused(functions, message):
    with pytest.raises(UsageError, match=message):
        FinalOpsHook(functions)


def test_a_bad_end_calls_nothing():
    called = []

    class Failing(Hook):
        def after_run(self, ctx, values):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_steps(small_train_op(), 3, FinalOpsHook([called.append]), Failing())
    assert called == []


def test_a_function_that_fails_is_named():
    def failing(session):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        run_steps(small_train_op(), 3, FinalOpsHook([failing]))
    assert "in end of hook 'final_ops', at step 3" in caught.value.__notes__


def test_the_summary_has_the_numbers(tmp_path):
    functions = ["./mine.py:norm", {"name": "./mine.py:shapes", "separator": ","}]
    run = train(config({"name": "final_ops", "functions": functions}))
    assert run.summary["final"]["norm"] > 0
    assert "shapes" not in run.summary["final"]
    assert {"val/loss", "test/loss", "norm"} == set(run.summary["final"])


def test_a_name_that_a_metric_has_is_refused():
    hook = FinalOpsHook({"val/loss": lambda session: 1.0})
    made = build(load_config(config()))
    with pytest.raises(SessionError, match="there is a final value 'val/loss' already"):  # noqa: SIM117
        with made.session(hooks=[hook]) as session:
            while not session.should_stop():
                session.run(made.train_op)

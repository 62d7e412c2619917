"""What a schedule must not give: caught with its name, the step and the value, before any weight changes."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from optrun.experiments import build, load_config, make_schedule
from optrun.experiments.components.hooks.hook import Hook, RunArgs
from optrun.experiments.components.hooks.hyperparameter import HyperparameterHook
from optrun.experiments.components.hooks.learning_rate import LearningRateSetterHook
from optrun.experiments.components.schedules import registry
from optrun.experiments.components.schedules.rate import LearningRate
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import SessionError, UsageError
from optrun.experiments.studies.plan.run_plan import plan

from ...helpers import run_steps, small_train_op

BAD: dict[str, Any] = {
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": -float("inf"),
    "negative": -0.1,
    "text": "0.1",
    "nothing": None,
    "truth": True,
    "complex": 0.1 + 0j,
    "tensor": torch.tensor(0.1),
    "vector": torch.ones(2),
    "array": np.ones(2),
    "list": [0.1],
    "decimal": Decimal("0.1"),
    "huge": 10**400,
    "float32 nan": np.float32("nan"),
}
AT = 2


def giving(value: Any) -> Callable[[int], Any]:
    def mine(step: int) -> Any:
        return 1.0 if step < AT else value

    return mine


def sequence(own: Any) -> Hook:
    return LearningRateSetterHook(make_schedule("sequence", num_steps=9, at=[1], schedules=["constant", own]))


PLACES: dict[str, Callable[[Any], Hook]] = {
    "rate, a function": LearningRateSetterHook,
    "rate, with a base": lambda own: LearningRateSetterHook(own, base=0.1),
    "rate, in a warm-up": lambda own: LearningRateSetterHook(make_schedule("warmup", length=1, then=own)),
    "rate, in a sequence": sequence,
    "momentum": lambda own: HyperparameterHook("momentum", own),
    "weight decay": lambda own: HyperparameterHook("weight_decay", own, absolute=True),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("bad", BAD)
def test_bad_values_do_not_reach_the_weights(place: str, bad: str) -> None:
    good = small_train_op()
    run_steps(good, AT, PLACES[place](giving(1.0)))
    op = small_train_op()
    with pytest.raises(UsageError, match=rf"schedule '(mine|warmup|sequence)' gave .* at step {AT}: expected a"):
        run_steps(op, 5, PLACES[place](giving(BAD[bad])))
    assert op.global_step == AT
    assert all(torch.equal(a, b) for a, b in zip(op.model.parameters(), good.model.parameters(), strict=True))


@pytest.mark.parametrize("value", [1, 0, 0.5, np.float32(0.5), np.float64(0.5), np.int64(1), Fraction(1, 2)])
def test_all_that_is_a_number_is_taken(value: Any) -> None:
    op = small_train_op()
    run_steps(op, 3, LearningRateSetterHook(giving(value)))
    assert op.fetch(["lr"])["lr"] == pytest.approx(0.1 * float(value))


class Feeding(Hook):
    """A user's hook that feeds a hyperparameter itself."""

    def __init__(self, name: str, value: Any) -> None:
        self.fed, self.value = name, value

    def before_run(self, ctx: Any) -> RunArgs | None:
        return RunArgs(feed={self.fed: self.value}) if ctx.step == AT else None


@pytest.mark.parametrize("name", ["lr", "momentum"])
@pytest.mark.parametrize("bad", ["nan", "inf", "-inf", "text", "nothing", "complex", "array", "list", "decimal"])
def test_what_is_fed_is_looked_at_too(name: str, bad: str) -> None:
    for value in (BAD[bad], lambda own: BAD[bad]):
        op = small_train_op()
        with pytest.raises(SessionError, match=rf"what is fed for {name} is .*: expected a finite number"):
            run_steps(op, 5, Feeding(name, value))
        assert op.global_step == AT


def test_a_rate_that_overflows() -> None:
    with pytest.raises(UsageError, match=r"schedule 'mine' at step 2: the rate 1e\+200 \* 1e\+200 overflows"):
        LearningRate(giving(1e200), 1e200)(AT)


def test_only_the_schedule_that_says_so_may_be_negative() -> None:
    """TensorFlow's noisy cosine is negative now and then, inside a warm-up too."""
    assert [name for name in registry.names() if "values" in registry.get(name).facts] == ["noisy_linear_cosine"]
    values = [make_schedule("noisy_linear_cosine", num_steps=9, seed=seed)(0) for seed in range(40)]
    assert min(values) < 0
    inner = [{"name": "noisy_linear_cosine", "seed": seed} for seed in range(40)]
    assert min(make_schedule("warmup", num_steps=9, length=1, then=then)(1) for then in inner) < 0


OWN = """\
def late(step):
    return 1.0 if step < 70 else float("nan")
"""


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"schedule": "./own.py:late"}, "schedule"),
        ({"schedule": {"name": "sequence", "at": ["50%"], "schedules": ["constant", "./own.py:late"]}}, "schedule"),
        ({"hooks": [{"name": "hyperparameter", "of": "momentum", "schedule": "./own.py:late"}]}, "hooks.0.schedule"),
    ],
)
def test_a_plan_evaluates_the_whole_schedule(
    changed: Any, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    rest = {"data": "iris", "model": "logistic", "loss": "cross_entropy", "optimizer": "mom", "train": {"steps": 80}}
    config = load_config({**rest, **changed})
    build(config)
    with pytest.raises(ConfigError, match=r"own.py:late' gave nan \(float\) at step 70") as caught:
        plan(config, measure=False)
    assert [problem.key for problem in caught.value.problems] == [key]

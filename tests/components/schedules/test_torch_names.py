"""torch's schedulers, named or handed over as a schedule, are refused with what does the same here."""

from __future__ import annotations

import inspect

import pytest
from torch.optim import lr_scheduler

from optrun.experiments import load_config
from optrun.experiments.components.schedules import registry
from optrun.experiments.components.schedules.torch_names import _HERE, _OWN, instead_of
from optrun.experiments.config import ConfigError

SCHEDULERS = sorted(
    name
    for name, each in vars(lr_scheduler).items()
    if inspect.isclass(each) and issubclass(each, lr_scheduler.LRScheduler) and not name.startswith("_")
)


class Own(lr_scheduler.LRScheduler):
    pass


def said_of(schedule: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config("mom", {"schedule": schedule})
    (problem,) = caught.value.problems
    assert problem.key == "schedule.name"
    return problem.message


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name != "LRScheduler"])
def test_each_is_refused_by_every_name(name: str) -> None:
    assert (name in _HERE) != (name in _OWN), "a scheduler that is new in torch"
    way_out = f"name the schedule '{_HERE[name]}'" if name in _HERE else "write a function of the step"
    for given in (name, f"torch.optim.lr_scheduler:{name}", getattr(lr_scheduler, name)):
        said = said_of(given)
        assert "schedules are functions of the step" in said
        assert way_out in said


@pytest.mark.parametrize("own", [Own, lr_scheduler.LRScheduler])
def test_a_scheduler_of_ones_own_is_to_be_a_function(own: type) -> None:
    assert "write a function of the step" in said_of(own)


def test_what_does_the_same_is_there_and_nothing_else_is_meant() -> None:
    assert set(_HERE.values()) <= set(registry.names())
    assert all(instead_of(each) is None for each in (*registry.names(), "StepL", len, dict, lambda step: 1.0))

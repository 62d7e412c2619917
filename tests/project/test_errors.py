from __future__ import annotations

import pickle

import pytest

from optrun.experiments import errors
from optrun.experiments.errors import Interrupted, OptrunError, nearest, unknown_name

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, OptrunError)]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("OptrunError", 70),
        ("UsageError", 2),
        ("ArgumentsError", 2),
        ("CodeNotAllowedError", 2),
        ("DivergedError", 3),
        ("DataError", 4),
        ("FaultsError", 4),
        ("CheckpointError", 4),
        ("NothingMatchedError", 5),
        ("RunInUseError", 73),
        ("StorageError", 74),
        ("SessionError", 2),
        ("NotVerifiedError", 1),
        ("UserExitError", 2),
        ("TransientError", 74),
        ("WaitTimeoutError", 74),
    ],
)
def test_exit_codes_are_those_that_scripts_rely_on(name, code):
    assert getattr(errors, name)("x").exit_code == code


def test_the_table_of_exit_codes_is_complete():
    assert len(ALL) == 16


@pytest.mark.parametrize(("signum", "code"), [(2, 130), (15, 143)])
def test_an_interrupt_exits_as_shells_expect(signum, code):
    assert Interrupted(signum).exit_code == code


def test_an_interrupt_passes_by_whoever_catches_every_exception():
    with pytest.raises(Interrupted):
        try:
            raise Interrupted(15)
        except Exception:  # noqa: BLE001
            pytest.fail("swallowed")


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_errors_travel_between_processes(kind):
    copy = pickle.loads(pickle.dumps(kind("what happened")))
    assert type(copy) is kind
    assert str(copy) == "what happened"


@pytest.mark.parametrize("saved", [True, False])
def test_interrupts_travel_between_processes(saved):
    copy = pickle.loads(pickle.dumps(Interrupted(15, saved)))
    assert (copy.signum, copy.saved, copy.exit_code, str(copy)) == (15, saved, 143, "stopped by signal 15")


@pytest.mark.parametrize(
    ("name", "guess"),
    [("momentun", "momentum"), ("ADAM", "adam"), ("addam", "adam"), ("adam", "adam"), ("zzz", None), ("", None)],
)
def test_nearest(name, guess):
    assert nearest(name, iter(["sgd", "adam", "momentum"])) == guess


def test_nearest_gives_the_name_as_it_is_written():
    assert nearest("resnet", ["ResNet"]) == "ResNet"


def test_an_unknown_name_is_answered_with_the_nearest_and_all():
    assert unknown_name("optimizer", "adm", iter(["sgd", "adam"])) == (
        "no optimizer named 'adm'. Did you mean 'adam'? Known: adam, sgd"
    )
    assert unknown_name("optimizer", "zzz", ["sgd"]) == "no optimizer named 'zzz'. Known: sgd"
    assert unknown_name("optimizer", "sgd", []) == "no optimizer named 'sgd'. Known: none"

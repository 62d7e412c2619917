"""A key of another tool is refused with what it is called here."""

from __future__ import annotations

import pytest

from optrun.cli.app import cli
from optrun.experiments import load_config
from optrun.experiments.config import ConfigError
from optrun.experiments.config.other_names import _BY_KEY, _HERE, other_name

KNOWN = load_config("mom", ["stop.patience=3"]).to_dict()


@pytest.mark.parametrize("key", _BY_KEY)
def test_what_it_is_called_here_is_there(key):
    if key.startswith("optrun "):
        assert cli.get_command(None, key.split()[1]) is not None
        return
    section, _, name = key.partition(".")
    assert section in (*KNOWN, "extends")
    assert not name or name in KNOWN[section] or name in {"lr", "warmup", "groups"}


def test_no_name_stands_for_two_keys_and_none_is_a_key():
    names = [name for names in _BY_KEY.values() for name in names.split()]
    assert len(names) == len(set(names)) == len(_HERE)
    keys = {*KNOWN, *(key for value in KNOWN.values() if isinstance(value, dict) for key in value)}
    assert not keys & set(names)


@pytest.mark.parametrize("name", _HERE)
@pytest.mark.parametrize("section", ["", "train.", "data.", "optimizer."])
def test_the_message_says_it_at_its_place(section, name):
    with pytest.raises(ConfigError) as caught:
        load_config("mom", [f"{section}{name}=1"])
    (problem,) = caught.value.problems
    assert problem.key == f"{section}{name}"
    assert problem.hint == other_name(name) == f"here it is `{_HERE[name]}`"


def test_names_are_found_with_other_marks_and_others_are_not():
    assert other_name("trainer.max-epochs") == other_name("Max_Epochs") == "here it is `train.epochs`"
    assert other_name("epochs") is other_name("zzz") is None

"""Inheritance between files: what merges, what replaces, what null does, and what is refused."""

from __future__ import annotations

import os
import textwrap

import pytest

from optrun.experiments.config import ConfigError
from optrun.experiments.config import load as load_config
from optrun.experiments.config.lengths import Length
from optrun.experiments.errors import UsageError

from .small_registries import BASE


@pytest.fixture
def write(folder):
    def write(name: str, text: str):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


def test_mappings_merge_and_lists_replace(load, write):
    write("base.yaml", BASE.replace("model: mlp", "model: {name: mlp, hidden: [1, 2, 3], activation: tanh}"))
    write("a.yaml", "extends: base\nmodel: {hidden: [4]}\n")
    config = load("a.yaml")
    assert config.model.args["hidden"] == (4,)
    assert config.model.args["activation"] == "tanh"


def test_null_returns_to_the_default(load, write):
    write("base.yaml", BASE + "schedule: {name: cosine, final: 0.5}\nupdates: [ema]\nseed: 3\n")
    write("a.yaml", "extends: base.yaml\noptimizer: {lr: null}\nschedule: ~\nupdates:\nseed: null\n")
    config = load("a.yaml")
    assert config.optimizer.args["lr"] == 0.01
    assert "lr" not in config.optimizer.given
    assert (config.schedule.name, config.updates, config.seed) == ("constant", (), 0)


def test_null_then_a_value_again(load, write):
    write("base.yaml", BASE)
    write("b.yaml", "extends: base\noptimizer: null\n")
    write("c.yaml", "extends: b\noptimizer: {name: sgd}\n")
    assert load("c.yaml").optimizer.args == {"lr": 0.1}


def test_a_list_is_merged_left_to_right_then_the_file(load, write):
    write("base.yaml", BASE + "seed: 1\n")
    write("left.yaml", "seed: 2\noptimizer: {momentum: 0.5}\ntrain: {accumulate: 2}\n")
    write("right.yaml", "seed: 3\noptimizer: {momentum: 0.6}\n")
    write("a.yaml", "extends: [base, left, right]\noptimizer: {momentum: 0.7}\n")
    config = load("a.yaml")
    assert (config.seed, config.optimizer.args["momentum"], config.train.accumulate) == (3, 0.7, 2)


def test_a_new_name_drops_the_old_arguments_and_keeps_the_sections_own(load, write):
    write(
        "base.yaml",
        """\
        data: {name: digits, noise: 0.5, batch_size: 7, augment: [flip]}
        model: mlp
        loss: cross_entropy
        optimizer: {name: mom, lr: 0.1, momentum: 0.5, groups: [{match: '*.bias', lr: 0.2}]}
        schedule: {name: exponential, rate: 0.5, warmup: 5%}
        train: {epochs: 1}
        """,
    )
    write("a.yaml", "extends: base\noptimizer: adam\nschedule: {name: cosine}\ndata: {name: blobs, num_classes: 2}\n")
    config = load("a.yaml")
    assert config.optimizer.args == {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-8}
    assert config.optimizer.groups[0].args == {"lr": 0.2}
    assert (config.schedule.warmup, config.schedule.args) == (Length(5, "%"), {"final": 0})
    assert (config.data.batch_size, config.data.args) == (7, {"num_classes": 2, "size": 100})
    assert config.data.augment[0].name == "flip"


def test_the_same_name_keeps_the_arguments(load, write):
    write("base.yaml", BASE)
    write("a.yaml", "extends: base\noptimizer: mom\n")
    write("b.yaml", "extends: base\noptimizer: {name: mom, momentum: 0}\n")
    assert load("a.yaml").optimizer.args["lr"] == 0.1
    assert load("b.yaml").optimizer.args["lr"] == 0.1


def test_a_bare_name_in_the_base_takes_arguments(load, write):
    write("base.yaml", BASE)
    write("a.yaml", "extends: base\nmodel: {hidden: [9]}\n")
    assert load("a.yaml").model.args["hidden"] == (9,)


def test_nested_components_follow_the_same_rules(load, write):
    write("base.yaml", BASE + "schedule: {name: restarts, then: {name: exponential, rate: 0.5}}\n")
    write("a.yaml", "extends: base\nschedule: {then: cosine}\n")
    write("b.yaml", "extends: base\nschedule: {then: {staircase: true}}\n")
    write("c.yaml", "extends: a\nschedule: {then: {final: 0.25}}\n")
    assert load("a.yaml").schedule.args["then"].args == {"final": 0}
    assert load("b.yaml").schedule.args["then"].args["rate"] == 0.5
    assert load("c.yaml").schedule.args["then"].args == {"final": 0.25}


def test_name_is_not_inherited(load, write):
    write("base.yaml", BASE + "name: base-run\n")
    write("mine.yaml", "extends: base\n")
    assert load("base.yaml").name == "base-run"
    assert load("mine.yaml").name == "mine"


def test_paths_are_relative_to_the_extending_file(load, write):
    write("common/base.yaml", BASE)
    write("common/deep/mid.yaml", "extends: ../base\n")
    write("configs/a.yaml", "extends: ../common/deep/mid.yaml\n")
    assert load("a").optimizer.name == "mom"


def test_an_absolute_path(load, write):
    path = write("base.yaml", BASE)
    write("a.yaml", f"extends: {path}\n")
    assert load("a.yaml").optimizer.name == "mom"


def test_the_neighbour_comes_before_the_preset(load, write, folder):
    write("../presets/digits.yaml", BASE + "seed: 1\n")
    write("a.yaml", "extends: digits\n")
    assert load("a.yaml").seed == 1
    assert load("a.yaml").origins["seed"].file == "preset:digits"
    write("digits.yaml", BASE + "seed: 2\n")
    assert load("a.yaml").seed == 2
    write("a.yaml", "extends: preset:digits\n")
    assert load("a.yaml").seed == 1


def test_a_file_may_extend_the_preset_of_its_own_name(load, write):
    write("../presets/mom.yaml", BASE)
    write("configs/mom.yaml", "extends: mom\nseed: 4\n")
    config = load("mom")
    assert (config.target.kind, config.seed, config.optimizer.name) == ("config", 4, "mom")


def test_presets_extend_presets(load, write):
    write("../presets/digits.yaml", BASE)
    write("../presets/adam.yaml", "extends: digits\noptimizer: adam\n")
    config = load("adam")
    assert config.target.kind == "preset"
    assert config.origins["data.name"].file == "preset:digits"
    assert config.origins["data.name"].via == "preset:adam"


def problems_of(load, *args):
    with pytest.raises(ConfigError) as caught:
        load(*args)
    return caught.value.problems


def test_a_circle_is_shown_where_it_closes(load, write):
    write("a.yaml", "seed: 1\nextends: b\n")
    write("b.yaml", "extends: [c]\n")
    write("c.yaml", "extends: ./a.yaml\n")
    (problem,) = problems_of(load, "a.yaml")
    assert (problem.file, problem.line, problem.column, problem.key) == ("c.yaml", 1, 10, "extends")
    assert "a.yaml -> b.yaml -> c.yaml -> a.yaml" in problem.message


def test_a_file_that_extends_itself(load, write):
    write("a.yaml", "extends: a\n")
    (problem,) = problems_of(load, "a.yaml")
    assert "a.yaml -> a.yaml" in problem.message


def test_a_diamond_is_no_circle(load, write):
    write("base.yaml", BASE)
    write("l.yaml", "extends: base\n")
    write("r.yaml", "extends: base\n")
    write("a.yaml", "extends: [l, r]\n")
    assert load("a.yaml").optimizer.name == "mom"


def test_doubling_is_cut_off(load, write):
    write("f0.yaml", BASE)
    for i in range(1, 40):
        write(f"f{i}.yaml", f"extends: [f{i - 1}, f{i - 1}]\n")
    (problem,) = problems_of(load, "f39.yaml")
    assert "more than 64 files" in problem.message


def test_a_missing_file_is_located_with_a_guess(load, write):
    write("base.yaml", BASE)
    write("a.yaml", "seed: 0\nextends: [base, bse]\n")
    (problem,) = problems_of(load, "a.yaml")
    assert (problem.line, problem.column, problem.key, problem.hint) == (2, 17, "extends.1", "did you mean 'base'?")


@pytest.mark.parametrize("value", ["3", "{a: 1}", "[[a]]", "true", "''"])
def test_what_extends_cannot_be(load, write, value):
    write("a.yaml", f"extends: {value}\n")
    assert problems_of(load, "a.yaml")[0].code == "extends"


@pytest.mark.parametrize("name", ["x" * 300, ".", "..", "/", "a/" * 2000, "presets", "~/x"])
def test_names_that_no_file_has(load, write, name):
    write("a.yaml", f"extends: '{name}'\n")
    assert problems_of(load, "a.yaml")[0].line == 1


def test_problems_of_all_files_at_once(load, write):
    write("base.yaml", BASE.replace("lr: 0.1", "lr: -1"))
    write("a.yaml", "extends: base\nmodel: {hiden: [3]}\n")
    found = problems_of(load, "a.yaml", "train.epochs=0")
    assert [(p.file, p.line, p.key) for p in found] == [
        ("a.yaml", 2, "model.hiden"),
        ("base.yaml", 5, "optimizer.lr"),
        ("command line", None, "train.epochs"),
    ]
    assert "(via extends of a.yaml)" in found[1].headline


def test_a_bad_value_that_is_replaced_does_no_harm(load, write):
    write("base.yaml", BASE.replace("lr: 0.1", "lr: -1"))
    write("a.yaml", "extends: base\noptimizer: {lr: 1}\n")
    assert load("a.yaml").optimizer.args["lr"] == 1


def test_broken_files_are_all_reported(load, write):
    write("x.yaml", "a: [\n")
    write("y.yaml", "a: &b 1\n")
    write("a.yaml", "extends: [x, y]\n")
    assert {p.file for p in problems_of(load, "a.yaml")} == {"x.yaml", "y.yaml"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(load, write):
    write("a.yaml", BASE).chmod(0)
    assert "cannot be read" in problems_of(load, "a.yaml")[0].message


# ---- targets ---------------------------------------------------------------------------------------------------------


def test_a_path_comes_first_then_configs_then_the_config_path_then_presets(load, write, folder):
    write("../presets/x.yaml", BASE + "seed: 1\n")
    assert (load("x").target.kind, load("x").seed) == ("preset", 1)
    write("more/x.yaml", BASE + "seed: 2\n")
    assert (load("x", config_path=[folder / "more"]).target.kind, load("x", config_path=[folder / "more"]).seed) == (
        "config",
        2,
    )
    write("configs/x.yaml", BASE + "seed: 3\n")
    assert (load("x", config_path=[folder / "more"]).seed, str(load("x").target.path)) == (3, "configs/x.yaml")
    write("x", BASE + "seed: 4\n")
    assert (load("x").target.kind, load("x").seed) == ("path", 4)


def test_a_folder_of_that_name_is_no_target(load, write, folder):
    (folder / "x").mkdir()
    write("configs/x.yaml", BASE)
    assert load("x").target.kind == "config"


@pytest.mark.parametrize("target", ["digts", "preset:digts"])
def test_an_unknown_name_lists_what_there_is(load, write, target):
    write("../presets/digits.yaml", BASE)
    write("configs/mine.yaml", BASE)
    with pytest.raises(UsageError, match=r"(?s)Did you mean 'digits'\?.*configs: mine; presets: digits") as caught:
        load(target)
    assert caught.value.exit_code == 2


def test_an_unknown_path_guesses_in_its_folder(load, write):
    write("configs/mine.yaml", BASE)
    with pytest.raises(UsageError, match=r"no file 'configs/mien.yaml'. Did you mean 'configs/mine.yaml'"):
        load("configs/mien.yaml")


@pytest.mark.parametrize("target", ["", "\0", "x" * 5000, "a/b", "..", "a\nb", "configs"])
def test_targets_that_name_nothing(folder, registries, target):
    with pytest.raises(UsageError):
        load_config(target, registries=registries, presets=folder)


def test_the_presets_of_the_package_are_found(registries):
    with pytest.raises(UsageError, match="no config or preset named 'no-such-preset'"):
        load_config("no-such-preset", registries=registries)


def test_a_mapping_is_a_config(load):
    values = {"data": "digits", "model": {"name": "mlp", "hidden": (3,)}, "loss": "cross_entropy"}
    values |= {"optimizer": {"name": "sgd", "lr": 1}, "train": {"steps": 5}, "eval": {"every": Length(2)}}
    config = load(values)
    assert (config.name, config.target.kind, config.eval.every) == ("run", "python", Length(2))
    assert config.origins["optimizer.lr"].file == "<python>"


def test_a_mapping_may_extend_a_file(load, write):
    write("base.yaml", BASE)
    assert load({"extends": "base", "seed": 3}).seed == 3


@pytest.mark.parametrize("value", [{1: 2}, object(), {"a"}, b"x", float("nan"), 1j])
def test_python_values_that_no_config_holds(load, value):
    found = problems_of(load, {"extends": None, "data": {"name": "digits", "noise": value}})
    assert any(problem.key.startswith("data.noise") for problem in found)


def test_python_data_that_holds_itself(load):
    data: dict = {}
    data["data"] = data
    assert any(problem.code == "limit" for problem in problems_of(load, data))

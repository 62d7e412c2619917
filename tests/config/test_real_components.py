"""The configuration and the registered components: every one of them can be named, described and written out."""

from __future__ import annotations

import pytest

from optrun.experiments import config
from optrun.experiments.components.registries import REGISTRIES
from optrun.experiments.config import ComponentConfig, ConfigError
from optrun.experiments.config.targets import names_in, preset_folder
from optrun.experiments.config.values import expected_text
from optrun.experiments.registry import Component

BASE = {
    "data": "digits",
    "model": "mlp",
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": "sgd",
    "train": {"epochs": 2},
}
# What has no default, for the components that need something.
NEEDED = {
    "piecewise": {"boundaries": ["50%"], "factors": [1, 0.1]},
}
LISTS = {"metric": "metrics", "update": "updates", "hook": "hooks"}


def components() -> list[Component]:
    return [registry.get(name) for registry in REGISTRIES.values() for name in registry.names()]


def config_with(component: Component) -> dict:
    named = {"name": component.name, **NEEDED.get(component.name, {})}
    if component.kind == "augmentation":
        return {**BASE, "data": {"name": "digits", "augment": [named]}}
    if component.kind in LISTS:
        return {**BASE, LISTS[component.kind]: [named]}
    return {**BASE, component.kind: named}


def needs_more(component: Component) -> bool:
    filled = ("input_shape", "num_outputs", "num_classes") if component.kind == "model" else ()
    wanted = [each.name for each in component.signature.arguments if each.required and each.name not in filled]
    return bool(set(wanted) - NEEDED.get(component.name, {}).keys())


def _own(part: ComponentConfig) -> dict:
    """Return the arguments that are no components; those come in `components()` by themselves."""
    nested = {each.name for each in part.component.signature.arguments if each.nested}
    return {name: value for name, value in part.args.items() if name not in nested}


@pytest.mark.parametrize("component", components(), ids=lambda component: f"{component.kind}/{component.name}")
def test_every_component_loads_and_reads_back(component, tmp_path):
    if needs_more(component):
        with pytest.raises(ConfigError, match="needs the argument"):
            config.load(config_with(component), registries=REGISTRIES, presets=tmp_path)
        return
    first = config.load(config_with(component), registries=REGISTRIES, presets=tmp_path)
    (tmp_path / "again.yaml").write_text(first.to_yaml())
    second = config.load(tmp_path / "again.yaml", registries=REGISTRIES, presets=tmp_path)
    assert {**second.to_dict(), "name": ""} == {**first.to_dict(), "name": ""}
    for one, two in zip(first.components(), second.components(), strict=True):
        assert _own(one) == _own(two)


@pytest.mark.parametrize("component", components(), ids=lambda component: f"{component.kind}/{component.name}")
def test_unknown_arguments_are_refused(component, tmp_path):
    values = config_with(component)
    with pytest.raises(ConfigError, match="has no argument 'no_such_argument'"):
        config.load(_add(values, component, "no_such_argument", 1), registries=REGISTRIES, presets=tmp_path)


@pytest.mark.parametrize(
    ("component", "argument"),
    [(component, argument) for component in components() for argument in component.signature.arguments],
    ids=lambda part: f"{part.kind}/{part.name}" if isinstance(part, Component) else part.name,
)
def test_nothing_takes_just_anything(component, argument, tmp_path):
    """A mapping with an odd key fits no argument of our own, and the refusal says what would."""
    assert expected_text(argument.annotation) not in ("any", "")
    values = _add(config_with(component), component, argument.name, {"odd": [None]})
    with pytest.raises(ConfigError) as caught:
        config.load(values, registries=REGISTRIES, presets=tmp_path)
    assert any(f".{argument.name}" in problem.key for problem in caught.value.problems)


def _add(values: dict, component: Component, name: str, value: object) -> dict:
    if component.kind == "augmentation":
        (named,) = values["data"]["augment"]
        return {**values, "data": {**values["data"], "augment": [{**named, name: value}]}}
    if component.kind in LISTS:
        (named,) = values[LISTS[component.kind]]
        return {**values, LISTS[component.kind]: [{**named, name: value}]}
    return {**values, component.kind: {**values[component.kind], name: value}}


def test_selective_weight_decay(tmp_path):
    values = {**BASE, "optimizer": {"name": "adam", "weight_decay": {"rate": 0.1, "exclude": ["bias"]}}}
    assert config.load(values, registries=REGISTRIES, presets=tmp_path).optimizer.args["weight_decay"]["rate"] == 0.1


def test_a_schedules_ends_stay_open_unless_given(tmp_path):
    values = {**BASE, "schedule": {"name": "cosine", "warmup": "5%"}}
    first = config.load(values, registries=REGISTRIES, presets=tmp_path)
    assert (first.schedule.args["start"], first.schedule.args["end"]) == (None, None)
    given = config.load({**BASE, "schedule": {"name": "cosine", "end": "50%"}}, registries=REGISTRIES, presets=tmp_path)
    assert str(given.schedule.args["end"]) == "50%"


def test_the_shipped_presets_are_valid():
    for name in names_in(preset_folder()):
        overrides = ["optimizer=sgd"] if name == "digits" else []  # the base of the others, which add an optimizer
        assert config.load(f"preset:{name}", overrides, registries=REGISTRIES).target.kind == "preset"

"""The selectors of a configuration, and the parameters that each of them matches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ...components.optimizers.shared.parameter_groups import Named, all_parameters, selected
from ...components.trained import Trained
from ...config import Config
from ...training.freezing import freed_by, frozen_names


class Selection(NamedTuple):
    """What a selector matches: the names of parameters, and the classes of their layers, in the model's order."""

    key: str
    selector: str
    names: tuple[str, ...]
    layers: tuple[str, ...]


def selections(config: Config, trained: Trained) -> list[Selection]:
    """Return what each selector of a configuration matches, whether it comes first or not.

    Args:
        config: a run's, whose selectors are valid.
        trained: its own model and loss, built; `train.l2` is of the model alone.
    """
    found, of_all, of_model = [], _held(config, trained), _held(config, Trained(trained.model))
    for key, selectors in _given(config):
        named = of_model if key.startswith("train.l2.") else of_all
        for selector in [selectors] if isinstance(selectors, str) else selectors:
            chosen = [named[position] for position in sorted(selected([selector], named, key))]
            layers = dict.fromkeys(type(each.owner).__name__ for each in chosen)
            found.append(Selection(key, selector, tuple(each.name or "" for each in chosen), tuple(layers)))
    return found


def _held(config: Config, trained: Trained) -> list[Named]:
    """Return the parameters that are trained at some time."""
    named = all_parameters(trained)
    later = frozen_names(config, named)
    return [each for each in named if each.parameter.requires_grad or each.name in later]


def _given(config: Config) -> Iterator[tuple[str, str | Sequence[str]]]:
    yield from _parts("optimizer.weight_decay", config.optimizer.args.get("weight_decay"))
    for index, group in enumerate(config.optimizer.groups):
        yield f"optimizer.groups.{index}.match", group.match
        yield from _parts(f"optimizer.groups.{index}.weight_decay", group.args.get("weight_decay"))
    yield from _parts("train.l2", config.train.l2)
    yield "train.freeze", config.train.freeze
    for hook in freed_by(config):
        yield f"{hook.path}.match", hook.args["match"]
    for hook in config.hooks:
        if hook.name == "norms":
            yield f"{hook.path}.match", hook.args["match"]


def _parts(key: str, value: Any) -> Iterator[tuple[str, Sequence[str]]]:
    if isinstance(value, Mapping):
        for part in ("include", "exclude"):
            if part in value:
                yield f"{key}.{part}", value[part]

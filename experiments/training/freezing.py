"""What a configuration freezes at the start of a run, and frees later: checked, and done once the optimizer is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..components.hooks.unfreeze import UnfreezeHook, batch_norms_of
from ..components.optimizers.shared.parameter_groups import Named, all_parameters, selected
from ..components.trained import Trained
from ..config import ComponentConfig, Config
from ..config.located import located
from ..errors import UsageError


def freed_by(config: Config) -> list[ComponentConfig]:
    """Return the hooks of a configuration that free parameters."""
    return [hook for hook in config.hooks if hook.component.inmost is UnfreezeHook]


def frozen_names(config: Config, named: Sequence[Named]) -> set[str]:
    """Return which parameters are frozen at the start and held by the optimizer all the same.

    Args:
        config: of the run.
        named: all parameters.

    Raises:
        ConfigError: a selector matches nothing, or frees nothing; located at it.
    """
    found = _chosen(config, "train.freeze", config.train.freeze, named)
    for hook in freed_by(config):
        key = f"{hook.path}.match"
        matched = _chosen(config, key, hook.args["match"], named)
        by_code = {each.name or "" for each in named if not each.parameter.requires_grad}
        if not matched & (found | by_code):
            message = "it frees nothing: all that it matches is trained from the start"
            raise config.problem(key, message, "name what is frozen at first in `train.freeze`")
        found |= matched & by_code
    return found


def _chosen(config: Config, key: str, selectors: Sequence[str], named: Sequence[Named]) -> set[str]:
    names: set[str] = set()
    for place, selector in enumerate(selectors):
        with located(config, key, f"{key}.{place}"):
            positions = selected([selector], named, "the selector", "parameters")
            if not positions:
                raise UsageError(f"the selector '{selector}' matches none of the {len(named)} parameters")
        names |= {named[position].name or "" for position in positions}
    return names


@contextmanager
def frozen_after(config: Config, trained: Trained) -> Iterator[None]:
    """Let all that is ever trained require a gradient in a `with` block, and freeze after it what is not at first.

    An optimizer that is made in the block holds what is freed later, with the rate and weight decay of its group.

    Args:
        config: of the run.
        trained: model and loss.

    Raises:
        ConfigError: see `frozen_names`; or nothing would be left to train.
    """
    if not config.train.freeze and not freed_by(config):
        if config.train.freeze_statistics:
            raise config.problem("train.freeze_statistics", "nothing is frozen: `train.freeze` names no layers")
        yield
        return
    named = all_parameters(trained)
    names = frozen_names(config, named)
    frozen = [each.parameter for each in named if each.name in names]
    for parameter in frozen:
        parameter.requires_grad_(True)
    yield
    for parameter in frozen:
        parameter.requires_grad_(False)
    if not any(each.parameter.requires_grad for each in named):
        raise config.problem("train.freeze", f"it leaves nothing to train: all {len(named)} parameters are frozen")
    if config.train.freeze_statistics:
        layers = batch_norms_of(trained, names)
        if not layers:
            message = "no layer that is frozen whole keeps running statistics, as batch norm does"
            raise config.problem("train.freeze_statistics", message)
        for layer in layers:
            layer.eval()

"""Rules that torch has: a function's signature says what they accept here, and torch's class does the rest."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch

from .parameter_groups import decay_rate

Build = Callable[..., torch.optim.Optimizer]


def builds(rule: Build, **fixed: Any) -> Callable[[Callable[..., Any]], Build]:
    """Return a decorator that makes a function, of which only the signature counts, build `rule` with its arguments.

    Args:
        rule: torch's class; it knows every argument of the signature by the same name.
        fixed: arguments that are always the same.
    """

    def decorate(function: Callable[..., Any]) -> Build:
        keywords = [each for each in inspect.signature(function).parameters.values() if each.kind is each.KEYWORD_ONLY]
        defaults = {each.name: each.default for each in keywords}

        @functools.wraps(function)
        def build(params: Iterable[Any], **args: Any) -> torch.optim.Optimizer:
            function(params, **args)  # so that Python refuses what the signature does not have
            settings = {**defaults, **args}
            if "weight_decay" in settings:
                settings["weight_decay"] = decay_rate(settings["weight_decay"])
            return rule(params, **settings, **fixed)

        return build

    return decorate

"""Rules that torch has: a function's signature says what they accept here, and torch's class does the rest."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch

from .parameter_groups import decay_rate

Build = Callable[..., torch.optim.Optimizer]


#: The fact `complex` of rules that torch has for complex weights: it moves real and imaginary parts by themselves.
PAIRS = "each weight as two real numbers"


def any_complex(params: Iterable[Any]) -> bool:
    """Return True if a parameter, or one in a group, is complex: torch has no fused rule for these."""
    groups = [item["params"] if isinstance(item, dict) else [item] for item in params]
    return any(parameter.is_complex() for group in groups for parameter in group)


def builds(rule: Build, **fixed: Any) -> Callable[[Callable[..., Any]], Build]:
    """Return a decorator that makes a function, of which only the signature counts, build `rule` with its arguments.

    Args:
        rule: torch's class; it knows every argument of the signature by the same name.
        fixed: arguments that are always the same; `fused` holds where all weights are real.
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
            params = list(params)
            own = {**fixed, "fused": False} if fixed.get("fused") and any_complex(params) else fixed
            return rule(params, **settings, **own)

        return build

    return decorate

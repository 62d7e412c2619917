"""Losses and metrics of a part of what a model gives, and of a part of the targets."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..errors import ArgumentsError
from ..registry.calls import described

#: A key, attribute or index; a path of them with dots, or as a list; or a function.
Selector = str | int | Sequence[str | int] | Callable[[Any], Any]


class Selected:
    """A loss or metric that looks at a part of the outputs, and of the targets.

        value = function(outputs[of], targets[target])

    Args:
        function: (outputs, targets) -> its value; a module, a partial, an object with `finish`.
        of: which part of the outputs; None for all.
        target: which part of the targets; None for all.
    """

    def __init__(self, function: Callable[..., Any], of: Selector | None = None, target: Selector | None = None):
        self.func = function  # as partial calls it, for those who look for what is inside
        self.of, self.target = of, target
        self._parts_of_outputs, self._parts_of_targets = _steps(of, "of"), _steps(target, "target")
        if hasattr(function, "finish"):
            self.finish = function.finish  # type: ignore[attr-defined]

    def __call__(self, outputs: Any, targets: Any) -> Any:
        """Return what the function gives for the parts.

        Raises:
            ArgumentsError: there is no such part.
        """
        return self.func(self.outputs_of(outputs), self.targets_of(targets))

    def outputs_of(self, outputs: Any) -> Any:
        """Return the part of the outputs that is compared."""
        for step in self._parts_of_outputs:
            outputs = step(outputs)
        return outputs

    def targets_of(self, targets: Any) -> Any:
        """Return the part of the targets that is compared with."""
        for step in self._parts_of_targets:
            targets = step(targets)
        return targets


def selected(function: Callable[..., Any], of: Selector | None, target: Selector | None) -> Callable[..., Any]:
    """Return a loss or metric of parts of outputs and targets; the function itself where it is of all."""
    return function if of is None and target is None else Selected(function, of, target)


def chosen(value: Any, of: Selector | None) -> Any:
    """Return the part of the outputs that `of` names; all of them for None.

    Raises:
        ArgumentsError: there is no such part.
    """
    for step in _steps(of, "of"):
        value = step(value)
    return value


def part_of(value: Any, step: str | int, key: str) -> Any:
    """Return an entry, an attribute or an item of a value.

    Args:
        value: a mapping, an object, a tuple or a list.
        step: which one.
        key: `of` or `target`, for the message.

    Raises:
        ArgumentsError: there is none.
    """
    if isinstance(value, Mapping):
        if step in value:
            return value[step]
    elif isinstance(step, str) and hasattr(value, step):
        return getattr(value, step)
    index = int(step) if isinstance(step, str) and step.isdecimal() else step
    if isinstance(value, Tensor) and isinstance(index, int):
        raise ArgumentsError(
            f"`{key}: {step}` of {described(value)} would be its row {step}, which is one example of a batch, and no "
            f"column: let {'the model' if key == 'of' else 'the data'} give columns by name, in a mapping, or choose "
            "them in a loss or metric of your own",
            key,
        )
    if isinstance(index, int) and hasattr(value, "__getitem__") and not isinstance(value, Mapping):
        try:
            return value[index]
        except (IndexError, KeyError, TypeError):
            pass
    raise ArgumentsError(f"`{key}: {step}` finds nothing in {described(value)}", key)


def _steps(selector: Selector | None, key: str) -> tuple[Callable[[Any], Any], ...]:
    if selector is None:
        return ()
    if callable(selector):
        return (selector,)
    if isinstance(selector, str):
        parts: Sequence[str | int] = selector.split(".")
    else:
        parts = [selector] if isinstance(selector, int) else selector
    return tuple(functools.partial(part_of, step=part, key=key) for part in parts)

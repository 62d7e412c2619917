"""The hook that works values out once, when a session ends well."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from ...errors import SessionError, UsageError
from ...registry.arguments import Nested
from . import register_hook
from .hook import Hook, Phase
from .session_view import SessionView


@register_hook(
    "final_ops", source="tf.train.FinalOpsHook (TensorFlow 1)", example={"functions": ["./mine.py:measured"]}
)
class FinalOpsHook(Hook):
    """Call functions of the session when it ends as `done` or `stopped`.

    Their results are in `final_ops_values`, under the functions' names. Those that are numbers join the session's
    final values, and with them `summary.json`. A function may read all that the session holds, and should change
    none of it: the last checkpoint is saved after it.

    Args:
        functions: each session -> value; `./file.py:name` or `pkg.mod:name` in YAML. In Python also a mapping from
            names to functions.

    Raises:
        UsageError: there is none, or two have one name.
    """

    phase = Phase.EVALUATE

    def __init__(self, functions: list[Annotated[Callable[[Any], Any], Nested("function")]]):
        self.functions = dict(functions) if isinstance(functions, Mapping) else _named(functions)
        if not self.functions:
            raise UsageError("FinalOpsHook has no function to call")
        self.final_ops_values: dict[str, Any] = {}

    def end(self, session: SessionView, outcome: str) -> None:
        if outcome not in ("done", "stopped") or session.train_op is None:
            return
        for name, function in self.functions.items():
            if name in session.final:
                raise SessionError(f"there is a final value '{name}' already: call the function of final_ops otherwise")
            session.train_op.reseed()
            value = function(session)
            self.final_ops_values[name] = value
            if (number := _number(value)) is not None:
                session.final[name] = number


def _named(functions: Sequence[Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    named: dict[str, Callable[..., Any]] = {}
    for function in functions:
        inner: Any = function
        while isinstance(inner, functools.partial):
            inner = inner.func
        name = getattr(inner, "__name__", type(inner).__name__)
        if name in named:
            raise UsageError(f"two functions of FinalOpsHook are called '{name}': rename one")
        named[name] = function
    return named


def _number(value: Any) -> float | None:
    """Return a number, or a tensor or array that holds one, as a float."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    return float(value) if isinstance(value, int | float) else None

"""The options of a comparison: what each may be, the same in a file, in Python and on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

from ..config.values import check
from ..errors import UsageError
from ..registry.arguments import Count, NonNegative

Text = Annotated[str, MinLen(1)]
#: `tune`: none, or as many rates as can bracket the best one.
OPTIONS: dict[str, Any] = {
    "seeds": Count,
    "first_seed": Annotated[int, Ge(0), Lt(1 << 62)],
    "tune": Literal[False, 0] | Annotated[int, Ge(3), Le(1000)],
    "metric": Text,
    "target": float,
    "baseline": Text,
    "margin": NonNegative,
    "alpha": Annotated[float, Gt(0), Lt(0.5)],  # at one half a coin would do
    "gate": Text | list[Text],
    "across_problems": bool,
}
_IN_PYTHON = {**OPTIONS, "jobs": Count, "verify_batched": Count}


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options that a comparison cannot have; None is one that is not given.

    Raises:
        UsageError: it says which, and what was expected.
    """
    for name, value in options.items():
        if value is None:
            continue
        _, mistakes = check(_IN_PYTHON[name], value)
        if mistakes:
            hint = f" ({mistakes[0].hint})" if mistakes[0].hint else ""
            raise UsageError(f"{name}: {mistakes[0].message}{hint}")


def check_verifying(engine: str, verify_batched: int | None) -> None:
    """Refuse to verify a batch of so many runs, or where there will be none.

    Raises:
        UsageError: it says why.
    """
    if verify_batched is None:
        return
    check_options({"verify_batched": verify_batched})
    if engine == "processes":
        raise UsageError(
            "--engine processes and --verify-batched exclude each other (in Python `engine=`, `verify_batched=`): "
            "nothing would be in a batch"
        )

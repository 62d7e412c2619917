"""The shapes of the JSON files of a run: checked when they are read, so that those who use them need not doubt."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args

#: Of a run: `running`, or how it ended.
State = Literal["running", "done", "stopped", "interrupted", "diverged", "failed"]

Check = Callable[[Any], str | None]  # returns what was expected, or None where all is well
_INT_LIMIT = 1 << 64


class Position(NamedTuple):
    """Where training stood when a metric row was written: the keys that every row begins with, in this order.

    Args:
        step: completed updates.
        batch: drawn batches, applied or skipped.
        examples: in applied updates.
        epoch: passes over the data; None, and no key, where the data has none.
        time: seconds spent in the run, earlier processes included; None, and no key, where it shared them with others.
    """

    step: int
    batch: int
    examples: int
    epoch: float | None
    time: float | None

    def as_row(self) -> dict[str, Any]:
        """Return the keys that are known, with their values."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def read_int(text: str) -> int:
    """Return a whole number of JSON, for `json.loads(parse_int=…)`.

    Raises:
        ValueError: it is larger than any count or seed.
    """
    if len(text) > 20 or not -_INT_LIMIT < (value := int(text)) < _INT_LIMIT:
        raise ValueError(f"a whole number of {len(text)} digits")
    return value


def misfit(name: str, content: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the content of the file called `name`, in words, or None.

    Keys that are not listed here may have any value, and a key may be missing.
    """
    return _keys(content, _FILES.get(name, {}))


def lacking(summary: Mapping[str, Any]) -> str | None:
    """Return what a run's result lacks that every version writes, in words, or None."""
    return next((f"{key}: is missing" for key in _ALWAYS if key not in summary), None)


def row_misfit(row: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a metric row, in words, or None."""
    for key in Position._fields:
        value = row.get(key)
        may_be_missing = value is None and (key != "step" or key not in row)
        if not may_be_missing and type(value) not in (int, float):
            return f"{key}: expected a number"
        if key == "step" and value is not None and not abs(value) < 1 << 63:
            return "step: expected a number of steps below 2**63"
    return None


def _keys(content: Mapping[str, Any], checks: Mapping[str, Check]) -> str | None:
    for key, check in checks.items():
        if key in content and (expected := check(content[key])):
            return f"{key}{expected if expected.startswith('.') else f': {expected}'}"
    return None


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else "expected text"


def _state(value: Any) -> str | None:
    known = get_args(State)
    return None if isinstance(value, str) and value in known else f"expected one of {', '.join(known)}"


def _absolute_path(value: Any) -> str | None:
    return None if isinstance(value, str) and os.path.isabs(value) else "expected an absolute path"


def _number(value: Any) -> str | None:
    return None if isinstance(value, int | float) and not isinstance(value, bool) else "expected a number"


def _count(value: Any) -> str | None:
    return None if isinstance(value, int) and not isinstance(value, bool) else "expected a whole number"


def _place(value: Any) -> str | None:
    """Check a value of a metric, with where it was reached; earlier versions named the metric in it."""
    if not isinstance(value, dict):
        return "expected an object"
    return _each(_or_null(_number))({key: item for key, item in value.items() if key != "metric"})


def _or_null(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _object(**checks: Check) -> Check:
    """Check an object whose keys are known; a key may be missing."""

    def check(value: Any) -> str | None:
        if not isinstance(value, dict):
            return "expected an object"
        wrong = _keys(value, checks)
        return f".{wrong}" if wrong else None

    return check


def _record(**checks: Check) -> Check:
    """Check an object whose keys are known, and all there."""

    def check(value: Any) -> str | None:
        missing = next((key for key in checks if isinstance(value, dict) and key not in value), None)
        return f".{missing}: is missing" if missing else _object(**checks)(value)

    return check


def _each(inner: Check) -> Check:
    """Check an object with any keys."""

    def check(value: Any) -> str | None:
        if not isinstance(value, dict):
            return "expected an object"
        return next((f".{key}: {wrong}" for key, item in value.items() if (wrong := inner(item))), None)

    return check


def _list(inner: Check) -> Check:
    def check(value: Any) -> str | None:
        if not isinstance(value, list):
            return "expected a list"
        return next((f".{at}: {wrong}" for at, item in enumerate(value) if (wrong := inner(item))), None)

    return check


_COMPONENT = _object(name=_text)
_CONFIG = _object(
    name=_text,
    seed=_count,
    **dict.fromkeys(("data", "model", "loss", "schedule"), _COMPONENT),
    init=_or_null(_COMPONENT),
    optimizer=_object(name=_text, lr=_or_null(_number)),
    **dict.fromkeys(("metrics", "updates", "hooks"), _list(_COMPONENT)),
    **dict.fromkeys(("train", "eval", "stop", "checkpoint", "log"), _object()),
)
_PART = _record(name=_text, secs=_number, share=_number, ms_per_step=_or_null(_number), waited_secs=_or_null(_number))
_ALWAYS = ("outcome", "steps", "train_secs", "final", "metric", "best", "curve", "target_reached", "config")
_FILES: dict[str, dict[str, Check]] = {
    "status.json": {
        "state": _state,
        "pid": _count,
        "host": _text,
        "started": _text,
        "updated": _text,
        "step": _count,
        "message": _text,
    },
    "summary.json": {
        "outcome": _state,
        "message": _text,
        **dict.fromkeys(("steps", "batches", "skipped", "examples", "gradient_evaluations", "num_parameters"), _count),
        "batch_size": _count,
        **dict.fromkeys(("train_secs", "cpu_secs", "num_steps", "epochs"), _or_null(_number)),
        "splits": _each(_count),
        "metric": _record(name=_text, mode=_text, target=_or_null(_number)),
        "metrics": _each(_record(mode=_text, margin=_or_null(_number))),
        "final": _each(_or_null(_number)),
        "not_finite": _each(_text),
        **dict.fromkeys(("best", "target_reached"), _or_null(_place)),
        "curve": _list(_or_null(_number)),
        "slow_hooks": _list(_record(hook=_text, secs=_number, share=_number, when=_text, key=_text)),
        "profile": _record(steps=_count, secs=_number, waited_secs=_or_null(_number), parts=_list(_PART)),
        "config": _CONFIG,
    },
    "fitted.json": {
        "schema": _text,
        "rows": _text,
        "arguments": _object(),
        "scales": _each(_record(mean=_list(_number), std=_list(_number))),
    },
    "data.json": {
        "schema": _text,
        "input_shape": _or_null(_list(_count)),
        **dict.fromkeys(("input_type", "stored_type"), _text),
        "task": _or_null(_text),
        "num_outputs": _or_null(_count),
        **dict.fromkeys(("class_names", "columns", "target_columns"), _list(_text)),
        "decode": _object(),
    },
    "env.json": {
        "command": _list(_text),
        "batches": _record(size=_count, steps_per_epoch=_or_null(_count)),
        "threads": _count,
        **dict.fromkeys(("project", "run"), _absolute_path),
        **dict.fromkeys(("code", "data", "packages", "objects"), _each(_text)),
        **dict.fromkeys(("examples", "init"), _or_null(_text)),
        **dict.fromkeys(("python", "torch", "numpy"), _or_null(_text)),
        **dict.fromkeys(("switches", "given", "turned"), _object()),
    },
}

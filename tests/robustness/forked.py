"""Calls in forked processes: as if in a new one, without the seconds that a new interpreter takes."""

from __future__ import annotations

import functools
import os
import pickle
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optrun.experiments import train


@functools.cache
def warm_up() -> None:
    """Train once in this process, so that no child has to import what torch imports at a first step."""
    tiny = {
        "name": "warm",
        "data": {"name": "gaussian_classes", "num_examples": 60},
        "model": "logistic",
        "loss": "cross_entropy",
        "metrics": ["accuracy"],
        "train": {"steps": 2},
    }
    for optimizer in ("adam", "mom", "lamb"):
        with tempfile.TemporaryDirectory() as folder:
            train({**tiny, "optimizer": optimizer}, root=Path(folder))


def forked(function: Callable[..., Any], *args: Any) -> Any:
    """Return what `function(*args)` returns in a child process, or raise what it raises; both must be picklable."""
    warm_up()
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as answer:
        pid = os.fork()
        if pid == 0:
            _answer(function, args, answer)
        status = os.waitpid(pid, 0)[1]
        answer.seek(0)
        content = answer.read()
    assert content, f"the child ended with {os.waitstatus_to_exitcode(status)} and no answer"
    result, error = pickle.loads(content)
    if error is not None:
        raise error
    return result


def _answer(function: Callable[..., Any], args: tuple[Any, ...], answer: Any) -> None:
    try:
        try:
            content = pickle.dumps((function(*args), None))
        except BaseException as error:  # noqa: BLE001 (raised in the parent)
            error.add_note("".join(traceback.format_exception(error)))
            content = pickle.dumps((None, error))
        answer.write(content)
        answer.flush()
    finally:
        os._exit(0)

"""The display of progress, which lies in the command line's package: a door that is opened when it is asked for."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = f"{__name__.partition('.')[0]}.cli.watching.watch"


def watching() -> Any:
    """Return the module that shows progress: in a notebook's cell, on a terminal, or as lines.

    The library itself knows no terminal (`lint-imports`), and draws nothing unless it is told to.
    """
    return importlib.import_module(_HOME)

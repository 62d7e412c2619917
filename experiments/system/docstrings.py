"""Docstrings, which the program shows as its texts, where Python was started without them (`-OO`) too."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from typing import Any


def docstring(thing: Any) -> str:
    """Return the docstring of a function or class without its indentation; empty where it has none.

    Under `python -OO` it is read from the source.
    """
    text = inspect.getdoc(thing)
    if text is not None or sys.flags.optimize < 2:
        return text or ""
    parts = inspect.getmro(thing) if inspect.isclass(thing) else (thing,)
    return next((found for part in parts if (found := _written(part))), "")


def _written(thing: Any) -> str:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    except (OSError, TypeError, SyntaxError):  # nothing of Python's own, or source that is not there
        return ""
    node = tree.body[0] if tree.body else None
    is_documented = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    return (ast.get_docstring(node) or "") if is_documented else ""

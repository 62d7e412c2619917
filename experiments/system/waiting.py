"""Long waits, told before they begin: the command line says them, the library by itself says nothing."""

from __future__ import annotations

from collections.abc import Callable

reporter: Callable[[str], None] | None = None


def tell(what: str) -> None:
    """Tell what is waited for, and about how long."""
    if reporter is not None:
        reporter(what)

"""The error of steps that cannot be compiled."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class CannotCompile(Exception):
    """Steps of this train op cannot be compiled, for a reason that only showed on the way; its state is untouched.

    Args:
        reason: in one line of words.
    """

    def __init__(self, reason: str):
        super().__init__(" ".join(reason.split()))


@contextmanager
def explained(part: str) -> Iterator[None]:
    """Raise whatever a part of torch's compiler raises as one error; its warnings are about its own ways, and dropped.

    Args:
        part: in words.

    Raises:
        CannotCompile: it failed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where they are errors, none of them is one of the user's
        try:
            yield
        except CannotCompile:
            raise
        except Exception as error:  # of many kinds, down to the C++ compiler's
            raise CannotCompile(f"torch's {part} fails: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where it has none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__

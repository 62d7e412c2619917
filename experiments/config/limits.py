"""Limits: the size of a configuration, and the characters that it may hold."""

from __future__ import annotations

import re

MAX_BYTES = 1 << 20
MAX_DEPTH = 50
MAX_NODES = 5_000
MAX_PROBLEMS = 500  # found; who makes more mistakes has made one of them often
MAX_COMPONENTS = 200  # in one list: metrics, hooks, updates
MAX_OVERRIDES = 200

# What no configuration needs in clear text: control characters, line separators that editors do not show, characters
# that reorder what is read, and halves of surrogate pairs.
FORBIDDEN = re.compile(
    r"[^\t\n\r\x20-\x7e\xa0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


def refusal(text: str) -> str | None:
    """Return which character of `text` is not allowed, in words, or None."""
    bad = FORBIDDEN.search(text)
    return f"the character U+{ord(bad[0]):04X} is not allowed in a config" if bad else None

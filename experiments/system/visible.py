"""Text of other people made fit to be shown: what a terminal, a log or a spreadsheet would obey is shown as text.

Names, messages and file contents may hold control characters: escape sequences that move the cursor or answer for the
user, carriage returns that overwrite a line, marks that reorder what is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# C0 without tab and newline, DEL, C1; what takes no room, reorders, ends lines or stands for nothing; surrogates.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_BREAKS = re.compile("[\t\n]")
_FORMULA = re.compile("[=+@\t\r\n'\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH COMMERCIAL AT}-]|－")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def visible(text: str) -> str:
    r"""Return text with its control characters written out (`\x1b`, `\u202e`); tabs and newlines stay."""
    return _OBEYED.sub(_escaped, text)


def one_line(text: str) -> str:
    r"""Return text as `visible` does, tabs and newlines written out too: for a name, or a cell of a table."""
    return _BREAKS.sub(_escaped, visible(text))


def visible_in(value: Any) -> Any:
    """Return plain data with every text in it, keys included, as `visible` gives it."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible_in(key): visible_in(item) for key, item in value.items()}
    return [visible_in(item) for item in value] if isinstance(value, list | tuple) else value


def in_json(text: str) -> str:
    r"""Return a JSON document with its control characters as `\uXXXX`, which every reader of JSON undoes."""
    escaped = _OBEYED.sub(lambda found: "".join(f"\\u{unit:04x}" for unit in _utf16(found[0])), text)
    return escaped.replace("##[", "\\u0023#[")  # which begins a command in the log of a GitHub workflow


def spreadsheet_text(text: str) -> str:
    """Return text for a cell of a CSV file: what a spreadsheet would run as a formula gets a `'` before it.

    Numbers stay numbers. A text that begins with `'` gets another one, so that whoever takes the first `'` of a cell
    away has what was there.
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(found[0])
    return named or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def _utf16(char: str) -> list[int]:
    code = ord(char)
    return [code] if code < 0x10000 else [0xD800 + (code - 0x10000 >> 10), 0xDC00 + (code - 0x10000 & 0x3FF)]

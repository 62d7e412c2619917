"""HTML of small tables, for notebooks: whole in itself, everything escaped, in the colours of the page around it."""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence

from .visible import visible

_CELL = "padding:.2em .7em;border-bottom:1px solid rgba(128,128,128,.35);vertical-align:top"
_LEFT, _RIGHT = "text-align:left", "text-align:right;font-variant-numeric:tabular-nums"


def escaped(text: str) -> str:
    """Return text as HTML shows it."""
    return html.escape(visible(text))


def paragraph(text: str) -> str:
    """Return a paragraph of text."""
    return f'<p style="max-width:60em;margin:.4em 0">{escaped(text)}</p>'


def html_table(
    rows: Sequence[Sequence[str]], header: Sequence[str] = (), *, right: Collection[int] = (), caption: str = ""
) -> str:
    """Return a table of texts.

    Args:
        rows: of cells.
        header: the headings.
        right: indices of the columns that are aligned to the right.
        caption: stands above it.
    """

    def line(tag: str, cells: Sequence[str]) -> str:
        sides = [_RIGHT if index in right else _LEFT for index in range(len(cells))]
        inside = (
            f'<{tag} style="{_CELL};{side}">{escaped(cell)}</{tag}>' for cell, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{''.join(inside)}</tr>"

    top = f'<caption style="{_LEFT};font-weight:bold;padding:.3em 0">{escaped(caption)}</caption>' if caption else ""
    head = f"<thead>{line('th', header)}</thead>" if header else ""
    body = "".join(line("td", row) for row in rows)
    return f'<table style="border-collapse:collapse;margin:.4em 0">{top}{head}<tbody>{body}</tbody></table>'

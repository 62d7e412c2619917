"""Conditions on a comparison, written as people say them: the option `--gate`.

    adam.test/accuracy >= 0.96              the mean over seeds; also <=, > and <
    adam better than sgd
    mom not worse than sgd within 0.005
    mom equivalent to adam within 0.005

`within` may be left out, and is then the margin of the comparison.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from ..errors import UsageError, unknown_name

BOUND = "bound"
OPERATORS = (">=", "<=", ">", "<")
_FORMS = "'ENTRY.METRIC >= NUMBER', 'A better than B', 'A not worse than B within NUMBER', 'A equivalent to B'"
_RELATION = re.compile(r"(?:^|\s)\s*(not\s+worse\s+than|better\s+than|equivalent\s+to)(?:\s+|$)")
_WITHIN = re.compile(r"\s+within\b\s*(.*)$")
_OPERATOR = re.compile(r"[<>=!]=|[<>]")
_NO_ENTRY = "the name of an entry is missing"


@dataclass(frozen=True)
class Condition:
    """One condition.

    Args:
        text: as it was written.
        relation: `bound`, `better than`, `not worse than` or `equivalent to`.
        a: the entry that it is about.
        b: the other entry, except for a bound.
        metric: of a bound.
        operator: of a bound: `>=`, `<=`, `>` or `<`.
        number: the bound, or the margin after `within`; None for the margin of the comparison.
    """

    text: str
    relation: str
    a: str
    b: str | None = None
    metric: str | None = None
    operator: str | None = None
    number: float | None = None


class Spellings(dict[str, str]):
    """All that entries may be called, each with the name that is meant: their names, and labels of one entry alone.

    Args:
        entries: the name and the label of each.
    """

    def __init__(self, entries: Iterable[tuple[str, str]]):
        listed = list(entries)
        count = Counter(label for _, label in listed)
        super().__init__({label: name for name, label in listed if label and count[label] == 1})
        self.update({name: name for name, _ in listed})


def parse_conditions(
    texts: Sequence[str], entries: Collection[str], metrics: Collection[str] = (), baseline: str | None = None
) -> list[Condition]:
    """Read conditions before the first run, so that a wrong one costs none.

    Args:
        texts: as they were written.
        entries, metrics: what they may name, as in `parse_condition`.
        baseline: the one entry that all others are compared with, if there is one.

    Raises:
        UsageError: one is no condition, names an entry that is not there, or a pair that will not be compared.
    """
    conditions = [parse_condition(text, entries, metrics) for text in texts]
    for condition in conditions:
        if condition.relation != BOUND and baseline is not None and baseline not in (condition.a, condition.b):
            raise UsageError(
                f"gate '{condition.text}': with --baseline {baseline} each entry is compared with {baseline} alone"
            )
    return conditions


def check_form(text: str) -> None:
    """Refuse what is no condition, whatever entries and metrics there are: that needs neither configurations nor runs.

    Raises:
        UsageError: no relation is in it, or no number where one belongs; with the column.
    """
    relation = _RELATION.search(text)
    if relation is None:
        _operator_and_number(text)
        return
    end, _ = _margin(text, relation)
    for start, stop in ((0, relation.start()), (relation.end(), end)):
        if not text[start:stop].strip():
            raise _error(text, start, _NO_ENTRY)


def parse_condition(text: str, entries: Collection[str], metrics: Collection[str] = ()) -> Condition:
    """Read a condition.

    Args:
        text: the condition.
        entries: the names that it may use, which may hold dots, dashes, `=` and spaces; or `Spellings`.
        metrics: the metrics that a bound may use; any, when there are none.

    Raises:
        UsageError: no condition, an unknown entry or metric, or no number; with the column and the nearest name.
    """
    relation = _RELATION.search(text)
    known = entries if isinstance(entries, Spellings) else Spellings((name, name) for name in entries)
    return _parse_relation(text, relation, known) if relation else _parse_bound(text, known, metrics)


def _parse_relation(text: str, relation: re.Match[str], entries: Spellings) -> Condition:
    end, margin = _margin(text, relation)
    a = _entry(text, 0, relation.start(), entries)
    b = _entry(text, relation.end(), end, entries)
    if a == b:
        raise _error(text, relation.end(), f"'{a}' is held against itself")
    return Condition(text, _kind(relation), a, b=b, number=margin)


def _kind(relation: re.Match[str]) -> str:
    return " ".join(relation[1].split())


def _margin(text: str, relation: re.Match[str]) -> tuple[int, float | None]:
    """Return where the second entry's name ends, and the number after `within`; None where there is none."""
    within = _WITHIN.search(text, relation.end())
    if within is None:
        return len(text), None
    margin = _number(text, within.start(1), within[1])
    if margin < 0:
        raise _error(text, within.start(1), "a margin is at least 0")
    if _kind(relation) == "better than":
        raise _error(text, within.start(), "'better than' takes the margin of the comparison, and no 'within'")
    return within.start(), margin


def _operator_and_number(text: str) -> tuple[re.Match[str], float]:
    operators = list(_OPERATOR.finditer(text))
    if not operators:
        raise _error(text, 0, f"no relation is in it: expected {_FORMS}")
    operator = operators[-1]  # a name may hold others
    if operator[0] not in OPERATORS:
        raise _error(text, operator.start(), f"'{operator[0]}' is none of {', '.join(OPERATORS)}")
    return operator, _number(text, operator.end(), text[operator.end() :])


def _parse_bound(text: str, entries: Spellings, metrics: Collection[str]) -> Condition:
    operator, number = _operator_and_number(text)
    left = text[: operator.start()].strip()
    start = text.index(left) if left else 0
    prefixes = sorted((name for name in entries if left.startswith(f"{name}.")), key=len, reverse=True)
    for name in prefixes:
        metric = left[len(name) + 1 :]
        if metric and (metric in metrics or not metrics):
            return Condition(text, BOUND, entries[name], metric=metric, operator=operator[0], number=number)
    if prefixes:
        place = start + len(prefixes[0]) + 1
        raise _error(text, place, unknown_name("metric", left[len(prefixes[0]) + 1 :], metrics))
    if left in entries:
        raise _error(text, start + len(left), f"which metric of '{left}'? Write {left}.METRIC {operator[0]} NUMBER")
    entry = left.rpartition("/")[0].rpartition(".")[0] or left.rpartition(".")[0] or left
    raise _error(text, start, unknown_name("entry", entry, entries))


def _entry(text: str, start: int, end: int, entries: Spellings) -> str:
    name = text[start:end].strip()
    if name not in entries:
        raise _error(text, start, unknown_name("entry", name, entries) if name else _NO_ENTRY)
    return entries[name]


def _number(text: str, place: int, written: str) -> float:
    try:
        number = float(written)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _error(text, place, f"'{written.strip()}' is no number")
    return number


def _error(text: str, place: int, message: str) -> UsageError:
    place += len(text[place:]) - len(text[place:].lstrip())
    return UsageError(f"gate '{text}', column {place + 1}: {message}")

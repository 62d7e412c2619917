"""A question that a command line asks, and its answer where it is known: found without torch, scipy or the user's code.

An answer is kept when a comparison or sweep has ended with every run finished. Asked again, the same question has the
same answer if all that it depends on is as it was (`answer_file`, `system.surroundings`); then it is read from the
folder of its group, and told as a repeat that finds all runs done would tell it. Whatever is not certain is worked out
again, which is never wrong.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ..errors import OptrunError
from ..registry.permissions import consent
from ..report.statistics import special
from ..run_directory.comparison_file import FILE_NAME, read_group
from ..run_directory.group_dir import working_in
from ..run_directory.run_dir import default_root
from ..system import ranks, storage
from ..system.json_text import encode_json
from ..system.observed import Observed, observing
from ..system.places import current_folder
from ..system.surroundings import surroundings
from .answer_file import Answer, as_repeated, content_sha256, read_answer, write_answer
from .dependencies import Dependencies, Facts, with_imports
from .result import Comparison

log = logging.getLogger("optrun")

_BY_OWN_CODE = "all variables"  # of surroundings: what counts only where the user's code may read it


_wanted: ContextVar[list[Facts] | None] = ContextVar("wanted facts", default=None)


def are_wanted() -> bool:
    """Return True if an answer is to be kept, for which the runner is to tell its facts."""
    return _wanted.get() is not None


def tell(facts: Facts) -> None:
    """Tell the facts of an answer."""
    if (found := _wanted.get()) is not None:
        found.append(facts)


class Asked:
    """One question of a command line.

    Args:
        command: `compare` or `sweep`.
        given: what was typed, as JSON-able data: targets, overrides, and all options that have a part in the answer.
        train: False for one that makes no runs.
        fresh: runs are made anew, whatever is known.
    """

    def __init__(self, command: str, given: Mapping[str, Any], *, train: bool = True, fresh: bool = False):
        self._train, self._fresh, self._started = train, fresh, time.monotonic()
        self._root = default_root()
        self._question = json.loads(
            json.dumps({"command": command, "folder": str(current_folder()), "root": str(self._root), **given})
        )
        self._surroundings = surroundings()
        self._imported = frozenset(sys.modules)
        self._known: Answer | None = None
        self._num_values = 0  # of special functions, that are kept with it
        self._is_touched = False  # files have other times now, and the same content
        self._facts: Facts | None = None
        self._observed: Observed | None = None
        self._warnings = _Warnings()

    @classmethod
    def by_a_command(cls, command: str, given: Mapping[str, Any], **options: Any) -> Asked | None:
        """Return the question; None in a process of which more would have to be known, since torch is there already.

        With `--allow-code` the code that is met is remembered, which takes the way through the configurations.
        """
        if "torch" in sys.modules or consent() == "all":
            return None
        try:
            return cls(command, given, **options)
        except OSError as error:  # some file of this program's own is being replaced
            log.debug("no answer is looked for: %s", error)
            return None

    def answer(self, work: Callable[[], Comparison], on_event: Callable[[dict[str, Any]], None]) -> Comparison:
        """Return the answer: the one that is known, told to `on_event`, or what `work` gives."""
        if not self._fresh and (known := self._find()) is not None:
            return self._repeat(known, on_event)
        special.keep_values()
        wanted: list[Facts] = []
        token = _wanted.set(wanted)
        log.addHandler(self._warnings)
        try:
            with observing() as self._observed:
                comparison = work()
        finally:
            log.removeHandler(self._warnings)
            _wanted.reset(token)
        self._facts = wanted[0] if len(wanted) == 1 else None
        return comparison

    def keep(self) -> None:
        """Keep the answer, now that it was shown; what cannot be kept is worked out again the next time."""
        values = special.kept_values()
        if self._known is not None and not self._is_touched and len(values) == self._num_values:
            return
        try:
            answer = self._made() if self._known is None else self._known
            if answer is not None:
                write_answer(self._root, replace(answer, values=values))
        except (OSError, OptrunError) as error:
            log.debug("the answer is not kept: %s", error)

    # ---- an answer that is known -----------------------------------------------------------------------------------

    def _find(self) -> Answer | None:
        """Return the answer that is kept, if all that it depends on is as it was."""
        try:
            answer = read_answer(self._root, self._question)
            if answer is None or not self._is_around(answer.surroundings):
                return None
            before = answer.written_ns
            if not answer.is_still_right():
                return None
            data = as_repeated(read_group(self._root / answer.group))
            if content_sha256(data) != answer.content:
                return None
            special.keep_values()
            special.know(answer.values)
            self._num_values, self._is_touched = len(special.kept_values()), answer.written_ns != before
        except (OSError, OptrunError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.debug("the answer that is kept cannot be read: %s", error)
            return None
        return answer

    def _is_around(self, kept: Mapping[str, Any]) -> bool:
        now = self._surroundings if _BY_OWN_CODE in kept else _without_own_code(self._surroundings)
        return now == kept

    def _repeat(self, answer: Answer, on_event: Callable[[dict[str, Any]], None]) -> Comparison:
        """Tell an answer as a repeat would that finds all runs done, and leave what that leaves."""
        ranks.refuse_several(self._question["command"])
        path = self._root / answer.group
        told: Iterator[dict[str, Any]] = iter(answer.events)
        for event in told:
            on_event(event)
            if event["kind"] == "plan":
                break
        if self._train:
            for folder in (self._root / ".cache", path):
                storage.sweep_temporaries(folder, 60.0)
        with working_in(path) if self._train else contextlib.nullcontext():
            for event in told:
                on_event(event)
        data = as_repeated(read_group(path))
        data["updated"] = datetime.now(UTC).isoformat(timespec="seconds")
        data["wall_secs"] = round(time.monotonic() - self._started, 2)
        storage.write_atomic(path / FILE_NAME, encode_json(data, indent=1))
        self._known = answer
        return Comparison(path)

    # ---- an answer that was worked out -----------------------------------------------------------------------------

    def _made(self) -> Answer | None:
        """Return what is to be kept of the answer; None where something about it is not certain."""
        facts, observed = self._facts, self._observed
        if facts is None or observed is None:
            return None
        written_ns = time.time_ns()
        facts = with_imports(facts, self._imported)
        doubt = facts.doubt or next(iter(observed.doubts), "") or self._warnings.first
        dependencies = Dependencies(self._root, facts, observed)
        if doubt := doubt or dependencies.doubt:
            log.debug("the answer is not kept: %s", doubt)
            return None
        around = self._surroundings if facts.has_own_code else _without_own_code(self._surroundings)
        answer = Answer(
            question=self._question,
            group=facts.path.name,
            surroundings=around,
            files=dependencies.files,
            names=dependencies.names,
            folders=dependencies.folders,
            modules=dependencies.modules,
            content=content_sha256(as_repeated(read_group(facts.path))),
            events=facts.events,
            values={},
            written_ns=written_ns,
        )
        return answer if answer.is_still_right() else None


def _without_own_code(around: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in around.items() if name != _BY_OWN_CODE}


class _Warnings(logging.Handler):
    """Notes what was warned of: a repeat would warn again, of what is seen on the long way alone."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.first = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.first = self.first or record.getMessage()

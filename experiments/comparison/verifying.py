"""Runs of a batch, made again by themselves: that they come to the same is shown, not believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import NothingMatchedError, NotVerifiedError
from ..run_directory.comparison_file import FINISHED
from . import events
from .engines import Ask
from .entry import Entry
from .events import OnEvent
from .first_steps import NUM_EARLY, NUM_STEPS, Apart
from .identity import BATCHED, COMPILED
from .ledger import Ledger
from .pool import Pool
from .protocol import Protocol
from .tasks import Role, Task, TaskMaker
from .worker import FIRST_STEPS

#: Of the way that weights have gone in these steps. A rounding in float32 is 6e-8 of a number, and of sums a few of
#: these, which steps multiply: some 1e-6 of the way. A weight whose gradient is itself of that size may go anywhere by
#: a rule that looks at signs alone, but few weights are a small share of the way of all. Another rate, rule, batch or
#: mask is a share of 0.01 and more, from the first step on. Where training is chaotic, a rounding becomes as much in
#: twenty steps, but not in five; then the run by itself does so, too.
TOLERANCE = 1e-3
TOLERANCE_BF16 = 0.1  #: Of products that are rounded to eight bits.
_COMPANY = 5  # members of the batch in which steps are taken, at least


class Verifying:
    """Makes some members of a batch again, each by itself, and keeps how they differ.

    Args:
        ledger: of the comparison, whose runs have ended.
        protocol: of it.
        entries: the contenders.
        maker: of the runs by themselves.
        count: how many; all if there are fewer.
    """

    def __init__(self, ledger: Ledger, protocol: Protocol, entries: Sequence[Entry], maker: TaskMaker, count: int):
        self._ledger, self._protocol, self._maker = ledger, protocol, maker
        self._tell: OnEvent = lambda event: None
        by_name = {entry.name: entry for entry in entries}
        order = {name: place for place, name in enumerate(by_name)}
        role: Role = "evaluate" if protocol.seeds else "tune"
        self._all = [task for task in ledger.tasks if task.role == role and task.state == "done" and task.config]
        self._all.sort(key=lambda task: (task.seed, order[task.entry]))  # of each entry about as many
        self._members = self._all[:count]
        self._alone = [maker.make(by_name[task.entry], role, task.seed, task.settings) for task in self._members]
        for number, task in enumerate(self._alone, start=len(ledger.tasks)):
            task.number = number

    def make(self, pool: Pool, tell: OnEvent, may_train: bool) -> None:
        """Make the runs by themselves that are not there, and tell of all.

        Args:
            pool: makes them, and has `note` take in each.
            tell: is told.
            may_train: whether they may be made.

        Raises:
            NothingMatchedError: some are missing, and none may be made.
        """
        missing = [task for task in self._alone if task.state == "planned"]
        if missing and not may_train:
            raise NothingMatchedError(
                f"{len(missing)} of {len(self._alone)} runs by themselves are missing, the first is {missing[0].path}: "
                "leave out --no-train (in Python `train=False`)"
            )
        tell(events.phase("verify", self._alone))
        self._tell = tell
        for task in self._alone:
            if task.state != "planned":
                tell(events.finished(task, self._protocol))
        pool.run(missing)

    def note(self, task: Task) -> None:
        """Take in that a run by itself has ended."""
        if task.state in FINISHED and not task.cached:
            self._maker.note(task)
        self._tell(events.finished(task, self._protocol))

    def keep(self, engine: str, ask: Ask) -> None:
        """Hold members and runs by themselves against each other, and keep in comparison.json how they differ.

        Args:
            engine: the key of the one that has trained the members.
            ask: asks a worker.

        Raises:
            NotVerifiedError: a run did not start alike, or is too far away after its first steps.
        """
        record = self._record(engine, ask)
        self._ledger.data["verified"] = record
        self._ledger.write()
        verify(record, self._ledger.path)

    def _record(self, engine: str, ask: Ask) -> dict[str, Any]:
        before = self._ledger.data["verified"] or {}  # steps of an earlier command are not taken again
        known = {(run["run"], run["alone"]): run for run in before.get("runs", ()) if before["engine"] == engine}
        metric = self._protocol.endpoint.metric if self._protocol.seeds else self._protocol.select.metric
        rows: list[dict[str, Any]] = []
        for place, (member, alone) in enumerate(zip(self._members, self._alone, strict=True)):
            kept = known.get((member.path, alone.path)) if member.cached and alone.cached else None
            apart = Apart(**kept["apart"]) if kept is not None else self._apart(place, engine, ask)
            values = {"value": member.value(metric), "alone_value": alone.value(metric)}
            named = {"entry": member.entry, "seed": member.seed, "run": member.path, "alone": alone.path}
            rows.append({**named, "state": alone.state, "message": alone.message, "apart": apart._asdict(), **values})
        facts = {"engine": engine, "of": len(self._all), "metric": metric}
        return {**facts, "steps": self._num_steps(), "tolerance": self._tolerance(), "runs": rows}

    def _apart(self, place: int, engine: str, ask: Ask) -> Apart:
        """Return how far the first steps of a member are apart in a batch and alone."""
        company = [*self._all[place:], *self._all[:place]][:_COMPANY]
        configs = [task.config for task in company]
        is_compiled = engine == COMPILED or (engine == BATCHED and configs[0]["train"]["compile"] is True)
        (found,) = ask(FIRST_STEPS, configs, [0], is_compiled, self._num_steps(), self._tolerance()).get()
        return found

    def _num_steps(self) -> int:
        steps = [task.summary["steps"] for task in self._members if task.summary.get("steps")]
        return min([NUM_STEPS, *steps])

    def _tolerance(self) -> float:
        is_rough = any(task.config["train"]["precision"] == "bf16" for task in self._members)
        return TOLERANCE_BF16 if is_rough else TOLERANCE


def verify(record: Mapping[str, Any], path: Path) -> None:
    """Refuse what is not as it would be by itself.

    Args:
        record: of `Verifying`.
        path: of the comparison.

    Raises:
        NotVerifiedError: a run did not start alike, or is too far away after its first steps.
    """
    for run in record["runs"]:
        who = f"entry '{run['entry']}', seed {run['seed']} ({run['run']} and {run['alone']})"
        apart, tolerance = Apart(**run["apart"]), record["tolerance"]
        is_far, share = not apart.early <= tolerance, apart.early
        steps = min(NUM_EARLY, record["steps"])
        if not is_far and not apart.share <= tolerance:  # unless a rounding moves a run by itself as far
            is_far, share, steps = not (apart.by_itself or 0.0) > tolerance, apart.share, record["steps"]
        if apart.start:
            said = f"weights differ by {apart.start:.2g} before the first step"
        elif is_far:
            said = f"after {steps} steps weights differ by {share:.2g} of the way they have gone"
            said += f", more than {tolerance:g}"
        else:
            continue
        raise NotVerifiedError(
            f"in a batch and by itself a run is not the same: {who}: {said}. Compare with --engine processes "
            "(in Python `engine=`)",
            path,
        )

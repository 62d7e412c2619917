"""Carries out what a comparison or a sweep has planned: trials, more of them at the edges, evaluation, the pairs."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..config import ConfigError
from ..errors import NothingMatchedError
from ..run_directory.comparison_file import FINISHED
from ..run_directory.group_dir import trash, working_in
from ..system.raised import type_and_text
from ..system.switches import at_start, put_back
from . import asked_again, events
from .answering import facts_of
from .engines import AUTO, Engine, asked_for, chosen, keys, taken_over, with_key
from .entry import Entry, differences
from .fingerprints import WHAT, expected_equal
from .identity import BATCHED, PROCESSES
from .ledger import Ledger
from .pairs import check_pairs
from .pool import Pool
from .protocol import Protocol, describe_entry, measured
from .result import Comparison
from .tasks import Task, TaskMaker
from .trying import data_sha256, has_own_code, try_building, workers_for
from .tuning import MAX_EXTENSIONS, Tuning
from .verifying import Verifying
from .worker import TIME
from .workers import WorkerDiedError, Workers

log = logging.getLogger("optrun")

_START_UP_SECS = 5.0  # of the worker processes


class Plan(NamedTuple):
    """Runs that are to be there.

    Args:
        tuned: the entries that are tuned.
        trials: the first ones of these.
        evaluation: runs that need no trials before.
        num_later: evaluations that do.
    """

    tuned: list[Entry]
    trials: list[Task]
    evaluation: list[Task]
    num_later: int

    @property
    def num_left(self) -> int:
        """Return how many are to be made."""
        left = sum(task.state == "planned" for task in (*self.trials, *self.evaluation))
        return left + (self.num_later if left or not self.trials else 0)

    @property
    def num_found(self) -> int:
        """Return how many are there, but for those of entries that were made of finished runs."""
        return sum(task.state in FINISHED and bool(task.config) for task in (*self.trials, *self.evaluation))


class Runner:
    """One comparison or sweep on its way; a sweep has no seeds to evaluate, and ends with its trials.

    Args:
        kind: `compare` or `sweep`.
        path: the group's folder, in the folder of runs.
        entries: the contenders.
        protocol: what was decided.
        tunings: of the entries that are tuned, by name.
        engine: that trains the runs: `processes`, `batched`, or `auto` for that of the group, or the faster one.
        fresh: repeat runs that are there already.
        workers: processes that have served already, and go on with the runs; ended with them. None for new ones.
        verify_batched: runs of a batch that are made again by themselves; None for none.
        train: False reads what is there, and refuses if something is missing.
        on_event: is told of the plan and of progress; see `events`.
    """

    def __init__(
        self,
        kind: str,
        path: Path,
        entries: Sequence[Entry],
        protocol: Protocol,
        tunings: Mapping[str, Tuning],
        *,
        engine: str = AUTO,
        verify_batched: int | None = None,
        workers: Workers | None = None,
        fresh: bool = False,
        train: bool = True,
        on_event: events.OnEvent | None = None,
    ):
        put_back(at_start())  # what the imports of the entries have turned: it is for the processes that train
        self._entries, self._protocol, self._tunings = entries, protocol, tunings
        self._fresh, self._train, self._tell = fresh, train, on_event or (lambda event: None)
        self._root = path.parent
        self._workers = workers_for(entries) if workers is None else workers
        self._hash_data = functools.partial(data_sha256, workers=self._workers)
        self._maker = TaskMaker(self._root, path.name, self._hash_data, not fresh)
        self._num_verified = verify_batched
        self._asked, self._engine = engine, Engine(PROCESSES)
        self._secs_of_first: float | None = None  # for a run of the first entry by itself, once that was found out
        self._phases: list[tuple[str, list[Task]]] = []
        self._num_runs = self._num_known = 0  # of the plan: all, and those that need no trials before
        self._expected = expected_equal([entry.config.to_dict() for entry in entries]) if protocol.seeds else []
        self._ledger = Ledger(
            path,
            kind,
            protocol.as_dict(),
            [describe_entry(entry) for entry in entries],
            {"same": [WHAT[what] for what in self._expected], "differences": differences(entries)},
        )

    def run(self) -> Comparison:
        """Do what is left to do, and return what was found.

        Raises:
            ConfigError: an entry's problem does not fit together, which is found before the first run.
            NothingMatchedError: runs are missing, and none may be made.
            PairingError: runs that should have started alike did not.
            Interrupted: a signal came; repeated, the rest is done.
        """
        started, ledger = time.monotonic(), self._ledger
        self._tell(events.question(ledger, measured(self._entries)))
        with self._workers:
            self._do(self._settled(), started)
        if asked_again.are_wanted() and self._num_verified is None:
            begin = self._told_by_a_repeat()
            asked_again.tell(facts_of(ledger, self._entries, self._protocol, self._maker, self._phases, begin))
        return Comparison(ledger.path)

    def _complete(self, started: float) -> None:
        ledger, seeds = self._ledger, self._protocol.seeds
        ledger.data["complete"] = all(task.state != "planned" for task in ledger.tasks)
        paths = {task.path for task in ledger.tasks}
        if (verified := ledger.data["verified"]) and not all(run["run"] in paths for run in verified["runs"]):
            ledger.data["verified"] = None  # it was about other runs
        ledger.data["wall_secs"] = round(time.monotonic() - started, 2)
        if seeds:
            ledger.look(seeds)
        ledger.write()

    def _told_by_a_repeat(self) -> list[dict[str, Any]]:
        """Return the events before the first phase, of a repeat that finds all runs done."""
        ledger, metrics = self._ledger, measured(self._entries)
        plan = events.plan(ledger, self._num_runs, self._num_known, metrics)
        plan["plan"]["estimate_secs"] = 0.0 if self._protocol.seeds else None
        return [events.question(ledger, metrics), plan]

    def _settled(self) -> Plan:
        """Settle what trains the runs, and return which these are.

        A group keeps the engine that it has. A new one that is asked for none takes the one by which some of its runs
        are there already, or else the faster one.
        """
        kept, asked = self._ledger.data["engine"], self._asked
        if kept is not None and not self._fresh and asked in (AUTO, kept["name"]):
            return self._begun(self._planned_by(Engine(**kept)))
        first, *others = keys(asked, self._entries)
        plan = self._planned_by(with_key(first))
        while others and not plan.num_found:
            plan = self._planned_by(with_key(others.pop(0)))
        if not self._begun(plan).num_left or not self._train or asked == PROCESSES:
            return plan
        if plan.num_found:
            engine = taken_over(self._engine, asked, self._entries, self._ask)
        else:
            choose = chosen if asked == AUTO else asked_for
            engine = choose(self._entries, plan.num_left, self._protocol.jobs, self._ask)
        if engine.key != self._engine.key:
            plan = self._planned_by(engine)
        self._settle(engine)
        return plan

    def _ask(self, *order: Any) -> Any:
        """Ask a worker, of no code of the user's."""
        answer = self._workers.ask(order, frozenset())
        if order[0] == TIME:
            self._secs_of_first = answer
        return answer

    def _settle(self, engine: Engine) -> None:
        self._engine, self._maker.engine = engine, engine.key
        self._ledger.data["engine"] = engine.as_dict()

    def _begun(self, plan: Plan) -> Plan:
        """Start workers for what is to be made, which takes them a while."""
        if self._train:
            self._workers.begin(min(self._protocol.jobs, plan.num_left))
        return plan

    def _planned_by(self, engine: Engine) -> Plan:
        """Return the runs that are to be trained by an engine."""
        self._settle(engine)
        tuned = [entry for entry in self._entries if entry.name in self._tunings]
        trials = [task for tasks in zip(*map(self._first_trials, tuned), strict=True) for task in tasks]
        fixed = [entry for entry in self._entries if entry.name not in self._tunings]
        evaluation = [task for entry in fixed for task in self._evaluations(entry, {})]
        return Plan(tuned, trials, evaluation, len(tuned) * len(self._protocol.seeds))

    def _do(self, plan: Plan, started: float) -> None:
        ledger, (tuned, trials, evaluation, num_later) = self._ledger, plan
        if self._train:
            self._try_entries({task.entry for task in (*trials, *evaluation) if task.state == "planned"})
        with Pool(
            self._root, self._protocol.jobs, self._maker, self._workers, self._tell, self._finished, self._engine.key
        ) as pool:
            self._announce(pool, trials, evaluation, num_later)
            if self._fresh and ledger.path.exists():  # only now: whoever hears the plan may still refuse it
                trash(ledger.path, self._maker.kept)
                ledger.data |= {"looks": [], "verified": None}
            if self._train:
                self._maker.tidy()
            with working_in(ledger.path) if self._train else contextlib.nullcontext():
                self._carry_out(pool, trials, evaluation, tuned)
                self._complete(started)
                if self._num_verified is not None:
                    self._verify(self._num_verified)

    def _verify(self, count: int) -> None:
        """Make so many runs of a batch again, each by itself.

        Raises:
            NotVerifiedError: they are others than in the batch.
        """
        if self._engine.name == PROCESSES:
            log.warning("--verify-batched: no run was in a batch, so that there is nothing to verify")
            return
        maker = TaskMaker(self._root, self._ledger.path.name, self._hash_data, not self._fresh)
        verifying = Verifying(self._ledger, self._protocol, self._entries, maker, count)
        with Pool(self._root, self._protocol.jobs, maker, self._workers, self._tell, verifying.note) as pool:
            verifying.make(pool, self._tell, self._train)
            verifying.keep(self._engine.key, self._ask)

    def _try_entries(self, names: Collection[str]) -> None:
        """Build each entry that runs are to be made of, so that no other run is made before one is refused.

        An optimizer that does not take the model is a result of the comparison: its runs fail, and the others go on. So
        do they where an entry is hindered by what no configuration says, such as data that is missing today.
        """
        for entry in self._entries:
            if entry.name not in names:
                continue
            try:
                try_building(entry, self._workers)
            except ConfigError as error:
                if isinstance(error.__cause__, WorkerDiedError):
                    raise
                if all(problem.key.split(".")[0] != "optimizer" for problem in error.problems):
                    error.add_note(f"in entry '{entry.name}'")
                    raise
            except Exception as error:  # noqa: BLE001 (its runs will say so)
                log.debug("entry %s cannot be built: %s", entry.name, type_and_text(error))

    def _carry_out(self, pool: Pool, trials: list[Task], evaluation: list[Task], tuned: list[Entry]) -> None:
        if trials:
            self._phase(pool, "tune", trials)
            self._extend(pool, tuned)
        for entry in tuned:
            settings = self._choose(entry)
            if self._tunings[entry.name].known():  # else nothing says at which value to evaluate it
                evaluation += self._evaluations(entry, settings)
        if self._protocol.seeds:
            self._phase(pool, "evaluate", sorted(evaluation, key=lambda task: task.seed))
            check_pairs(self._ledger, self._expected, not any(entry.runs for entry in self._entries))

    # ---- the phases ----------------------------------------------------------------------------------------------

    def _first_trials(self, entry: Entry) -> list[Task]:
        values = self._tunings[entry.name].values
        return [self._trial(entry, value, seed) for seed in self._protocol.tune_seeds for value in values]

    def _trial(self, entry: Entry, value: Any, seed: int) -> Task:
        return self._maker.make(entry, "tune", seed, self._tunings[entry.name].settings(value))

    def _evaluations(self, entry: Entry, settings: dict[str, Any]) -> list[Task]:
        if entry.runs:
            return self._maker.made_before(entry)
        return [self._maker.make(entry, "evaluate", seed, settings) for seed in self._protocol.seeds]

    def _extend(self, pool: Pool, tuned: list[Entry]) -> None:
        """While some entry's best rate is at the edge of what it tried, give every entry one more trial."""
        for _ in range(MAX_EXTENSIONS):
            self._score()
            if not any(tuning.centre is not None and tuning.at_edge() for tuning in self._tunings.values()):
                return
            more = [(entry, value) for entry in tuned if (value := self._tunings[entry.name].extend()) is not None]
            seeds = self._protocol.tune_seeds
            self._phase(pool, "extend", [self._trial(*each, seed) for each in more for seed in seeds])
        self._score()

    def _score(self) -> None:
        for name, tuning in self._tunings.items():
            tuning.scores, tuning.states = {}, {}
            for task in self._ledger.of("tune", name):
                value, metric = tuning.value_of(task.settings), self._protocol.select.metric
                tuning.scores.setdefault(value, []).append(task.value(metric))
                tuning.states.setdefault(value, []).append(task.result_state(metric))

    def _choose(self, entry: Entry) -> dict[str, Any]:
        """Record an entry's trials, and return the settings that its evaluation has."""
        tuning, kept = self._tunings[entry.name], self._ledger.entry(entry.name)
        kept["tuning"] = tuning.as_dict(self._ledger.of("tune", entry.name), self._protocol.tune_trials)
        if self._protocol.seeds and tuning.best() is not None:
            kept["settings"] = tuning.settings(tuning.best())
        return kept["settings"]

    def _phase(self, pool: Pool, name: str, tasks: list[Task]) -> None:
        self._ledger.add(tasks)
        self._phases.append((name, tasks))
        self._tell(events.phase(name, tasks))
        missing = [task for task in tasks if task.state == "planned"]
        if missing and not self._train:
            raise NothingMatchedError(
                f"{len(missing)} of {len(tasks)} runs are missing, the first is {missing[0].path}: leave out --no-train"
                " (in Python `train=False`)"
            )
        self._ledger.write()
        for task in tasks:
            if task.state != "planned":
                self._tell(events.finished(task, self._protocol))
        pool.run(missing)

    def _finished(self, task: Task) -> None:
        if task.state in FINISHED and not task.cached:
            self._maker.note(task)
        self._tell(events.finished(task, self._protocol))
        self._ledger.write()

    # ---- the plan ------------------------------------------------------------------------------------------------

    def _announce(self, pool: Pool, trials: list[Task], evaluation: list[Task], later: int) -> None:
        """Send the plan: the runs, and about how long they will take; `later` ones depend on the trials."""
        known = [*trials, *evaluation]
        self._num_runs, self._num_known = len(known) + later, len(known)
        todo = [task for task in known if task.state == "planned"]
        if self._protocol.seeds:
            num_todo = len(todo) + (later if todo or not trials else 0)
            per_run = self._secs_per_run(pool, todo) if self._train else None
            self._ledger.data["estimate_secs"] = 0.0 if per_run is None else self._estimate(per_run, num_todo)
        cached = sum(task.state in FINISHED for task in known)
        self._tell(events.plan(self._ledger, self._num_runs, cached, measured(self._entries)))

    def _estimate(self, per_run: float, num_runs: int) -> float:
        """Return the seconds that so many runs will take."""
        gain = self._engine.gain if self._engine.name == BATCHED and self._engine.gain is not None else 1.0
        return round(_START_UP_SECS + num_runs * per_run / gain / min(self._protocol.jobs, num_runs), 1)

    def _secs_per_run(self, pool: Pool, todo: Sequence[Task]) -> float | None:
        """Time a few steps of a run of the first entry that can take some; None if none can.

        What goes wrong here is the run's own affair: made by a worker it diverges, or fails, and is told as that. The
        user's own code, which may end its process, is timed last.
        """
        if self._secs_of_first is not None:
            return self._secs_of_first
        own = {entry.name for entry in self._entries if has_own_code(entry.config)}
        first = [next(task for task in todo if task.entry == name) for name in {task.entry: 0 for task in todo}]
        for task in sorted(first, key=lambda task: task.entry in own):
            secs = pool.time(task)
            if secs is not None:
                return secs
        return None

"""How the runs of a comparison share this machine: each in a process of its own, or many in one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import UsageError
from ..system import waiting
from ..system.processes import how
from . import worker
from .entry import Entry
from .identity import BATCHED, COMPILED, PROCESSES
from .probing import Probed
from .trying import has_own_code
from .workers import WorkerDiedError

AUTO = "auto"
_LEAST_SECS = 15.0  # of a comparison, below which to find out costs more than it brings
_LEAST_RUNS = 4  # in a worker, likewise
_LEAST_GAIN = 1.15  # by which a batch has to be faster, measured on a few steps
_LEAST_SECS_IF_LARGE = 25.0  # of a comparison whose steps are long, and only gain where they are compiled
_LARGE_WORK, _MOST_WORK = 1_000_000, 10_000_000  # multiply-adds for each tensor; beyond the latter, nothing is gained
_GAIN_IF_COMPILED, _MORE_GAIN_IF_COMPILED = 2.0, 1.5  # by a batch, over single runs and over one that is not compiled
_NUM_GRAPHS = 3  # for full batches, the last one of an epoch, and evaluation
_COMPILING_SECS, _COMPILING_SECS_PER_OPERATION = 10.0, 0.04  # of each

Ask = Callable[..., Any]  #: (order, arguments…) -> what a worker process answers


@dataclass(frozen=True)
class Engine:
    """What trains the runs of a group, and why.

    Args:
        name: `processes` or `batched`.
        why: in words; empty where it was asked for, or nothing else was thought of.
        reasons: why not in a batch, by entry.
        gain: how many times as fast a step in a batch was, when it was probed.
        compiled: whether graphs of a batch are compiled though no configuration says so.
    """

    name: str
    why: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict)
    gain: float | None = None
    compiled: bool = False

    @property
    def key(self) -> str:
        """Return what a run's bits depend on, as its key has it."""
        return COMPILED if self.compiled else self.name

    def as_dict(self) -> dict[str, Any]:
        """Return what comparison.json keeps."""
        return {key: value for key, value in asdict(self).items() if key == "name" or value}


def keys(asked: str, entries: Sequence[Entry]) -> list[str]:
    """Return the keys of engines that may be meant by what was asked for, the one that comes first in doubt last."""
    batched = [COMPILED, BATCHED] if _compiles(entries) is None else [BATCHED]
    return {AUTO: [*batched, PROCESSES], BATCHED: batched, PROCESSES: [PROCESSES]}[asked]


def with_key(key: str) -> Engine:
    """Return the engine of a run's key."""
    return Engine(BATCHED, compiled=True) if key == COMPILED else Engine(key)


def asked_for(entries: Sequence[Entry], num_runs: int, jobs: int, ask: Ask) -> Engine:
    """Return the batch that was asked for; the arguments are those of `chosen`.

    Raises:
        UsageError: runs of an entry cannot be trained in a batch, or would depend on each other there.
    """
    reasons, probed, is_compiled = _reasons(entries), Probed(), False
    if not reasons:
        try:
            secs = _secs(entries, num_runs, jobs, ask)
            probed, is_compiled = _probed(entries, 0.0 if secs is None else secs, ask, is_asked_for=True)
        except WorkerDiedError as died:
            raise _refusal(entries[0].name, _death(died)) from died
    for entry, reason in (reasons or probed.reasons).items():
        raise _refusal(entry, reason)
    return Engine(BATCHED, compiled=is_compiled and _compiles(entries) is None)


def chosen(entries: Sequence[Entry], num_runs: int, jobs: int, ask: Ask) -> Engine:
    """Return the engine that is faster here, by a rule and a measurement of a few steps.

    Args:
        entries: the contenders.
        num_runs: that are to be made.
        jobs: worker processes.
        ask: asks one of them.
    """
    if num_runs < _LEAST_RUNS * jobs or has_own_code(entries[0].config):
        return Engine(PROCESSES)
    reasons, probed, is_compiled = {}, Probed(), False
    try:
        secs = _secs(entries, num_runs, jobs, ask)
        if secs is None or secs < _LEAST_SECS:
            return Engine(PROCESSES)
        reasons = _reasons(entries)
        if not reasons:
            probed, is_compiled = _probed(entries, secs, ask, is_asked_for=False)
    except WorkerDiedError as died:
        return Engine(PROCESSES, _death(died))
    for entry, reason in (reasons or probed.reasons).items():
        return Engine(PROCESSES, f"{entry}: {reason}", reasons or probed.reasons)
    if probed.gain is None:
        return Engine(PROCESSES, "steps of this model are long enough by themselves")
    gain = round(probed.gain, 2)
    if gain < _LEAST_GAIN:
        return Engine(PROCESSES, f"a batch of runs is no faster here ({gain:.2g} times)", gain=gain)
    why = f"a {'compiled ' if is_compiled else ''}step of many runs at once is {gain:.2g} times as fast here"
    return Engine(BATCHED, why, gain=gain, compiled=is_compiled and _compiles(entries) is None)


def taken_over(engine: Engine, asked: str, entries: Sequence[Entry], ask: Ask) -> Engine:
    """Return the engine by which some of the runs are there already, unless others cannot be trained by it.

    Raises:
        UsageError: they cannot, and it was asked for.
    """
    if engine.name == PROCESSES:
        return engine
    reasons = (
        _reasons(entries) or ask(worker.LOOK_AT, {entry.name: entry.config.to_dict() for entry in entries}).reasons
    )
    for entry, reason in reasons.items():
        if asked != AUTO:
            raise _refusal(entry, reason)
        return Engine(PROCESSES, f"{entry}: {reason}", reasons)
    return engine


def _refusal(entry: str, reason: str) -> UsageError:
    return UsageError(
        f"--engine batched: runs of entry '{entry}' cannot be trained in one batch: {reason}: "
        "leave --engine out (in Python `engine=`)"
    )


def _death(died: WorkerDiedError) -> str:
    return f"the process that tried its steps ended, {how(died.exitcode)}"


def _secs(entries: Sequence[Entry], num_runs: int, jobs: int, ask: Ask) -> float | None:
    """Return about how long the runs will take, each in a process of its own; None if that is not known."""
    per_run = ask(worker.TIME, entries[0].config.to_dict())
    return None if per_run is None else per_run * num_runs / jobs


def _reasons(entries: Sequence[Entry]) -> dict[str, str]:
    """Return why runs of some entries cannot be trained in a batch, whatever their models are like."""
    made = {entry.name: "its runs are made already" for entry in entries if entry.runs}
    own = {entry.name: "code of your own may do more than compute" for entry in entries if has_own_code(entry.config)}
    return own | made


def _probed(entries: Sequence[Entry], secs: float, ask: Ask, is_asked_for: bool) -> tuple[Probed, bool]:
    """Return what is known of steps in a batch, and whether its graphs are to be compiled.

    They are where the configuration says so, or says nothing and that pays: where an earlier command has left them, or
    where they save more time than compiling takes.

    Args:
        entries: the contenders.
        secs: that the runs take by themselves.
        ask: asks a worker.
        is_asked_for: whether somebody wants a batch; else it is not probed where it can hardly be faster.
    """
    configs, compiles = {entry.name: entry.config.to_dict() for entry in entries}, _compiles(entries)
    seen: Probed = ask(worker.LOOK_AT, configs)
    if seen.reasons:
        return seen, False
    work = 0.0 if seen.work is None else seen.work
    if not is_asked_for and (work > _MOST_WORK or (work > _LARGE_WORK and secs < _LEAST_SECS_IF_LARGE)):
        return Probed(), False
    stored: Probed | None = None if compiles is False else ask(worker.PROBE, configs, True, compiles is True)
    if compiles or (stored is not None and stored.num_missing is None):
        assert stored is not None
        return stored, True
    as_it_is = Probed()
    if is_asked_for or work <= _LARGE_WORK:
        as_it_is = ask(worker.PROBE, configs, False, False)
    if stored is not None and _saves_by_compiling(secs, as_it_is.gain) > _compiling_secs(stored):
        waiting.tell("compiling the steps of a batch of runs: half a minute, more for a deep network")
        found: Probed = ask(worker.PROBE, configs, True, True)
        if not found.reasons:
            return found, True
    return as_it_is, False


def _compiles(entries: Sequence[Entry]) -> bool | None:
    """Return whether graphs are to be compiled; None where nobody has said so."""
    wanted = {entry.config.train.compile for entry in entries}
    if True in wanted:
        return True
    places = [entry.config.origins.get("train.compile") for entry in entries]
    is_said = any(place is not None and place.kind != "default" for place in places)
    return False if is_said and wanted == {False} else None


def _saves_by_compiling(secs: float, gain: float | None) -> float:
    """Return how many seconds compiled steps of a batch save.

    Args:
        secs: that the runs take by themselves.
        gain: of a batch that is not compiled; None where that is not known.
    """
    as_it_is = 1.0 if gain is None else max(1.0, gain)
    return secs / as_it_is - secs / max(_GAIN_IF_COMPILED, _MORE_GAIN_IF_COMPILED * as_it_is)


def _compiling_secs(probed: Probed) -> float:
    """Return about how long it takes to compile what is missing."""
    num_operations = 0 if probed.num_missing is None else probed.num_missing
    return _NUM_GRAPHS * (_COMPILING_SECS + _COMPILING_SECS_PER_OPERATION * num_operations)

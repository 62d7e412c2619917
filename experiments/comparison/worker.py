"""The work of a worker process: one run after another, with reports to the parent."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..components.data import make_data
from ..components.hooks.hook import Every, Hook, RunArgs
from ..components.hooks.session_view import StepView
from ..config import ConfigError
from ..errors import DivergedError, ExitCode, Interrupted, OptrunError, RunInUseError
from ..registry.calls import told_calls, told_key
from ..run_directory.run import Run
from ..system import forks, places
from ..system.raised import guarded_process_end, message_of, refusing_exits, type_and_text
from ..system.switches import Snapshot, held_switches, turned, work_for
from ..training.attempt import Attempt
from ..training.batched import train_together
from ..training.build import build
from ..training.configured_data import loading_of
from ..training.load import load_config
from ..training.together import Together
from ..training.train import training
from .asking import Answer, Asked
from .estimate import time_run
from .fingerprints import fingerprint
from .first_steps import first_steps
from .identity import COMPILED, PROCESSES, problem_of
from .probing import Probed, look_at, probe
from .shipping import Shipment

BY_IMPORTS, BY_RUNS = "imports", "runs"  # what has turned switches of this process
STOP = "stop"  # what the parent says when runs are to end
RUN = "run"  # before the runs that are to be made
TIME = "time"  # and before a configuration of which it wants to know how long it takes
LOOK_AT, PROBE = "look at", "probe"  # and before some of which it wants to know how they do in a batch
FIRST_STEPS = "first steps"  # or how far that is from what they do by themselves
TRY = "try"  # before one that is to be built
HASH = "hash"  # and before one whose data it wants to know
_REPORT_SECS, _REPORT_SECS_IN_BATCH = 0.25, 1.0
CALLING = "calling"  # what this process says before it calls something, since it may not live to say it afterwards
_pipe: Any = None  # to the parent
_parent: int | None = None
_shipment: Shipment | None = None  # what is not registered here yet
_together: tuple[Any, Together] | None = None  # what has trained the latest runs at once, and of which problem


class ReportHook(Hook):
    """Send step and loss to the parent a few times a second, and end the run when the parent wants to stop.

    Args:
        number: of the task.
        num_steps: in the whole run.
        secs: between two reports.
    """

    name = "report"
    only_reads = only_values = True

    def __init__(self, number: int, num_steps: int | None, secs: float):
        self._number, self._num_steps = number, num_steps
        self.trigger = Every(secs=secs)

    def before_run(self, ctx: StepView) -> RunArgs:
        return RunArgs(("loss",))

    def fetches_at(self, step: int) -> Sequence[str]:
        return ("loss",)

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        try:
            _pipe.send(("progress", self._number, ctx.step, self._num_steps, values["loss"]))
            is_to_stop = _pipe.poll()  # the parent says nothing else while a run is on its way
        except OSError:  # it was killed
            is_to_stop = True
        if is_to_stop:
            os.kill(os.getpid(), signal.SIGTERM)  # the session saves, as for any SIGTERM


def serve(pipe: Any, parent: int, shipment: Shipment, switches: Snapshot | None = None, is_plain: bool = False) -> None:
    """Do one task after another, as they come through the pipe: the life of a worker process.

    Signals from the keyboard are the parent's business.

    Args:
        pipe: gives orders: RUN and runs to be made, TIME and a configuration to be timed, LOOK_AT, PROBE or FIRST_STEPS
            and the arguments of these, TRY or HASH and an `Asked`, or None for the end; takes what becomes of them.
        parent: its process number.
        shipment: what is not registered here yet.
        switches: those of that process.
        is_plain: whether no code of the user's will be reached.
    """
    own = os.getpid()
    start(pipe, parent, shipment)
    if switches is not None:
        work_for(switches)
    pipe.send(("begun",))
    if is_plain and not pipe.poll():  # whoever asks later does not wait for what every optimizer of torch imports
        importlib.import_module("torch._dynamo")
    while (task := pipe.recv()) is not None:
        if task == STOP:  # which comes too late for a run that has ended
            continue
        order, *given = task
        answer = run(*given) if order == RUN else _ORDERS[order](*given)
        if os.getpid() != own:  # the user's code has forked it, and let it come here: the pipe is not its own
            sys.stderr.write(f"error: {message_of(forks.error())}\n")
            forks.end(ExitCode.USAGE)
        pipe.send(("ended", answer, _what_has_turned()))
    if is_plain:  # to take torch down takes half a second, in which everybody waits
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def start(pipe: Any, parent: int, shipment: Shipment) -> None:
    """Prepare a fresh worker process; see `serve`."""
    global _pipe, _parent, _shipment
    _pipe, _parent, _shipment = pipe, parent, shipment
    forks.forget()
    places.has_moved = False  # this process has gone nowhere yet, whatever a forked one finds there
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


class Order(NamedTuple):
    """A run that is to be made.

    Args:
        number: of the task.
        config: as plain data.
        folder: the run directory.
    """

    number: int
    config: Mapping[str, Any]
    folder: str


def _tell_parent(number: int, state: tuple[str, str]) -> None:
    _pipe.send(("made", number, state))


def run(
    orders: Sequence[Order],
    engine: str = PROCESSES,
    tell: Callable[[int, tuple[str, str]], None] = _tell_parent,
) -> None:
    """Train runs, or finish what is left of them; tell of each its number, its state and, if it failed, why.

    The state is one of a record, or `interrupted`, or `in use` where another process makes the run.

    Args:
        orders: one run, or several that are trained at once.
        engine: that trains them.
        tell: the parent, by default.
    """
    own = os.getpid()

    def take(place: int, result: Any) -> None:
        if isinstance(result, SystemExit) and os.getpid() != own:  # forked by the user's code, and its affair
            forks.end(result.code)
        if os.getpid() == own:
            tell(orders[place].number, _state_of(result))

    try:
        with guarded_process_end():
            _make(orders, engine, take)
    finally:
        if (
            os.getpid() == own and _parent is not None and os.getppid() != _parent
        ):  # the runs are saved; the next task would never come
            os._exit(128 + signal.SIGTERM)


@places.held_places()
@held_switches()
def _make(orders: Sequence[Order], engine: str, take: Callable[[int, Any], None]) -> None:
    """Train runs at once; tell of each its place and what has come of it."""
    secs = _REPORT_SECS if len(orders) == 1 else _REPORT_SECS_IN_BATCH
    config, together = orders[0].config, None
    if engine != PROCESSES:
        together = _together_for(config, engine == COMPILED or config["train"]["compile"] is True)
    try:
        train_together([_training(order, together, secs) for order in orders], together, take)
    finally:
        if together is not None:
            together.rest()


def _together_for(config: Mapping[str, Any], is_compiled: bool) -> Together:
    """Return what trains runs of a problem at once: the one before where that had the same, and knows its graphs."""
    global _together
    problem = is_compiled, problem_of(config)
    if _together is None or _together[0] != problem:
        _together = problem, Together(is_compiled)
    return _together[1]


@held_switches()
def _probe(configs: Mapping[str, Mapping[str, Any]], is_compiled: bool, may_compile: bool) -> Probed:
    """Try steps of runs in a batch, by the names of their entries.

    Args:
        configs: as plain data.
        is_compiled: whether graphs are compiled.
        may_compile: False leaves it at that where some would have to be compiled first.
    """
    stack = _together_for(next(iter(configs.values())), is_compiled).stack
    stack.graphs.may_compile = may_compile or not is_compiled
    try:
        return probe(stack, configs)
    finally:
        stack.graphs.may_compile = True


def _training(order: Order, together: Together | None, report_secs: float) -> Attempt:
    path = Path(order.folder)

    def on_start(experiment: Any, run_dir: Any) -> list[Any]:
        if not (run_dir.path / "pairing.json").exists():  # a resumed run has its first weights no more
            run_dir.write_json("pairing.json", fingerprint(experiment))
        return [ReportHook(order.number, experiment.length.num_steps, report_secs)]

    with refusing_exits():
        _unpack()
        config = load_config({**order.config, "name": path.name})
        return (yield from training(config, path.parent, path.name, on_start=on_start, together=together))


def _state_of(result: Any) -> tuple[str, str]:
    """Return the state of a run for its record, and why it failed."""
    if isinstance(result, Run):
        return ("diverged" if result.state == "diverged" else "done"), ""
    if isinstance(result, DivergedError):
        return "diverged", message_of(result)
    if isinstance(result, Interrupted):
        return "interrupted", ""
    if isinstance(result, RunInUseError):
        return "in use", message_of(result)
    if isinstance(result, ConfigError):
        return "failed", "; ".join(problem.said for problem in result.problems)
    if isinstance(result, OptrunError):
        return "failed", message_of(result)
    return "failed", type_and_text(result)


@held_switches()
def _time(config: Mapping[str, Any]) -> float | None:
    try:
        with guarded_process_end(), refusing_exits():
            _unpack()
            return time_run(config)
    except Exception:  # noqa: BLE001 (what cannot be unpacked is each run's own failure)
        return None


def _try(asked: Asked) -> Answer:
    """Build a configuration and throw it away: what it is refused for is the answer."""

    def call() -> None:
        _unpack()
        with told_calls(_say_calling):
            build(asked.config())

    return Answer.of(call)


def _hash(asked: Asked) -> Answer:
    """Answer with the SHA-256 of a configuration's examples."""

    def call() -> str:
        _unpack()
        with told_calls(_say_calling), told_key("data"):
            config = asked.config()
            data = config.data
            return make_data(data.component, loading=loading_of(config), **data.args).sha256()

    return Answer.of(call)


def _first_steps(*given: Any) -> Answer:
    return Answer.of(lambda: first_steps(*given))


_ORDERS: dict[str, Callable[..., Any]] = {
    TIME: _time,
    LOOK_AT: held_switches()(look_at),
    PROBE: _probe,
    FIRST_STEPS: _first_steps,
    TRY: _try,
    HASH: _hash,
}


def _say_calling(key: str, what: str) -> None:
    if not forks.is_fork():  # the pipe is not that of a process which the user's code has forked
        with suppress(OSError):  # the parent was killed
            _pipe.send((CALLING, key, what))


def _what_has_turned() -> str:
    """Return BY_IMPORTS or BY_RUNS if this process is not as a new one any more; empty if it is.

    A run is put back, but what it did may have done more, such as import a library that turns a switch only once.
    """
    by_imports, otherwise = turned()
    if otherwise or places.has_moved:
        return BY_RUNS
    return BY_IMPORTS if by_imports else ""


def _unpack() -> None:
    """Register what was sent, with the first run: an error then is that run's result, and does not end the worker."""
    global _shipment
    if _shipment is not None:
        _shipment.unpack()
        _shipment = None


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: nobody would read its results."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)

"""Worker processes: started when first needed, asked one thing at a time, replaced when they die."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..errors import Interrupted, OptrunError, SessionError
from ..system import signals
from ..system.processes import how
from ..system.switches import at_start
from . import worker
from .shipping import Shipment, main_left_out
from .tasks import Task

POLL_SECS = 0.1
#: Memory that glibc keeps for the next step, instead of giving it back and fetching it anew, page by page; in bytes.
_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(512 << 20)}
_MAX_STILLBORN = 3  # worker processes in a row that end before they begin


@dataclass(eq=False)
class Worker:
    """A worker process, the pipe to it, and the runs that it makes, by number."""

    process: Any
    pipe: Any
    tasks: dict[int, Task] = field(default_factory=dict)
    is_busy: bool = False
    given: Collection[str] = ()  # files of the user's code that these runs reach
    has_begun: bool = False
    code: Collection[str] | None = None  # whose import has turned switches of the process

    def send(self, what: Any) -> None:
        with contextlib.suppress(OSError):  # it has died, which is seen when it is listened to
            self.pipe.send(what)


class WorkerDiedError(OptrunError):
    """A worker process ended while it did what it was asked.

    Args:
        exitcode: of the process.
        called: the key of what it was calling, and that call in words; both empty where it was calling nothing.
    """

    def __init__(self, exitcode: int | None, called: tuple[str, str]):
        super().__init__(f"a worker process ended, {how(exitcode)}")
        self.exitcode, self.called = exitcode, called


class Workers:
    """Worker processes that are started when first needed, and kept for all that a command has them do.

    Each has a pipe of its own and shares nothing with the others, so that one that is killed harms none of them.

    Args:
        shipment: what the processes need of this one.
        is_plain: whether no code of the user's will be reached.

    Attributes:
        start_method: of the processes, a name of `multiprocessing`; torch's own threads do not survive a fork.
    """

    start_method: ClassVar[str] = "spawn"

    def __init__(self, shipment: Shipment, is_plain: bool = False):
        self._shipment, self._is_plain = shipment, is_plain
        self._context: Any = multiprocessing.get_context(self.start_method)
        self._all: list[Worker] = []
        self._stillborn = 0

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End them all, once those at work have saved."""
        for each in self._all:
            each.send(worker.STOP)
            each.send(None)
        for each in self._all:
            each.process.join()
            each.pipe.close()
        self._all.clear()

    def begin(self, count: int) -> None:
        """Start so many in all, so that they are there when there is something to do."""
        while len(self._all) < count:
            self._start()

    def __len__(self) -> int:
        return len(self._all)

    def busy(self) -> list[Worker]:
        """Return those that make a run."""
        return [each for each in self._all if each.is_busy]

    def idle(self) -> Worker | None:
        """Return one that does nothing at the moment."""
        return next((each for each in self._all if not each.is_busy), None)

    def fit(self, code: Collection[str]) -> Worker:
        """Return an idle worker that is as a new one for a run of this code; it is started where there is none."""
        found = self.idle()
        if found is not None and found.code not in (None, code):  # it would start otherwise there
            self._retire(found)
            found = None
        return found or self._start()

    def ask(self, order: tuple[Any, ...], code: Collection[str]) -> Any:
        """Let an idle worker do something other than a run, and return its answer.

        Args:
            order: what, and with what, as `worker.serve` takes it.
            code: files of the user's that it reaches.

        Raises:
            WorkerDiedError: the process has ended meanwhile.
            Interrupted: a signal came.
            SessionError: no worker process can be started.
        """
        while True:
            each, called = self.fit(code), ("", "")
            each.send(order)
            with signals.graceful() as stop:
                try:
                    while True:
                        while not each.pipe.poll(POLL_SECS):
                            if stop.signum is not None:
                                each.process.kill()  # it has nothing to save
                                raise Interrupted(stop.signum)
                        kind, *heard = each.pipe.recv()
                        if kind == worker.CALLING:
                            called = (heard[0], heard[1])
                        elif kind == "begun":
                            self.note_begun(each)
                        else:
                            answer, turned = heard
                            self.note_turned(each, turned, code)
                            return answer
                except (EOFError, OSError) as error:  # it has died
                    exitcode = self.bury(each, stop)
                    if stop.signum is not None:
                        raise Interrupted(stop.signum) from error
                    if each.has_begun:
                        raise WorkerDiedError(exitcode, called) from error

    def note_begun(self, each: Worker) -> None:
        """Take in that a new worker process can do what it is asked."""
        each.has_begun, self._stillborn = True, 0

    def note_turned(self, each: Worker, turned: str, code: Collection[str]) -> None:
        """Take in what has turned switches of a worker process: by the user's own acts, it is not used any more.

        Args:
            each: the worker.
            turned: as the process says.
            code: that it was given.
        """
        if turned == worker.BY_IMPORTS:
            each.code = code
        elif turned:
            self._retire(each)

    def bury(self, each: Worker, stop: signals.Stop) -> int | None:
        """Take in that a worker process has died, and return its exit code.

        Raises:
            SessionError: it is the last of several that ended before they could begin, and no signal did that.
        """
        self._all.remove(each)
        each.process.join()
        each.pipe.close()
        self._stillborn += not each.has_begun
        if self._stillborn >= _MAX_STILLBORN and stop.signum is None:
            raise SessionError(
                f"{self._stillborn} worker processes in a row ended before they could begin "
                f"({how(each.process.exitcode)}): look above for why; fewer at a time (-j 1) need less memory"
            )
        return each.process.exitcode

    def _retire(self, each: Worker) -> None:
        """End a worker process that is not as a new one: the next run gets a new one."""
        self._all.remove(each)
        each.send(None)
        each.process.join()
        each.pipe.close()

    def _start(self) -> Worker:
        mine, its_own = self._context.Pipe()
        given = (its_own, os.getpid(), self._shipment, at_start(), self._is_plain)
        process = self._context.Process(target=worker.serve, args=given)
        # The number of threads is each run's own affair; what numpy and others start at import is not needed.
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with _environment(**threads, **_MEMORY), _ignoring_interrupts(), main_left_out():
            process.start()
        its_own.close()  # so that its end is heard when the process dies
        self._all.append(Worker(process, mine))
        return self._all[-1]


@contextlib.contextmanager
def _ignoring_interrupts():
    """Let processes that are started meanwhile ignore Ctrl-C from their first instruction on: it is the parent's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _environment(**values: str):
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

"""Runs tasks on all cores: a pool of spawned processes, one thread each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, ClassVar

from ..errors import Interrupted
from ..system import signals
from . import events, worker
from .shipping import Shipment, main_left_out
from .tasks import Task

_POLL_SECS = 0.1


class Pool:
    """Worker processes that are started when first needed, and kept for all phases of a comparison.

    Args:
        root: the folder of runs.
        jobs: how many runs at a time.
        shipment: what the processes need of this one.
        on_event: is told of progress.
        on_finished: is told of each task that ended, before the next event.

    Attributes:
        start_method: of the processes, a name of `multiprocessing`; torch's own threads do not survive a fork.
    """

    start_method: ClassVar[str] = "spawn"

    def __init__(
        self,
        root: Path,
        jobs: int,
        shipment: Shipment,
        on_event: events.OnEvent,
        on_finished: Callable[[Task], None],
    ):
        self._root, self._jobs, self._shipment = root, jobs, shipment
        self._on_event, self._on_finished = on_event, on_finished
        self._context: Any = multiprocessing.get_context(self.start_method)
        self._events = self._context.Queue()
        self._stop = self._context.Event()
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        if self._executor is not None:
            self._stop.set()
            self._executor.shutdown(wait=True, cancel_futures=True)
        self._events.close()

    def run(self, tasks: Sequence[Task]) -> None:
        """Run tasks in this order.

        Raises:
            Interrupted: a signal came; runs in progress were saved, and go on when the comparison is repeated.
        """
        if not tasks:
            return
        with signals.graceful() as stop:
            try:
                self._run(tasks, stop)
            except BrokenProcessPool as broken:
                self._executor = None
                if stop.signum is not None:
                    raise Interrupted(stop.signum) from broken
                for task in tasks:
                    if task.state in ("planned", "running"):
                        task.state, task.message = "failed", "a worker process died (killed, or out of memory?)"
                        self._on_finished(task)

    def _run(self, tasks: Sequence[Task], stop: signals.Stop) -> None:
        executor = self._start()
        futures: dict[Future[tuple[str, str]], Task] = {}
        waiting, numbered = list(tasks), {task.number: task for task in tasks}
        while futures or waiting:
            while waiting and len(futures) < self._jobs and stop.signum is None:
                task = waiting.pop(0)
                task.state = "running"
                futures[executor.submit(worker.run, task.number, task.config, str(self._root / task.path))] = task
            done, _ = wait(futures, timeout=_POLL_SECS, return_when=FIRST_COMPLETED)
            self._hand_on_progress(numbered)
            for future in done:
                task = futures.pop(future)
                task.state, task.message = future.result()
                if task.state == "interrupted":
                    task.state = "planned"
                    continue
                self._on_finished(task)
            if stop.signum is not None:
                self._stop.set()
                if not futures:
                    raise Interrupted(stop.signum)

    def _start(self) -> ProcessPoolExecutor:
        if self._executor is None:
            # The number of threads is each run's own affair; what numpy and others start at import is not needed.
            threads = _environment(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
            with threads, _ignoring_interrupts(), main_left_out():
                needed = (self._events, self._stop, os.getpid(), self._shipment)
                self._executor = ProcessPoolExecutor(self._jobs, self._context, worker.start, needed)
                for _ in range(self._jobs):  # processes inherit the environment when they start
                    self._executor.submit(os.getpid)
        return self._executor

    def _hand_on_progress(self, tasks: dict[int, Task]) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                number, step, num_steps, loss = self._events.get_nowait()
                if number in tasks:  # not of a phase that is over
                    self._on_event(events.progress(tasks[number], step, num_steps, loss))


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

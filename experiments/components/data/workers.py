"""The worker processes that make batches ahead: how they begin, end, and what is told when one dies."""

from __future__ import annotations

import ctypes
import functools
import logging
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing.connection import wait
from typing import Any

import torch
from torch.utils.data import DataLoader, get_worker_info

from ...errors import DataError, StorageError
from ...system.processes import how, why
from ...system.shared_memory import explain_shared_memory
from .making import NotMade

log = logging.getLogger("optrun")

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG, Linux
_GRACE_SECS = 5.0  # until a worker that has cut off what it was sending is known to have died
_MOST_RESTARTS = 3  # of workers that were told to end, in one reading


class Reading:
    """Batches made ahead by worker processes, or in this one without them.

    Args:
        source: returns what makes batches, from a place in this reading on: a map-style data set of whole batches with
            the keys of those that are wanted; or an iterable data set of them, and None.
        num_workers: how many processes.
        options: more of torch's DataLoader.

    Raises:
        DataError: a worker died.
        StorageError: processes cannot share memory.
    """

    def __init__(
        self, source: Callable[[int], tuple[Any, Iterable[Any] | None]], num_workers: int, options: Mapping[str, Any]
    ):
        self._source, self._num_workers, self._options = source, num_workers, options
        self._read = self._restarts = 0
        self._stream: Any = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while True:
            try:
                if self._stream is None:
                    self._stream = _begun(*self._source(self._read), self._num_workers, self._options)
                batch = next(self._stream)
                break
            except (OSError, RuntimeError, EOFError) as error:
                self._refuse(error)
        self._read += 1
        if isinstance(batch, NotMade):
            batch.raise_again()
        return batch

    def close(self) -> None:
        """End the workers."""
        stream, self._stream = self._stream, None
        if (end := getattr(stream, "_shutdown_workers", None)) is not None:  # what torch does when it is forgotten
            end()

    def _refuse(self, error: Exception) -> None:
        """Say why no batch came, or return after all, where workers were only told to end, as a whole job may be."""
        workers = getattr(self._stream, "_workers", ())
        ended = wait([each.sentinel for each in workers], _GRACE_SECS) if workers else ()
        for each in workers:
            if each.sentinel in ended:  # which is closed a moment before the exit code can be read
                each.join(_GRACE_SECS)
        dead = [each.exitcode for each in workers if each.exitcode is not None]
        if reason := explain_shared_memory(error):
            raise StorageError(f"the workers of the data have no batch: {error}; {reason}") from error
        if not dead or self._num_workers == 0:
            raise error
        self.close()
        if all(code == -signal.SIGTERM for code in dead) and self._restarts < _MOST_RESTARTS:
            self._restarts += 1
            log.warning("a worker of the data was ended by SIGTERM: the workers were started again")
            return
        raise DataError(
            f"a worker process of the data died, {how(dead[0])}{why(dead[0])} (with data.workers: 0 the process that "
            "trains makes the examples, which shows where; fewer workers need less memory)"
        ) from error


def _begun(source: Any, wanted: Iterable[Any] | None, num_workers: int, options: Mapping[str, Any]) -> Iterator[Any]:
    """Return the iterator of torch's DataLoader over whole batches, or what comes to the same."""
    if num_workers == 0 and wanted is not None and not options.get("pin_memory"):
        return map(source.__getitem__, wanted)
    options = dict(options)
    own_init = options.pop("worker_init_fn", None)
    if num_workers == 0:
        options = {"pin_memory": True}
    else:
        # Code of the user's own is in no module that another interpreter could import by its name.
        if options.get("multiprocessing_context") is None and "fork" in multiprocessing.get_all_start_methods():
            options["multiprocessing_context"] = "fork" if sys.platform == "linux" else None
        is_main = threading.current_thread() is threading.main_thread()
        options["worker_init_fn"] = functools.partial(
            _begin_worker, os.getpid(), is_main, torch.get_default_dtype(), own_init
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # a note of the run says so, once
        loader = DataLoader(
            source,
            sampler=wanted,
            batch_size=None,
            num_workers=num_workers,
            collate_fn=_as_it_is,
            generator=torch.Generator(),  # else it draws from the run's
            **options,
        )
        return _keeping_handler(loader) if num_workers else iter(loader)


def _keeping_handler(loader: DataLoader[Any]) -> Iterator[Any]:
    """Start workers without torch's handler of SIGCHLD, which raises wherever the program happens to be."""
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        return iter(loader)
    before = signal.getsignal(signal.SIGCHLD)
    try:
        return iter(loader)
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if before is None else before)


def _begin_worker(
    parent: int, dies_with_parent: bool, dtype: torch.dtype, own: Callable[[int], Any] | None, number: int
) -> None:
    """Prepare a worker: a signal that is meant for the run is not its own, and it does not outlive the run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_default_dtype(dtype)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # Ctrl-C and `kill -TERM -GROUP` are for the process that trains, which saves and ends them
    if sys.platform == "linux" and dies_with_parent:  # by the thread that started it
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)
    if own is not None:
        _hand_on_source()
        own(number)


def _hand_on_source() -> None:
    """Let what a user's own `worker_init_fn` is told of be the data set that it knows, not what reads it here."""
    info = get_worker_info()
    source = getattr(getattr(info, "dataset", None), "source", None)
    if source is not None:
        vars(info)["dataset"] = source  # it refuses to be set


def _as_it_is(batch: Any) -> Any:
    return batch

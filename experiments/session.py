"""The monitored session: runs the train op, calls the hooks, saves, restores, recovers.

    with MonitoredTrainingSession(checkpoint_dir=folder, hooks=[StopAtStepHook(last_step=80_000)]) as session:
        while not session.should_stop():
            session.run(train_op)

One call of `run` is one step: before_run of the hooks that are due, the train op, their after_run. Between calls the
state is whole; that is the only point at which it may be saved.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from . import signals, storage
from .checkpoint_state import Clock, SavedState, load_latest_state, save_state
from .dispatch import Dispatch, Table
from .errors import DivergedError, Interrupted, SessionError, TransientError, WaitTimeoutError
from .hook import Evaluation, Every, Hook, RunArgs
from .hooks.checkpoint import CheckpointHook
from .rows import RowLog
from .train_op import EndOfData, TrainOp

log = logging.getLogger("optrun")

#: Errors that pass: the session goes back to its last good checkpoint and tries again.
TRANSIENT_ERRORS: tuple[type[Exception], ...] = (TransientError, ConnectionError)


class RunContext:
    """What a hook sees of the session during a step."""

    def __init__(self, session: MonitoredTrainingSession, train_op: TrainOp):
        self.session = session
        self.train_op = train_op

    @property
    def step(self) -> int:
        """Completed updates: k in before_run, k + 1 in after_run."""
        return self.train_op.global_step

    @property
    def batch(self) -> int:
        """Drawn batches, applied or skipped."""
        return self.train_op.batch

    def request_stop(self, reason: str = "") -> None:
        """Stop the session when every hook has seen this step."""
        self.session.request_stop(reason)


class MonitoredTrainingSession:
    """Runs a train op under hooks, from the latest checkpoint if there is one.

    Args:
        train_op: what will be run; it may also come with the first `run`, unless only its data ends the session.
        checkpoint_dir: where checkpoints are found and saved; None keeps nothing.
        hooks: called in the order of their phases, then in this order.
        chief_only_hooks: left out on ranks other than the chief.
        save_checkpoint_secs: seconds between checkpoints; 600 if neither this nor steps is given.
        save_checkpoint_steps: updates between checkpoints.
        evaluators: functions that measure the model, by the name of the split that they read.
        rows: the metrics log; by default `metrics.jsonl` in checkpoint_dir, or in memory.
        summary_dir: where TensorBoard's event files go unless their hook says otherwise; by default checkpoint_dir.
        is_chief: whether this process saves and reports; by default, whether the variable RANK is 0 or unset.
        max_wait_secs: how long another rank waits for the chief's checkpoint.
        recovery_wait_secs: how often it looks.
        transient: errors that lead back to the last checkpoint instead of ending the session.
        max_recoveries: how often in a row, without a new checkpoint between, it may go back.
        retry_wait_secs: the pause before the first of these, doubled each time.

    Raises:
        SessionError: nothing would ever end the session, or arguments exclude each other.
    """

    def __init__(
        self,
        train_op: TrainOp | None = None,
        *,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        hooks: Sequence[Hook] = (),
        chief_only_hooks: Sequence[Hook] = (),
        save_checkpoint_secs: float | None = None,
        save_checkpoint_steps: int | None = None,
        evaluators: Mapping[str, Callable[..., dict[str, float] | None]] | None = None,
        rows: RowLog | None = None,
        summary_dir: str | os.PathLike[str] | None = None,
        is_chief: bool | None = None,
        max_wait_secs: float = 7200.0,
        recovery_wait_secs: float = 30.0,
        transient: tuple[type[Exception], ...] = TRANSIENT_ERRORS,
        max_recoveries: int = 3,
        retry_wait_secs: float = 1.0,
    ):
        self.rank = int(os.environ.get("RANK", 0))
        self.is_chief = self.rank == 0 if is_chief is None else is_chief
        self.checkpoint_dir = Path(checkpoint_dir) if checkpoint_dir is not None else None
        self.summary_dir = Path(summary_dir) if summary_dir is not None else self.checkpoint_dir
        self.hooks = self._arrange(hooks, chief_only_hooks, save_checkpoint_secs, save_checkpoint_steps)
        self._check_that_it_ends(train_op)
        self.evaluators = dict(evaluators or {})
        self.rows = rows if rows is not None else RowLog(self._rows_path())
        self.train_op: TrainOp | None = None
        self.evaluation: Evaluation | None = None  # the latest
        self.final: dict[str, float] = {}  # measured at the very end
        self.outcome: str | None = None
        self.reason = ""
        self.error: BaseException | None = None
        self.restored_step: int | None = None
        self.at_boundary = True
        self.recoveries = 0
        self._max_wait_secs, self._recovery_wait_secs = max_wait_secs, recovery_wait_secs
        self._transient, self._max_recoveries, self._retry_wait_secs = transient, max_recoveries, retry_wait_secs
        self._clock = Clock()
        self._listeners: list[Callable[[Evaluation], None]] = []
        self._after_step: list[Callable[[], None]] = []
        self._closing = contextlib.ExitStack()
        self._first_op = train_op

    # ---- the loop ------------------------------------------------------------------------------------------------

    def should_stop(self) -> bool:
        """Tell whether the session is over: the last step is done, a stop was requested, or a signal came."""
        if self.outcome is None and self._signal.signum is not None:
            self._stop("interrupted")
        return self.outcome is not None

    def run(self, train_op: TrainOp) -> None:
        """Take one step.

        If the train op is new to the session, its state is restored first; should that turn out to be the last
        step's, nothing is run.

        Raises:
            SessionError: the session has stopped, or a hook asks for what it cannot have.
            DivergedError: the gate caught a value that is not finite, and its policy is to raise.
        """
        if train_op is not self.train_op:
            self._bind(train_op)
            if self.outcome is not None:
                return
        if self.outcome is not None:
            raise SessionError("run() after the end of the session: loop on `while not session.should_stop()`")
        self.at_boundary = False
        try:
            self._run_step(train_op)
        except EndOfData as end:
            self.request_stop(str(end), "done")
        except DivergedError as error:
            if train_op.gate is None or train_op.gate.policy != "stop":
                raise
            self.error = error
            self.request_stop(str(error), "diverged")
        except self._transient as error:
            self._recover(error)
        self.at_boundary = True

    def _run_step(self, train_op: TrainOp) -> None:
        table = self._dispatch.due(train_op.global_step + 1)
        ctx, hook, event = self._ctx, None, "before_run"
        requests: list[tuple[Hook, RunArgs]] = []
        try:
            for hook, before_run in table.before_run:
                request = before_run(ctx)
                if request is not None:
                    requests.append((hook, request))
            hook = None
            after_gradients = self._after_gradients(table) if table.after_gradients else None
            if not train_op.run(_merged_feed(requests), after_gradients):
                return  # a skipped batch completes no step
            if table is not self._dispatch.base:
                train_op.settle()
            values = _fetched(train_op, requests)
            event = "after_run"
            for hook, after_run in table.after_run:
                after_run(ctx, values.get(hook, _NOTHING))
        except Exception as error:
            if hook is not None:
                error.add_note(f"in {event} of hook '{hook.name}', at step {train_op.global_step}")
            raise
        self._dispatch.completed(table)
        while self._after_step:
            self._after_step.pop(0)()

    def _after_gradients(self, table: Table) -> Callable[[], None]:
        def call_hooks() -> None:
            for hook, after_gradients in table.after_gradients:
                with _noting(hook, "after_gradients"):
                    after_gradients(self._ctx)

        return call_hooks

    # ---- what hooks may ask of the session -----------------------------------------------------------------------

    @property
    def step(self) -> int:
        """Completed updates."""
        return self.train_op.global_step if self.train_op else 0

    @property
    def elapsed_secs(self) -> float:
        """Seconds spent in this run, earlier processes included."""
        return self._clock.elapsed_secs

    @property
    def cpu_secs(self) -> float:
        """Seconds of CPU time spent in this run, all threads and earlier processes included."""
        return self._clock.cpu_secs

    @property
    def interrupted(self) -> bool:
        """Whether a signal asks the session to end; long work in a hook looks here."""
        return self._signal.signum is not None

    def request_stop(self, reason: str = "", outcome: str = "stopped") -> None:
        """End the session after this step; the first request counts."""
        self._stop(outcome, reason)

    def write_row(self, **values: Any) -> None:
        """Append a row to the metrics log: where training is, then `values`."""
        train_op = self._require_op()
        steps_per_epoch = getattr(train_op.data, "steps_per_epoch", None)
        where = {"step": train_op.global_step, "batch": train_op.batch, "examples": train_op.examples}
        if steps_per_epoch:
            where["epoch"] = train_op.batch / steps_per_epoch
        self.rows.append({**where, "time": round(self.elapsed_secs, 4), **values})

    def publish(self, evaluation: Evaluation) -> None:
        """Make an evaluation known to all who listen."""
        self.evaluation = evaluation
        for listener in self._listeners:
            listener(evaluation)

    def on_evaluation(self, listener: Callable[[Evaluation], None]) -> None:
        """Call `listener` with every evaluation."""
        self._listeners.append(listener)

    def after_step(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, when every hook has seen the current step."""
        self._after_step.append(callback)

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call `callback` when everything has ended; the last to be registered is the first to be called."""
        self._closing.callback(callback)

    def save_checkpoint(self) -> Path:
        """Save the whole state as of the last completed step, and return the file.

        Raises:
            DivergedError: the weights or the optimizer's state are not finite.
        """
        if self.checkpoint_dir is None:
            raise SessionError("a session without checkpoint_dir has nowhere to save")
        path = save_state(self.checkpoint_dir, self._require_op(), self.hooks, self.rows, self._clock)
        self.recoveries = 0
        return path

    # ---- from begin to end ---------------------------------------------------------------------------------------

    def __enter__(self) -> MonitoredTrainingSession:
        self._signal = self._closing.enter_context(signals.graceful())
        self.on_close(self.rows.close)
        try:
            for hook in self.hooks:
                with _noting(hook, "begin"):
                    hook.begin(self)
            if self._first_op is not None:
                self._bind(self._first_op)
        except BaseException as error:
            self._shut_down(error)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._shut_down(error)

    def _bind(self, train_op: TrainOp) -> None:
        if self.train_op is not None:
            raise SessionError("a session runs one train op: make a second session for the second one")
        self.train_op = train_op
        self._ctx = RunContext(self, train_op)
        self._dispatch = Dispatch(self.hooks, getattr(train_op.data, "steps_per_epoch", None))
        saved = self._load_latest() if self.is_chief else self._wait_for_chief()
        if saved is None:
            self.rows.rewind(0, hashlib.sha256().hexdigest())  # rows of a process killed before its first checkpoint
        else:
            self._restore(saved)
        self._announce()

    def _announce(self) -> None:
        for hook in self.hooks:
            with _noting(hook, "after_create_session"):
                hook.after_create_session(self)

    def _shut_down(self, error: BaseException | None) -> None:
        self.outcome, self.error = _outcome(self.outcome, error), error or self.error
        failures: list[Exception] = []
        if error is not None and self.train_op is not None:
            failures += self._call_all("on_error", self._ctx, error)
        failures += self._call_all("end", self, self.outcome)
        try:
            self._closing.close()
        except Exception as failure:  # noqa: BLE001 (a closing callback is a hook's code; it is reported below)
            failures.append(failure)
        for failure in failures if error is not None else failures[1:]:
            (error or failures[0]).add_note(f"and, while ending: {failure!r} ({'; '.join(failure.__notes__)})")
        if error is None and failures:
            self.outcome, self.error = "failed", failures[0]
            raise failures[0]
        if error is None and self.outcome == "interrupted":
            raise Interrupted(self._signal.signum or 2, saved=self.checkpoint_dir is not None)

    def _call_all(self, event: str, *args: Any) -> list[Exception]:
        failures = []
        for hook in self.hooks:
            try:
                getattr(hook, event)(*args)
            except Exception as failure:  # noqa: BLE001 (each hook in its own guard: all are called, then one raised)
                failure.add_note(f"in {event} of hook '{hook.name}', at step {self.step}")
                failures.append(failure)
        return failures

    # ---- checkpoints, recovery, the chief -----------------------------------------------------------------------

    def _load_latest(self) -> SavedState | None:
        return load_latest_state(self.checkpoint_dir, report=log.warning) if self.checkpoint_dir else None

    def _restore(self, saved: SavedState) -> None:
        train_op = self._require_op()
        saved.restore(train_op, self.hooks, self.rows if self.is_chief else None, report=log.warning)
        self.restored_step = train_op.global_step
        self._clock = Clock(*saved.spent)
        log.info("restored step %d from %s", train_op.global_step, saved.path.name)

    def _recover(self, error: Exception) -> None:
        self.recoveries += 1
        saved = self._load_latest() if self.recoveries <= self._max_recoveries else None
        if saved is None:
            tries = f"gave up after {self._max_recoveries} recoveries in a row"
            error.add_note(tries if self.recoveries > 1 else "there is no checkpoint to go back to")
            raise error
        pause = self._retry_wait_secs * 2 ** (self.recoveries - 1)
        log.warning("%s: %s; going back to step %d in %g s", type(error).__name__, error, saved.step, pause)
        _sleep_unless(lambda: self.interrupted, pause)
        self._after_step.clear()
        self._restore(saved)
        self._dispatch.restart()
        self._announce()

    def _wait_for_chief(self) -> SavedState | None:
        if self.checkpoint_dir is None:
            return None
        deadline = time.monotonic() + self._max_wait_secs
        while (saved := self._load_latest()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise WaitTimeoutError(
                    f"rank {self.rank} waited {self._max_wait_secs:g} s for the chief's first checkpoint in "
                    f"{self.checkpoint_dir}: is the chief (RANK=0) running, with the same checkpoint_dir?"
                )
            _sleep_unless(lambda: self.interrupted, min(left, self._recovery_wait_secs))
            if self.should_stop():
                return None
        return saved

    # ---- setting up ----------------------------------------------------------------------------------------------

    def _arrange(
        self, hooks: Sequence[Hook], chief_only: Sequence[Hook], secs: float | None, steps: int | None
    ) -> tuple[Hook, ...]:
        if secs is not None and steps is not None:
            raise SessionError("save_checkpoint_secs and save_checkpoint_steps exclude each other: give one")
        given = [
            *(hook for hook in hooks if self.is_chief or not hook.chief_only),
            *(chief_only if self.is_chief else []),
        ]
        saves = any(isinstance(hook, CheckpointHook) for hook in given)
        if saves and (secs is not None or steps is not None):
            raise SessionError("save_checkpoint_secs and _steps set up a CheckpointHook: do not give one as well")
        if self.checkpoint_dir is not None and self.is_chief and not saves:
            given.append(CheckpointHook(Every(steps=steps) if steps is not None else Every(secs=secs or 600.0)))
        arranged = tuple(sorted(given, key=lambda hook: hook.phase))
        names = [hook.name for hook in arranged]
        for name in names:
            if names.count(name) > 1:
                raise SessionError(f"two hooks are called '{name}': override `name` in one, state is saved under it")
        return arranged

    def _check_that_it_ends(self, train_op: TrainOp | None) -> None:
        finite = train_op is not None and getattr(train_op.data, "num_batches", None) is not None
        if not finite and not any(hook.stops for hook in self.hooks):
            raise SessionError(
                "nothing would end this session: add StopAtStepHook(last_step=…), a hook with `stops = True`, "
                "or give the session a train op whose data is finite"
            )

    def _rows_path(self) -> Path | None:
        if self.checkpoint_dir is None or not self.is_chief:
            return None
        storage.make_dir(self.checkpoint_dir, exist_ok=True)
        return self.checkpoint_dir / "metrics.jsonl"

    def _require_op(self) -> TrainOp:
        if self.train_op is None:
            raise SessionError("the session has no train op yet: it comes with the first run(train_op)")
        return self.train_op

    def _stop(self, outcome: str, reason: str = "") -> None:
        if self.outcome is None:
            self.outcome, self.reason = outcome, reason


_NOTHING: Mapping[str, Any] = {}


def _merged_feed(requests: Sequence[tuple[Hook, RunArgs]]) -> dict[str, Any] | None:
    feed: dict[str, Any] = {}
    for hook, request in requests:
        for name, value in request.feed.items():
            if name in feed:
                first = next(h for h, r in requests if name in r.feed)
                raise SessionError(f"hooks '{first.name}' and '{hook.name}' both feed '{name}'")
            feed[name] = value
    return feed


def _fetched(train_op: TrainOp, requests: Sequence[tuple[Hook, RunArgs]]) -> dict[Hook, dict[str, Any]]:
    names = list(dict.fromkeys(name for _, request in requests for name in request.fetches))
    if not names:
        return {}
    values = train_op.fetch(names)
    return {hook: {name: values[name] for name in request.fetches} for hook, request in requests}


def _outcome(outcome: str | None, error: BaseException | None) -> str:
    if error is None:
        return outcome or "stopped"  # the caller left the loop
    if isinstance(error, DivergedError):
        return "diverged"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"


@contextlib.contextmanager
def _noting(hook: Hook, event: str):
    try:
        yield
    except Exception as error:
        error.add_note(f"in {event} of hook '{hook.name}'")
        raise


def _sleep_unless(stop: Callable[[], bool], secs: float) -> None:
    deadline = time.monotonic() + secs
    while not stop() and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))

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
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import nn

from ...components.hooks.hook import Evaluation, Hook, RunArgs, defines, noting
from ...errors import DivergedError, Interrupted, SessionError, TransientError, WaitTimeoutError
from ...run_directory.checkpoint_files import list_checkpoints
from ...run_directory.rows import RowLog
from ...system import signals, storage
from ..step.batch_source import EndOfData
from ..step.train_op import TrainOp
from .due_hooks import Dispatch, Table
from .hook_order import Defaults, arrange_hooks, check_that_it_ends
from .saved_state import Clock, SavedState, load_latest_state, save_state

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
        save_summaries_secs: seconds between summaries for TensorBoard; none if neither this nor steps is given.
        save_summaries_steps: updates between summaries, the first at step 1.
        log_step_count_steps: updates between two counts of steps per second, in the log; none if not given.
        evaluators: functions that measure the model, by the name of the split that they read.
        rows: the metrics log; by default `metrics.jsonl` in checkpoint_dir, or in memory.
        summary_dir: where TensorBoard's event files go unless their hook says otherwise; by default checkpoint_dir.
        init_fn: is given the model, and sets its weights, when there is no checkpoint to restore.
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
        save_summaries_secs: float | None = None,
        save_summaries_steps: int | None = None,
        log_step_count_steps: int | None = None,
        evaluators: Mapping[str, Callable[..., dict[str, float] | None]] | None = None,
        rows: RowLog | None = None,
        summary_dir: str | os.PathLike[str] | None = None,
        init_fn: Callable[[nn.Module], object] | None = None,
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
        defaults = Defaults(
            save_checkpoint_secs, save_checkpoint_steps, save_summaries_secs, save_summaries_steps, log_step_count_steps
        )
        made = defaults.hooks(
            [*hooks, *chief_only_hooks], self.checkpoint_dir is not None, self.summary_dir is not None
        )
        self._given = [*hooks], [*chief_only_hooks], made
        self._arrange()
        check_that_it_ends(self.hooks, train_op)
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
        self._init_fn = init_fn
        self._max_wait_secs, self._recovery_wait_secs = max_wait_secs, recovery_wait_secs
        self._transient, self._max_recoveries, self._retry_wait_secs = transient, max_recoveries, retry_wait_secs
        self._clock = Clock()
        self._listeners: list[Callable[[Evaluation], None]] = []
        self._before_saving: list[Callable[[int], object]] = []
        self._after_saving: list[Callable[[Path], object]] = []
        self._on_skip: list[Callable[[Any], object]] = []
        self._after_step: list[Callable[[], None]] = []
        self._closing = contextlib.ExitStack()
        self._checked_fetches: set[tuple[str, ...]] = set()
        self._first_op = train_op
        self._signal = signals.Stop()
        self._is_open = False

    # ---- the loop ------------------------------------------------------------------------------------------------

    def should_stop(self) -> bool:
        """Tell whether the session is over: the last step is done, a stop was requested, or a signal came."""
        if self.outcome is None and self._signal.signum is not None:
            self.request_stop(outcome="interrupted")
        return self.outcome is not None

    def run(self, train_op: TrainOp) -> None:
        """Take one step.

        If the train op is new to the session, its state is restored first; should that turn out to be the last
        step's, nothing is run.

        Raises:
            SessionError: the session has stopped, or a hook asks for what it cannot have.
            DivergedError: the gate caught a value that is not finite, and its policy is to raise.
        """
        if not self._is_open:
            raise SessionError("a session runs inside `with`: with MonitoredTrainingSession(...) as session: ...")
        if train_op is not self.train_op:
            self._bind(train_op)
            if self.outcome is not None:
                return
        if self.outcome is not None:
            raise SessionError("run() after the end of the session: loop on `while not session.should_stop()`")
        self.at_boundary = False
        try:
            self._run_step(train_op)
            if self.outcome is not None or self._signal.signum is not None:
                train_op.settle()
        except EndOfData as end:
            self.request_stop(str(end), "done")
        except DivergedError as error:
            self.at_boundary = self._is_whole_after(error)
            if train_op.gate is None or train_op.gate.policy != "stop":
                raise
            self.outcome, self.reason, self.error = "diverged", str(error), error
            return
        except self._transient as error:
            self._recover(error)
        self.at_boundary = True

    def _run_step(self, train_op: TrainOp) -> None:
        table = self._dispatch.due(train_op.global_step + 1)
        ctx, hook, event = self._ctx, None, "before_run"
        requests: list[tuple[Hook, RunArgs]] = []
        if table.may_draw:
            train_op.reseed()
        try:
            for hook, before_run in table.before_run:
                request = before_run(ctx)
                if request is not None:
                    if request.fetches and request.fetches not in self._checked_fetches:
                        train_op.check_fetches(request.fetches)
                        self._checked_fetches.add(request.fetches)
                    requests.append((hook, request))
            hook = None
            after_gradients = self._after_gradients(table) if table.after_gradients else None
            if not train_op.run(_merged_feed(requests), after_gradients):
                for listener in self._on_skip:
                    listener(train_op.refused)
                train_op.refused = None  # its batch may be large
                return  # a skipped batch completes no step
            if table is not self._dispatch.base:
                train_op.settle()
            values = _fetched(train_op, requests)
            event = "after_run"
            for hook, after_run in table.after_run:
                after_run(ctx, values.get(id(hook), _NOTHING))
        except Exception as error:
            if hook is not None:
                error.add_note(f"in {event} of hook '{hook.name}', at step {train_op.global_step}")
            raise
        self._dispatch.completed(table)
        while self._after_step:
            self._after_step.pop(0)()

    def _is_whole_after(self, error: DivergedError) -> bool:
        """Tell whether the state is that of the last good step: weights, buffers, and hooks that have a state."""
        refused = self._require_op().refused
        if refused is None or refused.error is not error or not refused.is_whole:
            return False
        seen_late = refused.num_late and any(defines(hook, "state_dict") for hook, _ in self._dispatch.base.after_run)
        return not seen_late

    def _after_gradients(self, table: Table) -> Callable[[], None]:
        def call_hooks() -> None:
            for hook, after_gradients in table.after_gradients:
                with noting(hook.name, "after_gradients", self.step):
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
        if self.outcome is None:
            self.outcome, self.reason = outcome, reason

    def write_row(self, **values: Any) -> None:
        """Append a row to the metrics log: where training is, then `values`."""
        self.rows.append({**self.position(), **values})

    def position(self) -> dict[str, Any]:
        """Return where training is: step, batch, examples, epoch and time."""
        train_op = self._require_op()
        steps_per_epoch = getattr(train_op.data, "steps_per_epoch", None)
        where = {"step": train_op.global_step, "batch": train_op.batch, "examples": train_op.examples}
        if steps_per_epoch:
            where["epoch"] = train_op.batch / steps_per_epoch
        return {**where, "time": round(self.elapsed_secs, 4)}

    def publish(self, evaluation: Evaluation) -> None:
        """Make an evaluation known to all who listen."""
        self.evaluation = evaluation
        for listener in self._listeners:
            listener(evaluation)

    def on_evaluation(self, listener: Callable[[Evaluation], None]) -> None:
        """Call `listener` with every evaluation."""
        self._listeners.append(listener)

    def on_checkpoint(
        self, before: Callable[[int], object] | None = None, after: Callable[[Path], object] | None = None
    ) -> None:
        """Call `before` with the step before each checkpoint is written, `after` with the file when it is there.

        An `after` that returns True stops the session.
        """
        self._before_saving += [before] if before is not None else []
        self._after_saving += [after] if after is not None else []

    def on_skip(self, listener: Callable[[Any], object]) -> None:
        """Call `listener` with each batch that the gate skips, a `gate.Refused`."""
        self._on_skip.append(listener)

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
        train_op = self._require_op()
        train_op.settle()
        for listener in self._before_saving:
            listener(self.step)
        path = save_state(self.checkpoint_dir, train_op, self.named_hooks, self.rows, self._clock)
        self.recoveries = 0
        for listener in self._after_saving:
            if listener(path) is True:
                self.request_stop(f"asked for after the checkpoint of step {self.step}")
        return path

    def save_aside(self, folder: Path) -> Path:
        """Save the whole state as of the last completed step where no run looks for checkpoints; return the file.

        Raises:
            DivergedError: the weights or the optimizer's state are not finite.
        """
        return save_state(folder, self._require_op(), self.named_hooks, self.rows, self._clock)

    # ---- from begin to end ---------------------------------------------------------------------------------------

    def __enter__(self) -> MonitoredTrainingSession:
        self._signal = self._closing.enter_context(signals.graceful())
        self.on_close(self.rows.close)
        self._is_open = True
        try:
            for hook in self.hooks:
                with noting(hook.name, "begin"):
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
            if self._init_fn is not None:
                train_op.initialise(self._init_fn)
        else:
            self._restore(saved)
            self._clock = Clock(*saved.spent)
        self._announce()

    def _announce(self) -> None:
        for hook in self.hooks:
            with noting(hook.name, "after_create_session", self.step):
                hook.after_create_session(self)

    def _shut_down(self, error: BaseException | None) -> None:
        self._is_open = False
        self.outcome, self.error = _outcome(self.outcome, error), error or self.error
        failures: list[BaseException] = []
        try:
            if error is not None and self.train_op is not None:
                failures += self._call_all("on_error", self._ctx, error)
            failures += self._call_all("end", self, self.outcome)
        finally:
            try:
                self._closing.close()
            except Exception as failure:  # noqa: BLE001 (a closing callback is a hook's code; it is reported below)
                failures.append(failure)
        first = error or (failures[0] if failures else None)
        for failure in failures:
            if failure is not first and first is not None:
                notes = "; ".join(getattr(failure, "__notes__", ()))
                first.add_note(f"and, while ending: {failure!r}{f' ({notes})' if notes else ''}")
        if error is None and first is not None:
            self.outcome, self.error = _outcome(None, first), first
            raise first
        if error is None and self.outcome == "interrupted":
            raise Interrupted(self._signal.signum or 2, saved=self._has_checkpoint())

    def _call_all(self, event: str, *args: Any) -> list[BaseException]:
        """Call an event of every hook, each in its own guard; return what they raised."""
        failures: list[BaseException] = []
        for name, hook in self.named_hooks.items():
            try:
                with noting(name, event, self.step):
                    getattr(hook, event)(*args)
            except BaseException as failure:  # noqa: BLE001 (even an exit must not keep the others from ending)
                failures.append(failure)
        return failures

    # ---- checkpoints, recovery, the chief -----------------------------------------------------------------------

    def _load_latest(self) -> SavedState | None:
        return load_latest_state(self.checkpoint_dir, report=log.warning) if self.checkpoint_dir else None

    def _restore(self, saved: SavedState) -> None:
        train_op = self._require_op()
        saved.restore(train_op, self.named_hooks, self.rows if self.is_chief else None, report=log.warning)
        self.restored_step = train_op.global_step
        log.info("restored step %d from %s", train_op.global_step, saved.path.name)

    def _recover(self, error: Exception) -> None:
        """Go back to the last good checkpoint; the time spent stays spent."""
        self.recoveries += 1
        if self.recoveries > self._max_recoveries:
            error.add_note(f"gave up after {self._max_recoveries} recoveries in a row")
            raise error
        saved = self._load_latest()
        if saved is None:
            error.add_note("there is no checkpoint to go back to")
            raise error
        pause = self._retry_wait_secs * 2 ** (self.recoveries - 1)
        log.warning("%s: %s; going back to step %d in %g s", type(error).__name__, error, saved.step, pause)
        _sleep_unless(lambda: self.interrupted, pause)
        self.outcome, self.reason, self.evaluation = None, "", None  # what the lost steps asked for, they ask again
        self._after_step.clear()
        self._restore(saved)
        self._dispatch.restart()
        try:
            self._announce()
        except self._transient as again:
            self._recover(again)

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

    # ---- small things --------------------------------------------------------------------------------------------

    def add_hooks(self, hooks: Iterable[Hook]) -> None:
        """Add hooks to a session that has not been entered yet.

        Raises:
            SessionError: it has been entered.
        """
        if self._is_open or self.outcome is not None:
            raise SessionError("hooks are added before `with session:`")
        self._given[0].extend(hooks)
        self._arrange()

    def _arrange(self) -> None:
        self.named_hooks = arrange_hooks(*self._given, self.is_chief)
        self.hooks = tuple(self.named_hooks.values())

    def _rows_path(self) -> Path | None:
        if self.checkpoint_dir is None or not self.is_chief:
            return None
        storage.make_dir(self.checkpoint_dir, exist_ok=True)
        return self.checkpoint_dir / "metrics.jsonl"

    def _require_op(self) -> TrainOp:
        if self.train_op is None:
            raise SessionError("the session has no train op yet: it comes with the first run(train_op)")
        return self.train_op

    def _has_checkpoint(self) -> bool:
        return self.checkpoint_dir is not None and bool(list_checkpoints(self.checkpoint_dir))


_NOTHING: Mapping[str, Any] = {}


def _merged_feed(requests: Sequence[tuple[Hook, RunArgs]]) -> Mapping[str, Any]:
    if len(requests) == 1:
        return requests[0][1].feed
    feed: dict[str, Any] = {}
    for hook, request in requests:
        for name, value in request.feed.items():
            if name in feed:
                first = next(h for h, r in requests if name in r.feed)
                raise SessionError(f"hooks '{first.name}' and '{hook.name}' both feed '{name}'")
            feed[name] = value
    return feed


def _fetched(train_op: TrainOp, requests: Sequence[tuple[Hook, RunArgs]]) -> dict[int, dict[str, Any]]:
    if not any(request.fetches for _, request in requests):
        return {}
    names = list(dict.fromkeys(name for _, request in requests for name in request.fetches))
    values = train_op.fetch(names)
    return {id(hook): {name: values[name] for name in request.fetches} for hook, request in requests}


def _outcome(outcome: str | None, error: BaseException | None) -> str:
    if error is None:
        return outcome or "stopped"  # the caller left the loop
    if isinstance(error, DivergedError):
        return "diverged"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"


def _sleep_unless(stop: Callable[[], bool], secs: float) -> None:
    deadline = time.monotonic() + secs
    while not stop() and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))

"""The monitored session: runs the train op, calls the hooks, saves, restores, recovers.

    with MonitoredTrainingSession(checkpoint_dir=folder, hooks=[StopAtStepHook(last_step=80_000)]) as session:
        while not session.should_stop():
            session.run(train_op)

One call of `run` is one step: `before_run` of the hooks that are due, the train op, their `after_run` (step_calls.py).
One of `run_block` is all steps up to the next that a hook looks at.
Between two calls the state is whole; that is the only point at which it may be saved.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import nn

from ...components.data import AugmentedBatches
from ...components.hooks.checkpoint import SaveFunctions
from ...components.hooks.hook import Hook
from ...errors import DivergedError, Interrupted, SessionError
from ...registry.calls import described
from ...run_directory.checkpoint_files import list_checkpoints
from ...run_directory.rows import RowLog
from ...system import forks, ranks, signals
from ...system.places import absolute, held_places
from ...system.raised import message_of, refuse_exit, refusing_exits
from ..step.batch_source import EndOfData
from ..step.train_op import TrainOp
from .ending import call_guarded, note_others, outcome_of
from .hook_order import Defaults, arrange_hooks, check_metrics, check_that_it_ends, stop_compiling_for
from .process_state import ProcessState
from .recovery import TRANSIENT_ERRORS, Recovery
from .saved_state import Clock, SavedState
from .services import SessionServices
from .step_calls import Block, RunContext, StepCalls
from .step_profile import StepProfile

log = logging.getLogger("optrun")


class MonitoredTrainingSession(SessionServices):
    """Runs a train op under hooks, from the latest checkpoint if there is one.

    What it keeps, and what hooks may ask of it, is in SessionServices (services.py).

    Args:
        train_op: what will be run; it may also come with the first `run`, if a hook ends the session.
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
        facts: JSON that each checkpoint keeps beside the state, such as how the data was standardised.
        is_chief: whether this process saves and reports; by default, whether the variable RANK is 0 or unset.
        max_wait_secs: how long another rank waits for the chief's checkpoint.
        recovery_wait_secs: seconds between two looks for that checkpoint.
        transient: errors that lead back to the last checkpoint instead of ending the session.
        max_recoveries: how often they may lead back before there is a new checkpoint.
        retry_wait_secs: the pause before the session first goes back, doubled each further time.
        profile: measure where the time of a step goes, for `profile()`; on a GPU, steps then take longer.

    Raises:
        SessionError: nothing would ever end the session, or arguments exclude each other.
        UsageError: a hook waits for a metric that nothing evaluates.
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
        facts: Mapping[str, Any] | None = None,
        is_chief: bool | None = None,
        max_wait_secs: float = 7200.0,
        recovery_wait_secs: float = 30.0,
        transient: tuple[type[Exception], ...] = TRANSIENT_ERRORS,
        max_recoveries: int = 3,
        retry_wait_secs: float = 1.0,
        profile: bool = False,
    ):
        self.rank = ranks.rank()
        is_chief = self.rank == 0 if is_chief is None else is_chief
        folder = absolute(checkpoint_dir) if checkpoint_dir is not None else None
        summaries = absolute(summary_dir) if summary_dir is not None else folder
        defaults = Defaults(
            save_checkpoint_secs, save_checkpoint_steps, save_summaries_secs, save_summaries_steps, log_step_count_steps
        )
        made = defaults.hooks([*hooks, *chief_only_hooks], folder is not None, summaries is not None)
        self._given_hooks = [*hooks], [*chief_only_hooks], made
        self._ctx: RunContext | None = None  # with `_steps`, as soon as there is a train op
        named_hooks = arrange_hooks(*self._given_hooks, is_chief)
        check_that_it_ends(named_hooks.values(), train_op)
        check_metrics(named_hooks, evaluators or {})
        super().__init__(named_hooks, is_chief, folder, summaries, rows, evaluators or {})
        self.times = StepProfile() if profile else self.times
        self._given_op, self._init_fn, self._facts = train_op, init_fn, facts or {}
        self._recovery = Recovery(folder, transient, max_recoveries, retry_wait_secs, max_wait_secs, recovery_wait_secs)
        self._is_open = False

    # ---- the loop ------------------------------------------------------------------------------------------------

    def should_stop(self) -> bool:
        """Return True if the session is over: the last step is done, a stop was requested, or a signal came."""
        if self.outcome is None and self.interrupted:
            self.request_stop(outcome="interrupted")
        return self.outcome is not None

    def run(self, train_op: TrainOp) -> None:
        """Take one step, whoever looks at it.

        If the train op is new to the session, its state is restored first; should that turn out to be the last
        step's, nothing is run.

        Raises:
            SessionError: the session has stopped, or a hook asks for what it cannot have.
            DivergedError: the gate caught a value that is not finite, and its policy is to raise.
        """
        self._run(train_op, StepCalls.run)

    def run_block(self, train_op: TrainOp) -> None:
        """Take steps up to the next at which a hook is due, at most those of 0.2 s; see `run`.

        Weights, rows and what hooks see are those of `run`, called as often. It costs less where steps are short.
        """
        self._run(train_op, StepCalls.run_block)

    def profile(self) -> dict[str, Any] | None:
        """Return where the time of the loop has gone so far, as `summary.json` has it; None without `profile=True`.

        `profile_text` writes it as a table.
        """
        return self.times.record(self.named_hooks) if isinstance(self.times, StepProfile) else None

    def blocks(self, train_op: TrainOp) -> Generator[Block, bool, None]:
        """Yield blocks of steps for somebody else to take, until the session stops; see `run_block`.

        Each is answered with what `TrainOp.run_block` returns, or by throwing what it raises. Whoever takes them may
        take those of several sessions at once.
        """
        while not self.should_stop():
            if not self._is_ready(train_op):
                return
            assert self._steps is not None
            self.is_whole = False
            try:
                self._writer.check()
                block = self._steps.begin()
                if block is None:
                    self._steps.run()
                else:
                    try:
                        is_whole = yield block
                    except Exception as error:
                        self._steps.note_feed(error)
                        raise
                    self._steps.end(block, is_whole)
            except BaseException as error:  # noqa: BLE001 (it is raised there, unless it ends the session otherwise)
                self._settle(train_op, error)
            else:
                self._settle(train_op)

    def _run(self, train_op: TrainOp, steps: Callable[[StepCalls], None]) -> None:
        if not self._is_ready(train_op):
            return
        assert self._steps is not None
        self.is_whole = False
        try:
            self._writer.check()
            self.times.take(steps, self._steps)  # before_run of the hooks that are due, the train op, their after_run
        except BaseException as error:  # noqa: BLE001 (likewise)
            self._settle(train_op, error)
        else:
            self._settle(train_op)

    def _settle(self, train_op: TrainOp, error: BaseException | None = None) -> None:
        """Take in that steps have been taken, or what has ended them."""
        try:
            if isinstance(error, EndOfData):
                self.request_stop(str(error), "done")
            elif error is not None:
                raise error
            if self.outcome is not None or self.interrupted:
                train_op.read_late_checks()  # or nobody would, and a bad last step would go unnoticed
            self.is_whole = True
        except DivergedError as diverged:
            self._end_diverged(diverged)
        except self._recovery.transient as lost:
            self._recover(lost)
            self.is_whole = True
        except BaseException as other:
            refuse_exit(other)
            raise

    def _is_ready(self, train_op: TrainOp) -> bool:
        """Take a train op on if it is new; return False if nothing is left to be run."""
        if not self._is_open:
            raise SessionError("a session runs inside `with`: with MonitoredTrainingSession(...) as session: ...")
        if train_op is not self.train_op:
            self._bind(train_op)
            if self.outcome is not None:
                return False
        if self.outcome is not None:
            raise SessionError("run() after the end of the session: loop on `while not session.should_stop()`")
        if self.restoring is not None:
            raise SessionError("the session could not be restored: make a new one, which begins with that again")
        return True

    def _end_diverged(self, error: DivergedError) -> None:
        """End the session as the gate's policy says: with the error, or quietly.

        Raises:
            DivergedError: the policy is not `stop`.
        """
        self.is_whole = self._is_whole_after(error)
        gate = self._require_op().gate
        if gate is None or gate.policy != "stop":
            raise error
        self.outcome, self.reason, self.error = "diverged", message_of(error), error

    def _is_whole_after(self, error: DivergedError) -> bool:
        """Return True if a checkpoint would hold the last good step: weights, buffers, and hooks that have a state.

        It would not, where the error is no refusal of a batch, such as weights that are not finite; where buffers were
        not put back, because the gate checked late; and where hooks with a state have seen steps that were undone.
        """
        assert self._steps is not None
        refused = self._require_op().refused
        if refused is None or refused.error is not error or not refused.is_whole:
            return False
        return not (refused.num_late and self._steps.has_state_of_late_steps())

    def _recover(self, error: Exception) -> None:
        """Go back to the last good checkpoint; the clock goes on."""
        assert self._steps is not None
        with contextlib.suppress(*self._recovery.transient):  # one more reason to go back
            self._writer.wait()
        self.recoveries += 1
        saved = self._recovery.after(error, self.recoveries, lambda: self.interrupted)
        self.outcome, self.reason, self.evaluation = None, "", None  # the steps that are repeated set them again
        self._steps.restart()
        try:
            self._restore(saved)
        except self._recovery.transient as again:
            self._recover(again)

    # ---- from begin to end ---------------------------------------------------------------------------------------

    def add_hooks(self, hooks: Iterable[Hook]) -> None:
        """Add hooks to a session that has not been entered yet.

        Raises:
            SessionError: it has been entered.
        """
        if self._is_open or self.outcome is not None:
            raise SessionError("hooks are added before `with session:`")
        self._given_hooks[0].extend(hooks)
        functions = {name: hook for name, hook in self.named_hooks.items() if isinstance(hook, SaveFunctions)}
        named_hooks = arrange_hooks(*self._given_hooks, self.is_chief)
        check_metrics(named_hooks, self.evaluators)
        self.named_hooks = {**named_hooks, **functions}

    def __enter__(self) -> MonitoredTrainingSession:
        forks.enter()
        for folder in self._folders():
            forks.hold(folder)
        self._signal = self._resources.enter_context(signals.graceful())
        self._resources.enter_context(held_places(come_back=False))
        self.on_close(self.rows.close)
        self._is_open = True
        try:
            self._call_hooks("begin", self)
            if self._given_op is not None:
                self._bind(self._given_op)
        except BaseException as error:
            self._shut_down(error)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        late = (self._late_error() or self._unwritten()) if error is None else None
        self._shut_down(error or late)
        if late is not None:
            raise late

    def _late_error(self) -> DivergedError | None:
        """Read late checks after a loop that was left early; return the error if they end the session with one."""
        if self.train_op is None or self.outcome is not None:
            return None
        try:
            self.train_op.read_late_checks()
        except DivergedError as found:
            try:
                self._end_diverged(found)
            except DivergedError as error:
                return error
        return None

    def _unwritten(self) -> Exception | None:
        """Wait for the checkpoint that is being written; return the error if that fails."""
        try:
            self._writer.wait()
        except Exception as error:  # noqa: BLE001 (the caller raises it, or notes it on another one)
            self.is_whole = False  # as where a step fails: the state is not saved once more at the end
            return error
        return None

    @refusing_exits()
    def _bind(self, train_op: TrainOp) -> None:
        """Take on the train op: restore its state, or start it."""
        if self.train_op is not None:
            raise SessionError("a session runs one train op: make a second session for the second one")
        self.train_op = train_op
        stop_compiling_for(self.named_hooks, train_op)
        self.process = ProcessState()
        if isinstance(train_op.data, AugmentedBatches):
            self.on_close(train_op.data.close)  # its workers
        self._ctx = RunContext(self, train_op)
        self._resources.enter_context(self.times.watching(train_op))
        self._steps = StepCalls(self._ctx, self.hooks, lambda *args: self._call_hooks("after_skip", *args), self.times)
        recovery = self._recovery
        saved = recovery.latest() if self.is_chief else recovery.wait_for_chief(self.rank, self.should_stop)
        if saved is not None:
            self._clock = Clock(*saved.spent)
            self._restore(saved)
            return
        if self._init_fn is not None:
            train_op.initialise(self._init_fn)
        self.rows.rewind(0, hashlib.sha256().hexdigest())  # drop those of a process killed before it first saved
        self._call_hooks("after_create_session", self)

    @refusing_exits()
    def _restore(self, saved: SavedState) -> None:
        """Go on from a checkpoint.

        Nothing is written, cut off or deleted before all of it is loaded and every hook has seen it: a restore that
        fails, wherever it does, leaves the folder as it was.
        """
        train_op = self._require_op()
        self.restoring, self.is_loaded, self.is_whole = saved.path, False, False
        self.rows.hold()
        saved.restore(train_op, self.named_hooks, self.rows if self.is_chief else None, report=log.warning)
        if self.process is not None:
            self.process.restore(saved.switches, saved.step)
        self.restored_step, self.is_loaded = train_op.global_step, True
        log.info("restored step %d from %s", train_op.global_step, saved.path.name)
        self._call_hooks("after_create_session", self)
        self.rows.release()
        self.restoring, self.is_whole = None, True

    def _drop_what_is_no_number(self) -> list[BaseException]:
        """Leave only numbers in the final values, which summaries are to hold; return errors for the others."""
        failures: list[BaseException] = []
        for name, value in tuple(self.final.items()):
            if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
                self.final[name] = value = value.item()  # type: ignore[union-attr] (of numpy or torch)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                del self.final[name]
                failures.append(SessionError(f"the final value '{name}' is {described(value)}: give a number"))
        return failures

    def _folders(self) -> list[Path]:
        return [folder for folder in (self.checkpoint_dir, self.summary_dir) if folder is not None]

    def _shut_down(self, error: BaseException | None) -> None:
        """End what the session holds, and every hook; in a process that was forked meanwhile, end nothing."""
        self._is_open = False
        if not forks.leave():
            if error is None:
                raise forks.error()
            return
        for folder in self._folders():
            forks.let_go(folder)
        self.outcome, self.error = outcome_of(self.outcome, error), error or self.error
        unwritten = self._unwritten()
        failures: list[BaseException] = [] if unwritten is None else [unwritten]
        if self.process is not None:
            self.process.notice(self.step)
        try:
            if error is not None and self.train_op is not None:
                failures += call_guarded(self.named_hooks, self.step, "on_error", self._ctx, error)
            failures += call_guarded(self.named_hooks, self.step, "end", self, self.outcome)
        finally:
            try:
                with refusing_exits():
                    self._resources.close()
            except Exception as failure:  # noqa: BLE001 (it is a hook's code; it is reported below)
                failures.append(failure)
        failures += self._drop_what_is_no_number()
        first = error or (failures[0] if failures else None)
        if first is not None:
            note_others(first, failures)
        if error is None and first is not None:
            self.outcome, self.error = outcome_of(None, first), first
            raise first
        if error is None and self.outcome == "interrupted":
            has_saved = self.checkpoint_dir is not None and bool(list_checkpoints(self.checkpoint_dir))
            raise Interrupted(self._signal.signum or 2, saved=has_saved)

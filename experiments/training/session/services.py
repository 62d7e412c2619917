"""The services of a session that hooks may ask for: where it stands, rows, evaluations, checkpoints, an end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from ...components.hooks.checkpoint import SaveFunctions
from ...components.hooks.hook import Evaluation, Hook, defines, note_event, noting
from ...errors import SessionError
from ...run_directory import checkpoints
from ...run_directory.json_shapes import Position
from ...run_directory.rows import RowLog
from ...system import forks, signals, storage
from ..step.train_op import TrainOp
from .checkpoint_writer import CheckpointWriter
from .loop_times import LoopTimes
from .process_state import ProcessState
from .saved_state import Clock, Snapshot, take_snapshot
from .step_calls import StepCalls

_REQUESTED = ("stopped", "done", "interrupted")


class SessionServices:
    """The state of a session, and what it does for its hooks.

    Args:
        named_hooks: in the order in which they are called.
        is_chief: whether this process saves and reports.
        checkpoint_dir: where checkpoints are saved; None saves none.
        summary_dir: where other files of hooks go.
        rows: the metrics log; None for `metrics.jsonl` in checkpoint_dir, or for memory.
        evaluators: functions that measure the model, by split.

    Attributes:
        train_op: None until the session has one.
        evaluation: the latest.
        final: values that are measured at the very end.
        restored_step: None for a session that began at step 0.
        restoring: the checkpoint that is being restored, until every hook has seen its state; nothing is saved then.
        is_loaded: whether all of it has been loaded.
        recoveries: how often the session has gone back since a checkpoint was saved.
        is_whole: whether all state is that of one completed step; False within a step, and after one that broke off.
        outcome: set as soon as the session is to stop: `done`, `stopped`, `diverged`, `interrupted` or `failed`.
        reason: of this outcome, in words.
        error: that ended the session.
        times: how long the loop has taken, and each hook in it.
        is_timed: whether the time that goes by is the run's own; it is not where several runs share it.
    """

    def __init__(
        self,
        named_hooks: Mapping[str, Hook],
        is_chief: bool,
        checkpoint_dir: Path | None,
        summary_dir: Path | None,
        rows: RowLog | None,
        evaluators: Mapping[str, Callable[..., dict[str, float] | None]],
    ):
        self.named_hooks = dict(named_hooks)
        self.is_chief, self.checkpoint_dir, self.summary_dir = is_chief, checkpoint_dir, summary_dir
        self.rows = rows if rows is not None else RowLog(_rows_path(checkpoint_dir if is_chief else None))
        self.evaluators = dict(evaluators)
        self.train_op: TrainOp | None = None
        self.evaluation: Evaluation | None = None
        self.final: dict[str, float] = {}
        self.restored_step: int | None = None
        self.restoring: Path | None = None
        self.is_loaded = False
        self.recoveries = 0
        self.is_whole = True
        self.outcome: str | None = None
        self.reason = ""
        self.error: BaseException | None = None
        self.process: ProcessState | None = None  # from when there is a train op
        self.times = LoopTimes()
        self.is_timed = True
        self._steps: StepCalls | None = None  # comes with the train op
        self._last_kept_by: tuple[int, frozenset[str]] = 0, frozenset()  # of the last checkpoint: step and hooks
        self._writer = CheckpointWriter()
        self._clock = Clock()
        self._facts: Mapping[str, Any] = {}  # that checkpoints keep beside the state
        self._signal = signals.Stop()
        self._resources = contextlib.ExitStack()  # released after every hook's `end`

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """The hooks that take part, in the order in which they are called."""
        return tuple(self.named_hooks.values())

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
        """Return True if a signal asks the session to end; long work in a hook looks here."""
        return self._signal.signum is not None

    def request_stop(self, reason: str = "", outcome: str = "stopped") -> None:
        """End the session after this step; the first request counts.

        Raises:
            SessionError: the outcome is none that a session can be asked for.
        """
        if outcome not in _REQUESTED:
            raise SessionError(f"request_stop(outcome={outcome!r}): expected one of {', '.join(_REQUESTED)}")
        if self.outcome is None:
            self.outcome, self.reason = outcome, reason

    def request_call(self, hook: Hook) -> None:
        """Call a hook's `after_run` when all others have seen the step, whether its trigger is due or not."""
        if self._steps is None:
            raise SessionError("hooks ask for a call after a step when there is a train op")
        self._steps.requested.append(hook)

    def position(self) -> dict[str, Any]:
        """Return where training is: step, batch, examples, epoch and time."""
        op = self._require_op()
        steps_per_epoch = getattr(op.data, "steps_per_epoch", None)
        epoch = op.batch / steps_per_epoch if steps_per_epoch else None
        secs = round(self.elapsed_secs, 4) if self.is_timed else None
        return Position(op.global_step, op.batch, op.examples, epoch, secs).as_row()

    def write_row(self, **values: Any) -> None:
        """Append a row to the metrics log: where training is, then `values`.

        Raises:
            SessionError: a value has the name of one that says where training is.
            TypeError, ValueError: a value that no reader of the log accepts.
        """
        if clash := [name for name in Position._fields if name in values]:
            raise SessionError(f"'{clash[0]}' of a row says where training is: give the value another name")
        row = {**self.position(), **values}
        self.rows.append(row)
        self._call_hooks("after_row", self, row)

    def publish(self, evaluation: Evaluation) -> None:
        """Make an evaluation known to all hooks."""
        self.evaluation = evaluation
        self._call_hooks("after_evaluation", self, evaluation)

    def save_checkpoint(self, kept_by: Collection[str] = (checkpoints.BY_HAND,)) -> Path:
        """Save the whole state as of the last completed step, and return the file.

        The step that is just being restored is not saved again: its file is returned.

        Args:
            kept_by: names of the hooks that keep it, and may delete it. Left out, nobody ever does.

        Raises:
            DivergedError: the weights or the optimizer's state are not finite.
            SessionError: there is no folder, or the state could not be restored as a whole.
        """
        if self.restoring is not None and self.is_loaded:
            return self.restoring
        folder, snapshot = self._begin_saving(kept_by, copies=False)
        path = snapshot.write(folder)
        self.recoveries = 0
        if self._call_hooks("after_save", self, self.step, path):
            self.request_stop(f"asked for after the checkpoint of step {self.step}")
        return path

    def save_in_background(self, hook: Hook, kept_by: Collection[str], then: Callable[[], object]) -> None:
        """Save the whole state as of the last completed step while the next steps are taken.

        It is copied now, and written by a thread. What is still being written is waited for first. No hook sees the
        file; an error of writing is raised before the next block of steps, at the latest when the session ends.

        Args:
            hook: that errors of writing are told of.
            kept_by: names of the hooks that keep it, and may delete it.
            then: called by the thread when the file is durable.

        Raises:
            DivergedError: the weights or the optimizer's state are not finite.
            SessionError: there is no folder, or the state could not be restored as a whole.
        """
        folder, snapshot = self._begin_saving(kept_by, copies=True)

        def write() -> None:
            try:
                snapshot.write(folder)
                then()
            except Exception as error:
                note_event(error, hook, "after_run", snapshot.step)
                raise

        self._writer.start(write)
        self.recoveries = 0

    def save_aside(self, folder: Path) -> Path:
        """Save the whole state as of the last completed step where no run looks for checkpoints; return the file.

        Raises:
            DivergedError: the weights or the optimizer's state are not finite.
        """
        return self._snapshot({}, copies=False).write(folder)

    def _begin_saving(self, kept_by: Collection[str], copies: bool) -> tuple[Path, Snapshot]:
        """Return the folder of the checkpoints and what is to be written there, when hooks know and it is free."""
        if self.checkpoint_dir is None:
            raise SessionError("a session without checkpoint_dir has nowhere to save")
        self._writer.wait()
        self._require_op().read_late_checks()
        self._call_hooks("before_save", self, self.step)
        before = self._last_kept_by if self._last_kept_by[0] == self.step else (0, frozenset[str]())
        self._last_kept_by = self.step, before[1] | {*kept_by}  # one step, one file, whoever wants it
        return self.checkpoint_dir, self._snapshot({checkpoints.KEPT_BY: sorted(self._last_kept_by[1])}, copies)

    def _snapshot(self, facts: Mapping[str, Any], copies: bool) -> Snapshot:
        if self.restoring is not None:
            raise SessionError(f"{self.restoring.name} is not restored as a whole: nothing is saved")
        facts = {**self._facts, **facts}
        if self.process is not None and (turned := self.process.notice(self.step)):
            facts["switches"] = turned
        return take_snapshot(self._require_op(), self.named_hooks, self.rows, self._clock, facts, copies)

    def on_checkpoint(
        self, before: Callable[[int], object] | None = None, after: Callable[[Path], object] | None = None
    ) -> None:
        """Call functions around each checkpoint, as a hook's `before_save` and `after_save`.

        Args:
            before: is given the step.
            after: is given the file, and stops the session if it returns True.
        """
        self.named_hooks[f"on_checkpoint_{len(self.named_hooks)}"] = SaveFunctions(before, after)

    def on_close(self, callback: Callable[[], object]) -> None:
        """Release something when every hook has ended; the last to be registered is the first to be called.

        This is no event: it also releases what was opened by a `begin` when a later hook's `begin` fails, and in the
        reverse order of opening.
        """
        self._resources.callback(callback)

    def _call_hooks(self, event: str, *args: Any) -> bool:
        """Call an event of every hook that defines it; return True if one of them has returned True."""
        found = False
        for name, hook in tuple(self.named_hooks.items()):
            if defines(hook, event):
                with noting(hook, event, self.step if self.train_op is not None else None, name):
                    found |= self.times.of_hook(hook, getattr(hook, event))(*args) is True
                forks.refuse()
        return found

    def _require_op(self) -> TrainOp:
        if self.train_op is None:
            raise SessionError("the session has no train op yet: it comes with the first run(train_op)")
        return self.train_op


def _rows_path(folder: Path | None) -> Path | None:
    if folder is None:
        return None
    storage.make_dir(folder, exist_ok=True)
    return folder / "metrics.jsonl"

"""One step under hooks: what they ask, the train op, what they see of it."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from ...components.hooks.hook import Hook, RunArgs, defines, note_event, noting
from ...components.hooks.session_view import BoundSession, SessionView
from ...errors import SessionError
from ...registry.calls import Call, call_of, described, note_call, renote_call
from ...system import forks
from ..step.fetches import check_fetches
from ..step.steps import Steps
from ..step.train_op import TrainOp
from .due_hooks import DueCalls, DueHooks, Look
from .loop_times import LoopTimes

_NOTHING: Mapping[str, Any] = {}
_EVENTS = ("after_row", "after_evaluation", "before_save", "after_save")  # that one hook's call may cause of another's
_MOST_AHEAD = 64  # steps that are taken before hooks that look at values alone are shown them
_BLOCK_SECS = 0.2  # for which steps are taken without a look at signals and clocks


class RunContext:
    """The view that a hook has of the session during a step."""

    def __init__(self, session: SessionView, train_op: TrainOp):
        self.session = cast(BoundSession, session)
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


@dataclass(eq=False)
class Block(Steps):
    """Steps up to the next at which hooks look at more than values.

    Args:
        looks: that are still to come, with the requests of the hooks that look; but for the one at the very end, they
            may wait until further steps are taken.
        see: lets hooks look.
        context: in which they do, such as that of the run's log.
    """

    looks: list[tuple[Look, Sequence[tuple[Hook, RunArgs]]]]
    see: Callable[[DueCalls, Sequence[tuple[Hook, RunArgs]]], None]
    context: contextvars.Context

    def note(self, losses: Tensor, sizes: Sequence[int], feeds: Sequence[Mapping[str, Any]]) -> None:
        first, done = self.train_op.global_step, 0
        while self.looks and self.looks[0][0].step - first < len(sizes):
            look, requests = self.looks.pop(0)
            part = slice(done, look.step - first)
            done = part.stop
            super().note(losses[part], sizes[part], feeds[part])
            self.context.run(self.see, look.due, requests)
        super().note(losses[done:], sizes[done:], feeds[done:])


class StepCalls:
    """Runs the train op, with the calls of the hooks that are due around it.

    Args:
        ctx: what hooks are given.
        hooks: in the order in which they are called.
        after_skip: called with the context and the batch when the gate has skipped one.
        times: measures how long the hooks take.
    """

    def __init__(self, ctx: RunContext, hooks: Sequence[Hook], after_skip: Callable[..., object], times: LoopTimes):
        self._ctx, self.train_op, self._after_skip, self._times = ctx, ctx.train_op, after_skip, times
        self._due_hooks = DueHooks(hooks, getattr(ctx.train_op.data, "steps_per_epoch", None), times=times)
        with_blocks = [hook for hook in hooks if defines(hook, "after_block")]
        self._after_block = [(hook, times.of_hook(hook, hook.after_block)) for hook in with_blocks]
        self._known_fetches: set[tuple[str, ...]] = set()
        self.requested: list[Hook] = []  # to be called when all others have seen the step
        self._is_as_before = False  # whether the train op is as the last steps have left it
        self._events_only_read = all(
            hook.only_reads or not any(defines(hook, each) for each in _EVENTS) for hook in hooks
        )
        self._rows_may_wait = all(hook.only_values or not defines(hook, "after_row") for hook in hooks)

    def run(self) -> None:
        """Take one step."""
        self._is_as_before = False
        is_applied = self._run_one()
        self._end_block(is_applied)

    def run_block(self) -> None:
        """Take the steps up to the next that a hook looks at, at most those of 0.2 s.

        The block ends with that step if hooks only look at it when it is over; else it is one of its own.
        """
        if self._due_hooks.steps_ahead(self.train_op.global_step) < 1:
            self.run()
            return
        block = self._block(0)
        try:
            is_whole = self.train_op.run_block(block.count, block.feed_at, block.secs_left)
        except Exception as error:
            self.note_feed(error)
            raise
        self.end(block, is_whole)

    def begin(self) -> Block | None:
        """Return steps to be taken by whoever calls, and counted by `Steps.note`; then comes `end`.

        They go up to the next at which hooks look at more than values; None where hooks want to see the next step from
        its beginning, which is for `run`.
        """
        block = self._block(_MOST_AHEAD if self._rows_may_wait else 0)
        return block if block.count else None

    def _block(self, most: int) -> Block:
        """Return steps that nobody looks at, and such as hooks look at when they are over; see `looks_after`."""
        train_op, hooks = self.train_op, self._due_hooks
        count, found = hooks.looks_after(train_op.global_step, most)
        looks = [(look, self._requests(look)) for look in found]
        deadline = time.monotonic() + min(_BLOCK_SECS, hooks.secs_ahead())

        def secs_left() -> float:
            return deadline - time.monotonic()

        is_next, self._is_as_before = self._is_as_before, self._events_only_read
        context = contextvars.copy_context()
        return Block(train_op, count, self._feed_at, secs_left, is_next, looks, self._look, context)

    def end(self, block: Block, is_whole: bool) -> None:
        """Let hooks see steps that have been taken.

        Args:
            block: from `begin`; only some of its steps may have been taken.
            is_whole: False where the last batch was skipped.
        """
        forks.refuse()
        if not is_whole:
            self._skipped()
        elif block.looks and self.train_op.global_step == block.looks[0][0].step:
            look, requests = block.looks[0]
            self._look(look.due, requests)
        self._end_block(is_whole)

    def note_feed(self, error: Exception) -> None:
        """Note on an error of a block whose feed it was about, if it was."""
        if _is_about_feeds(error):  # else asking for them may have failed, and would again
            step = self.train_op.global_step
            _note_who_fed(
                error, [(hook, RunArgs(feed=feed_at(step))) for hook, feed_at in self._due_hooks.feeding], step
            )

    def _run_one(self) -> bool:
        """Take one step; return False if its batch was skipped."""
        train_op = self.train_op
        due = self._due_hooks.at(train_op.global_step + 1)
        requests = self._before_run(due)
        after_gradients = self._after_gradients(due) if due.after_gradients else None
        measures_norm = any("grad_norm" in request.fetches for _, request in requests)
        feed = _merged_feed(requests)
        try:
            is_applied = train_op.run(feed, after_gradients, measures_norm=measures_norm)
        except Exception as error:
            if _is_about_feeds(error):
                _note_who_fed(error, requests, train_op.global_step)
            raise
        forks.refuse()
        if not is_applied:
            self._skipped()
            return False  # a skipped batch completes no step
        self._look(due, requests)
        return True

    def _look(self, due: DueCalls, requests: Sequence[tuple[Hook, RunArgs]]) -> None:
        """Let hooks see a step that is complete."""
        self._is_as_before &= due.only_reads
        if due.triggered:
            self.train_op.read_late_checks()  # what is logged, measured or saved must be of a good step
        self._after_run(due, _fetched(self.train_op, requests))
        if due.triggered:
            self._due_hooks.completed(due)

    def restart(self) -> None:
        """Forget what was due: the session has gone back to a checkpoint."""
        self._is_as_before = False
        self.requested.clear()
        self._due_hooks.restart()

    def has_state_of_late_steps(self) -> bool:
        """Return True if a hook that sees every step has a state: then it has seen steps whose gate answered late."""
        return any(defines(hook, "state_dict") for hook, _ in self._due_hooks.of_every_step.after_run)

    def _skipped(self) -> None:
        self._is_as_before = False
        self._after_skip(self._ctx, self.train_op.refused)
        self.train_op.refused = None  # its batch may be large

    def _end_block(self, is_applied: bool) -> None:
        for hook, after_block in self._after_block:
            self._is_as_before &= hook.only_reads
            with noting(hook, "after_block", self.train_op.global_step):
                after_block(self._ctx)
        while is_applied and self.requested:
            hook = self.requested.pop(0)
            self._is_as_before &= hook.only_reads
            with noting(hook, "after_run", self.train_op.global_step):
                self._times.of_hook(hook, hook.after_run)(self._ctx, _NOTHING)

    def _feed_at(self, step: int) -> Mapping[str, Any]:
        """Return what hooks feed at a step of a block."""
        hook = None
        try:
            if len(self._due_hooks.feeding) == 1:
                ((hook, feed_at),) = self._due_hooks.feeding
                return feed_at(step)
            requests: list[tuple[Hook, RunArgs]] = []
            for hook, feed_at in self._due_hooks.feeding:
                requests.append((hook, RunArgs(feed=feed_at(step))))
        except BaseException as error:
            self._note(error, "before_run", hook)
            raise
        return _merged_feed(requests)

    # The next two are called at every step: `noting` in their loops would cost more than most hooks do.

    def _before_run(self, due: DueCalls) -> list[tuple[Hook, RunArgs]]:
        if due.may_draw:
            self.train_op.reseed()
        requests: list[tuple[Hook, RunArgs]] = []
        hook = None
        try:
            for hook, before_run in due.before_run:
                request = before_run(self._ctx)
                if request is not None:
                    if not isinstance(request, RunArgs):
                        raise TypeError(f"returned {described(request)}: return RunArgs(…), or None")
                    requests.append((hook, self._checked(request)))
        except BaseException as error:
            self._note(error, "before_run", hook)
            raise
        return requests

    def _requests(self, look: Look) -> Sequence[tuple[Hook, RunArgs]]:
        return [(hook, self._checked(RunArgs(names))) for hook, names in look.fetches]

    def _checked(self, request: RunArgs) -> RunArgs:
        if request.fetches and request.fetches not in self._known_fetches:
            check_fetches(self.train_op, request.fetches)
            self._known_fetches.add(request.fetches)
        return request

    def _after_run(self, due: DueCalls, values: Mapping[int, Mapping[str, Any]]) -> None:
        hook = None
        try:
            for hook, after_run in due.after_run:
                after_run(self._ctx, values.get(id(hook), _NOTHING))
                forks.refuse()
        except BaseException as error:
            self._note(error, "after_run", hook)
            raise

    def _after_gradients(self, due: DueCalls) -> Callable[[], None]:
        def call_hooks() -> None:
            for hook, after_gradients in due.after_gradients:
                with noting(hook, "after_gradients", self._ctx.step):
                    after_gradients(self._ctx)

        return call_hooks

    def _note(self, error: BaseException, event: str, hook: Hook | None) -> None:
        assert hook is not None
        note_event(error, hook, event, self._ctx.step)


def _merged_feed(requests: Sequence[tuple[Hook, RunArgs]]) -> Mapping[str, Any]:
    if len(requests) == 1:
        return requests[0][1].feed
    feed: dict[str, Any] = {}
    for hook, request in requests:
        for name, value in request.feed.items():
            if name in feed:
                first = next(h for h, r in requests if name in r.feed)
                error = SessionError(f"hooks '{first.name}' and '{hook.name}' both feed '{name}'")
                users = hook if hook.configured_as.startswith("hooks") else first  # not what the schedule has set up
                note_call(error, Call(users.configured_as, f"what hook '{users.name}' feeds for {name}"))
                raise error
            feed[name] = value
    return feed


def _is_about_feeds(error: Exception) -> bool:
    call = call_of(error)
    return call is not None and call.key == "hooks"


def _note_who_fed(error: Exception, requests: Sequence[tuple[Hook, RunArgs]], step: int) -> None:
    """Note on an exception of what hooks have fed, which the train op cannot tell apart, whose it was."""
    name = getattr(call_of(error), "fed", "") or "batch"
    hook = next((hook for hook, request in requests if name in request.feed), None)
    if hook is not None:
        renote_call(error, Call(hook.configured_as, f"what hook '{hook.name}' feeds for {name}", step))


def _fetched(train_op: TrainOp, requests: Sequence[tuple[Hook, RunArgs]]) -> dict[int, dict[str, Any]]:
    """Read what the hooks asked for, each value once; return it by the id of the hook."""
    wanted = [(hook, request.fetches) for hook, request in requests if request.fetches]
    if not wanted:
        return {}
    values = train_op.fetch(list(dict.fromkeys(name for _, names in wanted for name in names)))
    return {id(hook): {name: values[name] for name in names} for hook, names in wanted}

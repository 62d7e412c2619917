"""The hook protocol: what a hook may define, when it is called, and what it may ask of a step."""

from __future__ import annotations

import contextlib
import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from ...config.lengths import Length, RunLength
from ...registry.calls import Call, note_call
from ...system.raised import refusing_exits
from .session_view import BoundSession, Refused, SessionView, StepView

NEVER = 10**15  #: A step that no run comes to.

#: Events of a step, and what a hook without a trigger may define to be left out of steps that it needs not see.
STEP_EVENTS = ("before_run", "after_gradients", "after_run")
_AHEAD = ("feed_at", "fetches_at", "next_look")


class Phase(enum.IntEnum):
    """When, within an event, a hook's turn comes; persist is last, so that a saved state holds every hook's effect."""

    CONTROL = 0
    OBSERVE = 1
    EVALUATE = 2
    PERSIST = 3


@dataclass(frozen=True)
class Every:
    """A trigger: exactly one of steps, epochs or secs.

    Steps and epochs count completed updates from the start of the run, not of the process, so a resumed run fires
    where an uninterrupted one does. Seconds count from the last firing.

    Args:
        steps: fire when a multiple of so many updates is complete.
        epochs: the same in passes over the data.
        secs: fire when so many seconds have passed.
        first: the completed step at which to fire first, counting on from there; by default one interval. With steps
            100 and first 1 it fires at 1, 101, 201, …, as TensorFlow 1's summaries do.

    Raises:
        ValueError: none or several are given, one is not positive, or `first` comes with seconds.
    """

    steps: int | None = None
    epochs: float | None = None
    secs: float | None = None
    first: int | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None and name != "first"}
        if len(given) != 1:
            raise ValueError(f"Every takes exactly one of steps, epochs and secs, got {given or 'none'}")
        ((name, value),) = given.items()
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise ValueError(f"Every({name}={value!r}): must be greater than 0")
        if name == "steps" and not isinstance(value, int):
            raise ValueError(f"Every(steps={value!r}): must be a whole number")
        first = self.first
        if first is not None and (isinstance(first, bool) or not isinstance(first, int) or first < 1):
            raise ValueError(f"Every(first={first!r}): must be a whole number of at least 1")
        if first is not None and self.secs is not None:
            raise ValueError("Every takes `first`, a step, with steps or epochs only")

    @classmethod
    def once(cls, step: int) -> Every:
        """Return a trigger that fires when `step` updates are complete, and never again."""
        return cls(steps=NEVER, first=step)

    @classmethod
    def of(cls, length: Length, run: RunLength) -> Every:
        """Turn a configured length into a trigger; what rounds to less than one step fires at every step.

        Raises:
            ValueError: the length is zero, or is relative to something that the run does not have.
        """
        if length.amount <= 0:
            raise ValueError(f"'{length}' is not an interval: it must be greater than 0")
        if length.unit == "secs":
            return cls(secs=length.amount)
        return cls(steps=max(1, length.steps(run)))

    def in_steps(self, steps_per_epoch: int | None) -> Every:
        """Return the trigger with epochs counted in steps.

        Raises:
            ValueError: the data has no epochs.
        """
        if self.epochs is None:
            return self
        return replace(
            Every.of(Length(self.epochs, "epochs"), RunLength(steps_per_epoch=steps_per_epoch)), first=self.first
        )

    def starting(self, first: int | None) -> Every:
        """Return the trigger with another first step; None leaves it as it is."""
        return self if first is None else replace(self, first=first)

    def is_due(self, step: int) -> bool:
        """Return True if a trigger in steps fires when `step` updates are complete."""
        return self.following(step - 1) == step

    def following(self, step: int) -> int:
        """Return the first step after `step` at which a trigger in steps fires."""
        assert self.steps is not None
        first = self.steps if self.first is None else self.first
        return first if step < first else step + self.steps - (step - first) % self.steps

    def __str__(self) -> str:
        if self.steps == NEVER:
            return f"once, at step {self.first}"
        unit = next(f"{value:g} {name}" for name, value in vars(self).items() if value is not None)
        return f"every {unit}" + (f" from step {self.first}" if self.first is not None else "")


class RunArgs(NamedTuple):
    """A hook's requests of the coming step.

    Args:
        fetches: names of values that `after_run` wants: `loss`, `lr`, `grad_norm`, `examples`, `param:NAME`, or a
            hyperparameter of the optimizer. Each is read once for all hooks.
        feed: values that replace the step's own: `lr` or another hyperparameter (`momentum`, `betas.0`), or a function
            of each parameter group's own value of it; or `batch`. Two hooks that feed the same name are an error.
    """

    fetches: tuple[str, ...] = ()
    feed: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Evaluation:
    """Values measured on held-out data after `step` updates: `{"val/accuracy": 0.97, ...}`."""

    step: int
    values: Mapping[str, float]


class Hook:
    """Something that watches or steers a session; define only what you need, the rest costs nothing.

        begin(session)                            # once, before anything is restored
        after_create_session(session)             # the state to start from is there; again after each recovery
        while not session.should_stop():
            before_run(ctx) -> RunArgs            # ctx.step updates are complete
            # forward, backward, gate: see below for a batch that it refuses
            after_gradients(ctx)                  # the weights have not moved; the gate then checks once more
            # clip, optimizer, extra updates, ctx.step += 1
            after_run(ctx, values)                # a hook may write, measure or save in it, and so cause:
                # after_row(session, row)
                # after_evaluation(session, evaluation)
                # before_save(session, step), after_save(session, step, path)
            after_block(ctx)                      # after one step, or several that nobody looked at
        on_error(ctx, error)                      # only after an exception
        end(session, outcome)                     # always

    Each event is called by phase, then in the order of registration. A hook without a trigger is called at every step,
    one with a trigger only at the steps where it is due: this concerns `before_run`, `after_gradients` and `after_run`
    alone. Steps at which no hook is due are taken in blocks, with a look at the clock in between: a hook that only
    feeds what depends on the step (`feed_at`), or that knows when it will look next (`next_look`), leaves them whole. A
    step that hooks look at when it is over ends a block; if one of them has a `before_run`, it has to be known what
    that asks for (`fetches_at`), or else the step is one of its own.
    Where the gate skips a batch, `after_skip(ctx, refused)` is called and the step is over: it is not complete,
    triggers nothing and calls no `after_run`. Where the gate raises or stops instead, the session ends.
    """

    trigger: Every | None = None
    phase: ClassVar[Phase] = Phase.OBSERVE
    chief_only: bool = False
    stops: bool = False  # whether it may end the session; one such hook, or finite data, must be there

    #: Whether `before_run` may draw from torch's generator, which is then put in its place first. Not inherited: a
    #: subclass of a hook that draws nothing may draw.
    may_draw: ClassVar[bool] = True

    #: Whether `after_gradients` changes no gradient: it is then called before those that may, whatever the phase. Not
    #: inherited, as above.
    only_looks: ClassVar[bool] = False

    #: Whether it leaves the train op as it is, but for what it feeds: then nobody looks anew at what the next steps
    #: depend on. Not inherited, as above.
    only_reads: ClassVar[bool] = False

    #: Whether `after_run` and `after_row` look at nothing but rows, what was fetched, and how far the run is, and ask
    #: for nothing: they may then be called when further steps have been taken. Not inherited, as above.
    only_values: ClassVar[bool] = False

    #: The place that `log.to` names it by, for a hook that writes rows elsewhere. It is then made with those of `every`
    #: (the trigger of `log.every`) and `params` (the configuration) that it takes, and a session that keeps nothing
    #: leaves it out.
    log_to: ClassVar[str | None] = None

    #: The key that it was configured under, such as `hooks.0`; errors of the hook are told there.
    configured_as: str = ""

    #: The key that says how often it is called, such as `eval.every`; empty where no configuration does.
    interval_key: str = ""

    #: Names of metrics whose evaluations it waits for, such as `val/loss`: a session that cannot have them is refused.
    watches: Sequence[str] = ()

    #: Names of values of a step that it will fetch: those of a configuration's hooks are checked before the run.
    fetches: Sequence[str] = ()

    #: Names of values that it makes known itself, by `session.publish`, and that other hooks may wait for.
    publishes: Sequence[str] = ()

    #: Under which its state is saved and its errors are reported; by default the class's name in snake case.
    name: str = "hook"

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "may_draw" not in vars(cls):
            cls.may_draw = True
        if "only_looks" not in vars(cls):
            cls.only_looks = "after_gradients" not in vars(cls) and cls.only_looks
        for name in ("only_reads", "only_values"):
            if name not in vars(cls):
                setattr(cls, name, False)
        if any(event in vars(cls) for event in STEP_EVENTS):
            for name in _AHEAD:  # what a base class says of its own events says nothing of these
                if name not in vars(cls):
                    setattr(cls, name, getattr(Hook, name))
        if "name" not in vars(cls):
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__.removesuffix("Hook")).lower()

    def begin(self, session: SessionView) -> None:
        """Prepare. What is opened here is released by `session.on_close(f)`, also when a later `begin` fails."""

    def after_create_session(self, session: BoundSession) -> None:
        """See the state that training starts from."""

    def before_run(self, ctx: StepView) -> RunArgs | None:
        """Ask for values and feed values. Keep it cheap."""

    def after_gradients(self, ctx: StepView) -> None:
        """See or change the gradients."""

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        """See the step's result: `values` holds what this hook's `before_run` fetched; `ctx.step` has advanced."""

    def after_block(self, ctx: StepView) -> None:
        """See where training is after a block of steps, all of them complete; one step may be a block of its own."""

    def feed_at(self, step: int) -> Mapping[str, Any]:
        """Return what `before_run` feeds when `step` updates are complete, a function of the step alone.

        Within a block it is asked in place of `before_run`, which must then ask for nothing else.
        """
        return {}

    def fetches_at(self, step: int) -> Sequence[str]:
        """Return the names of what `before_run` fetches when `step` updates are complete, a function of the step alone.

        Where a block ends with that step it is asked in place of `before_run`, which must then ask for nothing else.
        """
        return ()

    def next_look(self, step: int) -> int:
        """Return the first step after `step` at which a hook without a trigger has to be called.

        It is asked again before each block and each step, and may go by a clock. A class that defines one of a step's
        events itself does not inherit it.
        """
        return step + 1

    def after_skip(self, ctx: StepView, refused: Refused) -> None:
        """See the batch that the gate has skipped; the weights are as before it."""

    def after_row(self, session: SessionView, row: dict[str, Any]) -> None:
        """See a row that was written to the metrics log, as it was given: infinities are null in the log."""

    def after_evaluation(self, session: BoundSession, evaluation: Evaluation) -> None:
        """See what was measured on held-out data."""

    def before_save(self, session: BoundSession, step: int) -> None:
        """See the session before its state of `step` completed updates is written."""

    def after_save(self, session: BoundSession, step: int, path: Path) -> bool | None:
        """See the file that was written; True ends the session. The next step waits for it if a hook defines this."""

    def on_error(self, ctx: StepView, error: BaseException) -> None:
        """Learn that the session is failing; it fails all the same."""

    def end(self, session: SessionView, outcome: str) -> None:
        """Finish; called for every hook whatever happened.

        Args:
            session: still open.
            outcome: `done`, `stopped`, `diverged`, `interrupted` or `failed`.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what must survive a restart: nested dicts and lists of plain values and tensors."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""


@contextlib.contextmanager
def noting(hook: Hook, event: str, step: int | None = None, name: str | None = None) -> Iterator[None]:
    """Note on an exception which hook it comes from, in which event and at which step.

    Args:
        hook: whose event it is.
        event: its name.
        step: completed updates; None where there is no train op.
        name: under which the hook takes part, where it is not its own.
    """
    try:
        with refusing_exits():
            yield
    except Exception as error:
        note_event(error, hook, event, step, name)
        raise


def note_event(error: BaseException, hook: Hook, event: str, step: int | None = None, name: str | None = None) -> None:
    """Note on an exception which hook it comes from; see `noting`."""
    call = Call(hook.configured_as, f"{event} of hook '{name or hook.name}'", step)
    note_call(error, call)
    error.add_note(str(call))


def defines(hook: Hook, event: str) -> bool:
    """Return True if a hook's class defines `event` itself."""
    return getattr(type(hook), event) is not getattr(Hook, event)

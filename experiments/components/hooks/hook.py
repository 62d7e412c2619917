"""The hook protocol: what a hook may define, when it is called, and what it may ask of a step.

    begin -> after_create_session -> { before_run -> [forward, backward] -> after_gradients -> [update] -> after_run }
          -> on_error, only after an exception -> end, always

All events run by phase, then in the order of registration.
"""

from __future__ import annotations

import contextlib
import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ...config.lengths import Length, RunLength

if TYPE_CHECKING:
    from ...training.session.session import MonitoredTrainingSession, RunContext


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
        """Tell whether a trigger in steps fires when `step` updates are complete."""
        return self.following(step - 1) == step

    def following(self, step: int) -> int:
        """Return the first step after `step` at which a trigger in steps fires."""
        assert self.steps is not None
        first = self.steps if self.first is None else self.first
        return first if step < first else step + self.steps - (step - first) % self.steps

    def __str__(self) -> str:
        unit = next(f"{value:g} {name}" for name, value in vars(self).items() if value is not None)
        return f"every {unit}" + (f" from step {self.first}" if self.first is not None else "")


class RunArgs(NamedTuple):
    """What a hook asks of the coming step.

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
    """What was measured on held-out data after `step` updates: `{"val/accuracy": 0.97, ...}`."""

    step: int
    values: Mapping[str, float]


class Hook:
    """Something that watches or steers a session; define only what you need, the rest costs nothing.

    A hook without a trigger is called at every step, one with a trigger only at the steps where it is due. A skipped
    batch completes no step: it triggers nothing and calls no `after_run`.
    """

    trigger: Every | None = None
    phase: ClassVar[Phase] = Phase.OBSERVE
    chief_only: bool = False
    stops: bool = False  # whether it may end the session; one such hook, or finite data, must be there

    #: Whether `before_run` may draw from torch's generator, which is then put in its place first. Not inherited: a
    #: subclass of a hook that draws nothing may draw.
    may_draw: ClassVar[bool] = True

    #: Under which its state is saved and its errors are reported; by default the class's name in snake case.
    name: str = "hook"

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "may_draw" not in vars(cls):
            cls.may_draw = True
        if "name" not in vars(cls):
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__.removesuffix("Hook")).lower()

    def begin(self, session: MonitoredTrainingSession) -> None:
        """Prepare; called once, before anything is restored. `session.on_close(f)` undoes it at the very end."""

    def after_create_session(self, session: MonitoredTrainingSession) -> None:
        """See the state that training starts from; called again after each recovery."""

    def before_run(self, ctx: RunContext) -> RunArgs | None:
        """Ask for values and feed values; `ctx.step` updates are complete. Keep it cheap."""

    def after_gradients(self, ctx: RunContext) -> None:
        """See or change the gradients, which are finite; the weights have not moved."""

    def after_run(self, ctx: RunContext, values: Mapping[str, Any]) -> None:
        """See the step's result: `values` holds what this hook's `before_run` fetched; `ctx.step` has advanced."""

    def on_error(self, ctx: RunContext, error: BaseException) -> None:
        """Learn that the session is failing; it fails all the same."""

    def end(self, session: MonitoredTrainingSession, outcome: str) -> None:
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
def noting(name: str, event: str, step: int | None = None) -> Iterator[None]:
    """Add to an exception which hook it comes from, in which event and at which step."""
    try:
        yield
    except Exception as error:
        at = f", at step {step}" if step is not None else ""
        error.add_note(f"in {event} of hook '{name}'{at}")
        raise


def defines(hook: Hook, event: str) -> bool:
    """Tell whether a hook's class defines `event` itself."""
    return getattr(type(hook), event) is not getattr(Hook, event)

"""Where the time of a step goes: data, forward and backward pass, gate, optimizer, each hook, waits for the device.

Parts of a train op that are called at each step are replaced by ones that are measured, for as long as a session
lasts; a session without a profile calls the parts themselves.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from ...components.hooks.hook import Hook
from ...registry.calls import Calling
from ..step_timing import wait_for
from .loop_times import LoopTimes, Part

if TYPE_CHECKING:
    from ..step.train_op import TrainOp
    from .step_calls import StepCalls


class StepProfile(LoopTimes):
    """Measures the parts of each step besides the hooks; see `LoopTimes`.

    The first step, in which much is set up, is a part of its own, as is compiling. On a GPU, the device is waited for
    at the end of each part, so that the part's time is that of its own work: how long the host waited is noted with it.
    Steps then take longer than in a run without a profile, which lets host and device work at once. Weights and rows
    are the same.

    Args:
        clock: in seconds.
    """

    times_feeds = True

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        super().__init__(clock)
        self._parts: dict[str, Part] = {}  # in the order of a step
        self._first, self._compiling = Part("first step"), Part("compiling")
        self._device = torch.device("cpu")

    @contextlib.contextmanager
    def watching(self, op: TrainOp) -> Iterator[None]:
        self._device = op.device
        with contextlib.ExitStack() as putting_back:
            for name, owner, attribute in _parts_of(op):
                part = self._compiling if name == "compiling" else self._parts.setdefault(name, Part(name))
                original = getattr(owner, attribute)
                was_own = attribute in vars(owner)
                putting_back.callback(_put_back, owner, attribute, original, was_own)
                setattr(owner, attribute, self._timed(part, original))
            yield

    def take(self, steps: Callable[[StepCalls], None], calls: StepCalls) -> None:
        is_first = self.num_steps == 0
        super().take((lambda calls: calls.run()) if is_first else steps, calls)
        if is_first and self.num_steps:
            for part in (*self._parts.values(), *(part for _, part in self._hooks.values()), self.rest):
                self._first.secs, part.secs = self._first.secs + part.secs, 0.0
                self._first.waited_secs, part.waited_secs = self._first.waited_secs + part.waited_secs, 0.0

    def timing(self, part: Part, call: Callable[..., Any]) -> Callable[..., Any]:
        if self._device.type == "cpu":
            return super().timing(part, call)

        def waited(*args: Any, **options: Any) -> Any:
            try:
                return call(*args, **options)
            finally:
                self.wait(part)

        return super().timing(part, waited)

    def wait(self, part: Part) -> None:
        """Wait until the device has done what it was given; note how long that was."""
        if self._device.type != "cpu":
            start = self._clock()
            wait_for(self._device)
            part.waited_secs += self._clock() - start

    def record(self, named_hooks: Mapping[str, Hook]) -> dict[str, Any]:
        """Return the profile as JSON: seconds, share and milliseconds a step of each part, in the order of a step.

        Args:
            named_hooks: of the session, by name.
        """
        hooks = [Part(f"hook {name}", part.secs, part.waited_secs) for name, _, part in self.hooks(named_hooks)]
        parts = [self._first, self._compiling, *self._parts.values(), *hooks, self.rest]
        num_steps = max(0, self.num_steps - 1)  # after the first
        return {
            "steps": self.num_steps,
            "secs": self.secs,
            "waited_secs": None if self._device.type == "cpu" else sum(part.waited_secs for part in parts),
            "parts": [
                {
                    "name": part.name,
                    "secs": part.secs,
                    "share": part.secs / self.secs,
                    "ms_per_step": None if part in parts[:2] or not num_steps else 1000 * part.secs / num_steps,
                    "waited_secs": None if self._device.type == "cpu" else part.waited_secs,
                }
                for part in parts
                if part.secs
            ],
        }

    def _timed(self, part: Part, original: Any) -> Any:
        if isinstance(original, list):
            return [_TimedCalling(self, part, each) for each in original]
        return _TimedCalling(self, part, original) if isinstance(original, Calling) else self.timing(part, original)

    @property
    def clock(self) -> Callable[[], float]:
        return self._clock


class _TimedCalling(Calling):
    """A `with` block around a call whose time is a part's."""

    __slots__ = ("_calling", "_open", "_part", "_profile")

    def __init__(self, profile: StepProfile, part: Part, calling: Calling):
        self._profile, self._part, self._calling = profile, part, calling
        self._open: list[tuple[float, float] | None] = []  # it may be entered within itself, or outside of the loop

    def __enter__(self) -> None:
        profile = self._profile
        self._calling.__enter__()
        self._open.append((profile.inner, profile.clock()) if profile.is_taking else None)
        profile.inner = 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        profile, part = self._profile, self._part
        if (opened := self._open.pop()) is not None:
            profile.wait(part)
            took = profile.clock() - opened[1]
            part.secs += took - profile.inner
            profile.inner = opened[0] + took
        self._calling.__exit__(kind, error, trace)


def _parts_of(op: TrainOp) -> Iterator[tuple[str, Any, str]]:
    """Yield the parts of a step, in order: the name of each, and the object and its attribute that is called."""
    yield "data", op, "draw"
    if (blocks := op.compiled.blocks) is not None:
        yield "data", op.compiled, "draw"
        yield "compiling", blocks, "compile"
        yield "graph", blocks, "run"
    yield "forward", op.calling, "model"
    yield "loss", op.calling, "loss"
    if op.l2 is not None and blocks is None:  # a graph has it within
        yield "loss", op, "l2"
    yield "backward", op.calling, "backward"
    clips = (op.options.clip_norm, op.options.clip_value) != (None, None)
    name = " and ".join(["gate"] * (op.gate is not None) + ["clipping"] * clips) or "gradients"
    if op.gate is not None:
        yield name, op.gate, "before_forward"
        yield name, op.gate, "restore"
    yield name, op, "check_and_clip"
    yield name, op, "read_late_checks"
    yield "optimizer", op.calling, "optimizer"
    if op.updates:
        yield "updates", op.calling, "updates"
    yield "fetches", op, "fetch"


def _put_back(owner: Any, attribute: str, original: Any, was_own: bool) -> None:
    if was_own:
        setattr(owner, attribute, original)
    else:
        delattr(owner, attribute)

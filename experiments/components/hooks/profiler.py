"""Where the time of a step goes."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import profiler

from ...errors import UsageError
from ...registry.arguments import Count
from ...system import storage
from ...system.places import shown
from . import register_hook
from .hook import Every, Hook
from .output import check_replaceable, output_path
from .session_view import BoundSession, SessionView, StepView

log = logging.getLogger("optrun")

_NOTES = "KINETO_LOG_LEVEL"  # of the library behind torch's profiler


@register_hook("profiler", source="tf.train.ProfilerHook (TensorFlow 1); torch.profiler")
class ProfilerHook(Hook):
    """Record some steps with torch's profiler, now and then, as `trace-<step>.json`.

    The file is a Chrome trace, for https://ui.perfetto.dev or chrome://tracing, and is named after the first step that
    it holds. Traces slow down the steps that they record, and no others; the weights are the same with and without.

    Args:
        every: when to begin one.
        num_steps: how many steps in a row each trace holds.
        output_dir: the folder of the traces, relative to the run directory; null for `traces` in the session's
            summary_dir.
        show_memory: also record what memory is allocated and freed.
        outside: let the folder lie outside of the run directory.

    Raises:
        UsageError: a trace would not end before the next one begins, or there is nowhere to write.
    """

    chief_only = True

    # It keeps its own trigger: a session calls a hook that has one at the step that is due, and at none after it.

    may_draw = False

    def __init__(
        self,
        every: Every = Every(steps=1000),  # noqa: B008 (frozen)
        num_steps: Count = 1,
        output_dir: str | None = None,
        show_memory: bool = False,
        outside: bool = False,
    ):
        if every.steps is not None and num_steps > every.steps:
            raise UsageError(f"a trace of {num_steps} steps does not fit between traces every {every.steps} steps")
        self.every, self.num_steps, self.output_dir, self.show_memory = every, num_steps, output_dir, show_memory
        self.outside = outside
        self._profiler: Any = None
        self._steps: list[int] = []  # completed while recording

    def begin(self, session: SessionView) -> None:
        self._folder = output_path(
            self, session, self.output_dir, "traces", "ProfilerHook needs output_dir", self.outside
        )
        session.on_close(self._discard)

    def after_create_session(self, session: BoundSession) -> None:
        self._discard()  # a recovery has undone the steps of a trace that was under way
        self._due = self.every.in_steps(getattr(session.train_op.data, "steps_per_epoch", None))
        self._began = time.monotonic()

    def before_run(self, ctx: StepView) -> None:
        if self._profiler is None and self._is_due(ctx.step + 1):
            self._start(ctx.train_op.device)

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        if self._profiler is not None:
            self._steps.append(ctx.step)
            if len(self._steps) == self.num_steps:
                self._finish(ctx.train_op.device)

    def end(self, session: SessionView, outcome: str) -> None:
        if self._steps and session.train_op is not None:
            self._finish(session.train_op.device)

    def _is_due(self, step: int) -> bool:
        if self._due.secs is not None:
            return time.monotonic() - self._began >= self._due.secs
        return self._due.is_due(step)

    def _start(self, device: Any) -> None:
        activities = [profiler.ProfilerActivity.CPU]
        if device.type == "cuda":
            activities.append(profiler.ProfilerActivity.CUDA)
        with contextlib.nullcontext() if device.type == "cuda" else _without_notes():
            self._profiler = profiler.profile(activities=activities, profile_memory=self.show_memory)
            self._profiler.start()

    def _finish(self, device: Any) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        recorded, steps = self._profiler, self._steps
        self._discard()
        self._began = time.monotonic()
        storage.make_dir(self._folder, exist_ok=True)
        path = self._folder / f"trace-{steps[0]}.json"
        check_replaceable(path, _is_trace)
        with storage.explain("write", path):
            recorded.export_chrome_trace(str(path))
        log.info("steps %d to %d are recorded in %s", steps[0], steps[-1], shown(path))

    def _discard(self) -> None:
        recorded, self._profiler, self._steps = self._profiler, None, []
        if recorded is not None:
            recorded.stop()


def _is_trace(head: bytes) -> bool:
    return head.lstrip().startswith(b"{") and (b'"schemaVersion"' in head or b'"traceEvents"' in head)


@contextlib.contextmanager
def _without_notes() -> Iterator[None]:
    """Start the profiler without what it writes to stderr of itself, unless the user has said how much that is to be.

    It reads the variable when it is first started, and keeps to it. Its errors, which go the same way, are of devices.
    """
    if _NOTES in os.environ:
        yield
        return
    os.environ[_NOTES] = "99"
    try:
        yield
    finally:
        del os.environ[_NOTES]

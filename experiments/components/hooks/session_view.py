"""The views that hooks have of a session, of its train op and of a step, whoever implements them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ...config.sections import Policy
from ...errors import DivergedError
from ...run_directory.rows import RowLog

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ..trained import Trained
    from .hook import Evaluation, Hook


class GateView(Protocol):
    """The check that keeps a loss or gradient that is not finite from the weights."""

    policy: Policy

    @property
    def deferred(self) -> bool:
        """Return True if its answers stay on the device until the host asks for them."""
        ...

    def defer(self, optimizer: torch.optim.Optimizer) -> bool:
        """Leave the answers on the device from now on, where that is possible; return whether it is."""
        ...

    def check_at_once(self, optimizer: torch.optim.Optimizer) -> None:
        """Answer within each step again; to be called when no answer is owed."""


class TrainOpView(Protocol):
    """The train op: its parts, its counters, and what a hook may ask of it."""

    model: nn.Module
    trained: Trained
    optimizer: torch.optim.Optimizer
    data: Any
    device: torch.device
    global_step: int
    batch: int
    examples: int

    @property
    def gate(self) -> GateView | None: ...

    def fetch(self, names: Sequence[str]) -> dict[str, Any]:
        """Read values of the step just taken, by name."""
        ...

    def hyperparameter(self, name: str) -> list[Any]:
        """Return each parameter group's own value of a hyperparameter, whatever is being fed."""
        ...

    def reseed(self) -> None:
        """Put torch's default generator where it belongs at this step."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        ...

    def read_late_checks(self) -> None:
        """Learn whether the steps since the last call were all good, where the gate's answers stay on the device."""


class SessionView(Protocol):
    """A session, from `begin` to `end`."""

    named_hooks: dict[str, Hook]
    evaluators: dict[str, Callable[..., dict[str, float] | None]]
    rows: RowLog
    is_chief: bool
    checkpoint_dir: Path | None
    summary_dir: Path | None
    final: dict[str, float]  # measured at the very end
    is_whole: bool  # whether all state is that of one completed step
    outcome: str | None
    error: BaseException | None

    @property
    def train_op(self) -> TrainOpView | None:
        """The train op that is run; None before the first `run` of a session that was made without."""

    @property
    def step(self) -> int:
        """Completed updates."""
        ...

    @property
    def hooks(self) -> Sequence[Hook]: ...

    @property
    def elapsed_secs(self) -> float:
        """Seconds spent in this run, earlier processes included."""
        ...

    @property
    def evaluation(self) -> Evaluation | None: ...

    @property
    def restored_step(self) -> int | None: ...

    @property
    def interrupted(self) -> bool:
        """Return True if a signal asks the session to end; long work in a hook looks here."""
        ...

    def request_stop(self, reason: str = "", outcome: str = "stopped") -> None:
        """End the session after this step; the first request counts."""

    def request_call(self, hook: Hook) -> None:
        """Call a hook's `after_run` when all others have seen the step, whether its trigger is due or not."""

    def write_row(self, **values: Any) -> None:
        """Append a row to the metrics log: where training is, then `values`."""

    def publish(self, evaluation: Evaluation) -> None:
        """Make an evaluation known to all hooks."""

    def save_checkpoint(self, kept_by: Collection[str] = ...) -> Path:
        """Save the whole state as of the last completed step; without the hooks that keep it, nobody deletes it."""
        ...

    def save_in_background(self, hook: Hook, kept_by: Collection[str], then: Callable[[], object]) -> None:
        """Save the whole state as of the last completed step while the next steps are taken; `then` follows it."""

    def save_aside(self, folder: Path) -> Path:
        """Save the whole state where no run looks for checkpoints."""
        ...

    def on_close(self, callback: Callable[[], object]) -> None:
        """Release something when everything has ended; the last to be registered is the first to be called."""


class BoundSession(SessionView, Protocol):
    """A session that has its train op, as it does from `after_create_session` on."""

    @property
    def train_op(self) -> TrainOpView: ...


class StepView(Protocol):
    """The view that a hook has of a step."""

    session: BoundSession

    @property
    def train_op(self) -> TrainOpView: ...

    @property
    def step(self) -> int:
        """Completed updates: k in before_run, k + 1 in after_run."""
        ...

    @property
    def batch(self) -> int:
        """Drawn batches, applied or skipped."""
        ...

    def request_stop(self, reason: str = "") -> None:
        """Stop the session when every hook has seen this step."""


@dataclass(frozen=True)
class Refused:
    """A batch that the gate kept from the weights.

    Args:
        error: what is said about it.
        reason: what was wrong, in words: `loss is nan`.
        position: the batch's number.
        step: completed updates.
        batch: its inputs and targets; None when a hook fed them and the gate answered late.
        feed: the hyperparameters that were fed for it.
        rates: of the optimizer's groups.
        is_fed: whether a hook gave the batch, instead of the data.
        by_hook: whether the gradients were good until hooks had seen them.
        num_late: steps that ran, without effect on the weights, before the gate answered.
        is_whole: whether weights, buffers, optimizer and updates are all those of `step`.
    """

    error: DivergedError
    reason: str
    position: int
    step: int
    batch: Any
    feed: Mapping[str, Any]
    rates: tuple[float, ...]
    is_fed: bool = False
    by_hook: bool = False
    num_late: int = 0
    is_whole: bool = True

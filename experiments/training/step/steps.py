"""Steps that somebody wants a train op to take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from .train_op import TrainOp


@dataclass(eq=False)
class Steps:
    """Steps that nobody looks at, but for the last: the arguments of `TrainOp.run_block`, to be taken by somebody else.

    Args:
        train_op: that is to take them.
        count: how many, at most.
        feed_at: completed updates -> what is fed for the next step.
        secs_left: the seconds that are left; no further step is taken where none are.
        is_next: whether nobody has changed anything of the train op since the steps before were taken.
    """

    train_op: TrainOp
    count: int
    feed_at: Callable[[int], Mapping[str, Any]]
    secs_left: Callable[[], float]
    is_next: bool

    def note(self, losses: Tensor, sizes: Sequence[int], feeds: Sequence[Mapping[str, Any]]) -> None:
        """Count steps that have been taken and applied.

        Args:
            losses: of each, shape (steps,).
            sizes: examples in each.
            feeds: of each.
        """
        self.train_op.note_compiled(losses[-1], sizes, feeds[-1])
